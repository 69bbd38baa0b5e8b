"""A run in the background of a case."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from dagster import DagsterInstance

from tests.cases.shown import Shown
from tests.dagster_runs import logged
from tests.waiting import wait_until

if TYPE_CHECKING:
    from concurrent.futures import Future


@dataclass(frozen=True)
class Running:
    """A run in the background.

    Attributes:
        instance: Its instance.
        future: What Dagster shows when it has ended.
    """

    instance: DagsterInstance
    future: "Future[Shown]"

    def wait_for_line(self, text: str) -> None:
        """Wait until Dagster shows a line of the function."""
        wait_until(lambda: text in self._lines())

    def result(self) -> Shown:
        """Wait for its end."""
        return self.future.result(120)

    def _lines(self) -> list[str]:
        runs = self.instance.get_runs(limit=1)
        return logged(self.instance, runs[0].run_id) if runs else []
