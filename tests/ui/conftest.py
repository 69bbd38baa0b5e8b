"""A browser, and the `just dev` that it shows."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.marked import nothing_left_running
from tests.ui.dev import ROOT, Dev, run_just_dev
from tests.ui.pages import TIMEOUT, AssetPage, BackfillPage, RunPage
from tests.ui.screenshots import Screenshots

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
LIGHT = "localStorage.setItem('dagster-theme', JSON.stringify('Light'))"
FOUR_MONTHS = "[2015-01-01...2015-04-01]"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--screenshots", type=Path, help="write the screenshots of the docs to this folder")


@pytest.fixture(scope="session")
def dev(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dev]:
    with nothing_left_running() as environment, run_just_dev(tmp_path_factory.mktemp("dev"), environment) as dev:
        yield dev


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """The system's Chromium: none is downloaded."""
    paths = [path for name in BROWSERS if (path := shutil.which(name))]
    if not paths:
        pytest.skip(f"none of {', '.join(BROWSERS)} is on the PATH")
    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []  # Chromium refuses root otherwise
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=paths[0], args=sandbox)
        yield browser
        browser.close()


@contextmanager
def open_page(browser: Browser, url: str) -> Iterator[Page]:
    """Open a page with Dagster's light theme. It asks only this machine for anything."""
    context = browser.new_context(
        base_url=url,
        viewport={"width": 1280, "height": 900},
        device_scale_factor=2,
        locale="en-GB",
        timezone_id="UTC",
    )
    context.add_init_script(LIGHT)
    page = context.new_page()
    page.set_default_timeout(TIMEOUT)
    expect.set_options(timeout=TIMEOUT)
    requested: list[str] = []
    page.on("request", lambda request: requested.append(request.url))
    yield page
    context.close()
    assert [each for each in requested if not each.startswith((url, "data:", "blob:"))] == []


@pytest.fixture
def page(browser: Browser, dev: Dev) -> Iterator[Page]:
    with open_page(browser, dev.url) as page:
        yield page


@pytest.fixture(scope="session")
def backfill(browser: Browser, dev: Dev) -> str:
    """The path of a backfill of four months, which a person has launched from the asset's page."""
    with open_page(browser, dev.url) as page:
        asset = AssetPage(page)
        asset.open("monthly_weather")
        asset.materialize(FOUR_MONTHS)
        page.wait_for_url("**/runs/b/**")
        BackfillPage(page).expect_completed()
        return str(page.url)


@pytest.fixture(scope="session")
def failed_run(browser: Browser, dev: Dev, backfill: str) -> str:
    """The id of a run whose function raised."""
    with open_page(browser, dev.url) as page, dev.without_source():
        asset = AssetPage(page)
        asset.open("monthly_weather")
        asset.materialize("2015-07-01")
        page.wait_for_url("**/runs/*")
        run = RunPage(page)
        run.expect_status("Failure")
        return run.run_id


@pytest.fixture
def screenshots(request: pytest.FixtureRequest, dev: Dev) -> Screenshots:
    folder: Path | None = request.config.getoption("--screenshots")
    return Screenshots(folder, {f"{ROOT}/": "", str(dev.home): ".local"})
