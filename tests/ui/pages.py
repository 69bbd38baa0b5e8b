"""Pages of Dagster's UI, and what a person does there."""

import re
from dataclasses import dataclass

from playwright.sync_api import Locator, Page, expect

CODE_LOCATION = "/locations/examples.definitions"
TIMEOUT = 180_000
"""Milliseconds that a run may take, with its two new processes, on a busy machine."""


@dataclass(frozen=True)
class JobPage:
    """A job."""

    page: Page

    def open(self, name: str) -> None:
        self.page.goto(f"{CODE_LOCATION}/jobs/{name}")

    def launch_with(self, default: str, value: str) -> "RunPage":
        """Replace a value of the default config in the launchpad, launch the job, and open the run."""
        self.page.get_by_role("button", name="arrow_drop_down").first.click()
        self.page.get_by_text("Open launchpad").click()
        launchpad = self.page.get_by_role("dialog")
        launchpad.get_by_text(default, exact=True).dblclick()
        self.page.keyboard.type(value)
        launchpad.get_by_role("button", name="Materialize").click()
        self.page.wait_for_url("**/runs/*")
        return RunPage(self.page)


@dataclass(frozen=True)
class RunPage:
    """A run, with its log."""

    page: Page

    def open(self, run_id: str) -> None:
        self.page.goto(f"/runs/{run_id}")

    @property
    def run_id(self) -> str:
        return re.split(r"[/?]", str(self.page.url).partition("/runs/")[2])[0]

    def expect_status(self, status: str) -> None:
        expect(self.page.get_by_text(status, exact=True).first).to_be_visible()

    def filter(self, text: str) -> None:
        """Show only some rows of the log."""
        self.page.get_by_placeholder("Filter…").fill(text)

    def lines(self, text: re.Pattern[str]) -> Locator:
        """Return rows of the log."""
        return self.page.get_by_text(text)

    def open_message(self, text: str) -> Locator:
        """Open the full message of a row of the log, and return its dialog."""
        self.filter(text)
        expect(self.page.get_by_role("button", name="View full message")).to_have_count(1)
        self.page.get_by_role("button", name="View full message").click()
        return self.page.locator("[role=dialog][aria-modal=true]")  # a closing tooltip is a dialog too

    def show_output(self, stream: str, step: str) -> None:
        """Show a step's stdout or stderr."""
        self.page.get_by_role("button", name=stream).click()
        self.page.get_by_placeholder("Select a step…").click()
        self.page.get_by_role("menuitem", name=step).or_(self.page.get_by_role("option", name=step)).first.click()


@dataclass(frozen=True)
class AssetPage:
    """An asset."""

    page: Page

    def open(self, name: str, view: str = "overview") -> None:
        self.page.goto(f"/assets/{name}?view={view}")

    def materialize(self, partitions: str, config: str = "") -> None:
        """Materialize partitions, with a config if there is one, and open what that launched."""
        self.page.get_by_role("button", name="Materialize").first.click()
        dialog = self.page.get_by_role("dialog")
        dialog.get_by_role("textbox").fill(partitions)
        dialog.get_by_role("textbox").press("Tab")
        if config:
            dialog.get_by_text("Config", exact=True).click()
            dialog.get_by_role("button", name="Add config").click()
            editor = dialog.filter(has_text="Config Editor")
            editor.locator(".CodeMirror").first.click()
            self.page.keyboard.insert_text(config)
            editor.get_by_role("button", name="Save config").click()
        dialog.get_by_role("button", name="Launch").click()
        self.page.get_by_role("link", name="View", exact=True).click()

    def open_partition(self, name: str, partition: str) -> None:
        self.page.goto(f"/assets/{name}?view=partitions&partition={partition}")

    def metadata(self, key: str) -> Locator:
        """Return the row of a metadata key."""
        return self.page.get_by_role("row").filter(has=self.page.locator("td:first-child").get_by_text(key, exact=True))


@dataclass(frozen=True)
class BackfillPage:
    """A backfill."""

    page: Page

    def expect_completed(self) -> None:
        expect(self.page.get_by_text("100% completed")).to_be_visible()
