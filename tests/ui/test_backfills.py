"""What a person sees of a backfill in one run that calls a function for each partition."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.dagster_dev import ROOT, Dagster, run_dagster
from tests.marked import nothing_left_running
from tests.ui.conftest import open_page
from tests.ui.pages import AssetPage, BackfillPage, RunPage

FUNCTION = f"partitioned={ROOT / 'examples' / 'features' / 'functions'}:partitioned"


@pytest.fixture(scope="module")
def dagster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dagster]:
    home = tmp_path_factory.mktemp("backfills") / "dev"
    with (
        nothing_left_running() as environment,
        run_dagster(home, environment, module="examples.features.run_partitions", function=FUNCTION) as dagster,
    ):
        yield dagster


@pytest.fixture
def page(browser: Browser, dagster: Dagster) -> Iterator[Page]:
    with open_page(browser, dagster.process.ready) as page:
        yield page


def test_each_partition_of_a_run_has_its_own_metadata_and_its_own_failure(page: Page) -> None:
    asset = AssetPage(page)
    asset.open("deliveries")
    asset.materialize("[2024-01-03...2024-01-05]", config='{ops: {deliveries: {config: {day: "2024-01-04"}}}}')
    page.wait_for_url("**/runs/b/**")
    BackfillPage(page).expect_completed()
    expect(page.get_by_text("Failed", exact=True).first).to_be_visible()

    for day in ("2024-01-03", "2024-01-05"):
        asset.open_partition("deliveries", day)
        expect(page.get_by_text("Materialized (2)")).to_be_visible()
        expect(asset.metadata("first")).to_contain_text(day)
        expect(asset.metadata("last")).to_contain_text(day)
    asset.open_partition("deliveries", "2024-01-04")
    expect(page.get_by_text("Failed (1)")).to_be_visible()
    expect(page.get_by_text("failed, and did not materialize this asset")).to_be_visible()
    expect(page.get_by_text("No metadata entries")).to_be_visible()

    asset.materialize("2024-01-04")
    page.wait_for_url("**/runs/*")
    RunPage(page).expect_status("Success")
    asset.open_partition("deliveries", "2024-01-04")
    expect(page.get_by_text("Materialized (3)")).to_be_visible()
    expect(page.get_by_text("Failed (0)")).to_be_visible()
    expect(asset.metadata("first")).to_contain_text("2024-01-04")
