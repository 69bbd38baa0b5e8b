"""What a person sees of the example in Dagster's UI."""

import re

from playwright.sync_api import Page, expect

from tests.ui.dev import Dev
from tests.ui.pages import CODE_LOCATION, AssetPage, JobPage, RunPage
from tests.ui.screenshots import Screenshots


def test_a_run_shows_the_lines_of_the_function_while_it_runs(page: Page, screenshots: Screenshots) -> None:
    page.set_viewport_size({"width": 1280, "height": 1000})  # the log has room for the lines
    job = JobPage(page)
    job.open("customers_job")
    expect(page.get_by_text("Appends generated customers to the Delta table")).to_be_visible()
    run = job.launch_with(default="2000", value="20000")
    run.filter("generated")
    lines = run.lines(re.compile(r"^generated \d+ of 20000 customers$"))
    expect(lines.nth(5)).to_be_visible()
    run.expect_status("Started")
    screenshots.save(page, "run", page.get_by_text("Runs").last, page.get_by_text("Terminate"), lines.nth(5))
    run.expect_status("Success")


def test_a_materialization_shows_links_and_a_preview(page: Page, backfill: str, screenshots: Screenshots) -> None:
    asset = AssetPage(page)
    asset.open("monthly_weather", "events")
    expect(asset.metadata("rows")).to_contain_text("2")
    expect(asset.metadata("location")).to_contain_text("/lake/monthly_weather")
    preview = asset.metadata("preview").get_by_role("table")
    expect(preview.get_by_role("columnheader")).to_have_text(["location", "°C", "mm"])
    screenshots.save(
        page, "materialization", page.get_by_text("Assets", exact=True).first, asset.metadata("cloud_function/start")
    )
    page.get_by_text("materialized in run").get_by_role("link").last.click()
    RunPage(page).expect_status("Success")


def test_plots_show_the_numbers_of_each_run(page: Page, backfill: str, screenshots: Screenshots) -> None:
    AssetPage(page).open("monthly_weather")
    page.get_by_role("button", name="Plots").click()
    page.get_by_role("button", name="Events").click()
    expect(page.get_by_text("mean_temperature_celsius")).to_be_visible()
    expect(page.get_by_text("mean_precipitation_mm")).to_be_visible()
    screenshots.save(page, "plots", page.get_by_role("button", name="Partitions"), page.locator("canvas").nth(3))


def test_checks_say_what_is_wrong(page: Page, backfill: str, screenshots: Screenshots) -> None:
    AssetPage(page).open("monthly_weather", "checks")
    expect(page.get_by_text("Each location has each day of the month exactly once.")).to_be_visible()
    summary = page.get_by_role("row").filter(has_text="summary")
    expect(summary).to_contain_text(re.compile(r"1 of \d\d days missing, 0 repeated"))
    screenshots.save(page, "checks", page.get_by_text("Assets", exact=True).first, summary)


def test_a_failed_run_shows_the_traceback_of_the_function(
    page: Page, failed_run: str, screenshots: Screenshots
) -> None:
    run = RunPage(page)
    run.open(failed_run)
    expect(page.get_by_text("dagster_gcf_pipes.PipesCloudFunctionRaisedError:").first).to_be_visible()
    traceback = run.open_message("closed with exception")
    expect(traceback).to_contain_text("tasks.weather.SourceError: Expected")
    expect(traceback).to_contain_text("cloud_function/tasks/weather.py")
    screenshots.save(page, "failure", traceback)


def test_stdout_and_stderr_of_a_failed_run_have_what_the_function_printed(
    page: Page, dev: Dev, failed_run: str
) -> None:
    run = RunPage(page)
    run.open(failed_run)
    run.show_output("stdout", "monthly_weather")
    expect(page.get_by_text(re.compile(r"polars \d"))).to_be_visible()
    run.open(failed_run)
    run.show_output("stderr", "monthly_weather")
    expect(page.get_by_text(f"reading {dev.source} ...")).to_be_visible()


def test_stdout_has_the_tables_that_the_function_printed(page: Page, backfill: str, screenshots: Screenshots) -> None:
    AssetPage(page).open("monthly_weather", "events")
    page.get_by_text("materialized in run").get_by_role("link").last.click()
    run = RunPage(page)
    run.show_output("stdout", "monthly_weather")
    expect(page.get_by_text("New York")).to_be_visible()
    screenshots.save(page, "logs", page.get_by_role("button", name="Events"), page.get_by_text("└──"))


def test_a_backfill_shows_its_runs(page: Page, backfill: str, screenshots: Screenshots) -> None:
    page.goto(backfill)
    expect(page.get_by_text("2015-01-01...2015-04-01")).to_be_visible()
    expect(page.get_by_text("100% completed")).to_be_visible()
    failed = page.get_by_role("link", name="Failed")
    screenshots.save(
        page,
        "backfill",
        page.get_by_role("button", name="expand_more").first,
        page.get_by_role("tablist"),
        failed,
        page.get_by_text("100% completed"),
    )


def test_the_resource_says_what_it_is_and_what_it_takes(page: Page, screenshots: Screenshots) -> None:
    page.goto(f"{CODE_LOCATION}/resources/cloud_function")
    expect(page.get_by_text("Pipes client that calls a Google Cloud Function")).to_be_visible()
    expect(page.get_by_text("Name of the Cloud Storage bucket that carries the function's messages")).to_be_visible()
    screenshots.save(
        page, "resource", page.get_by_text("cloud_function", exact=True).first, page.get_by_text("on the key prefix")
    )
