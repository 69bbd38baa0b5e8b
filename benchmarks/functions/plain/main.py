"""The same behaviours without Pipes, to measure a plain call."""

from collections.abc import Mapping
from typing import Any

import flask

from benchmarks.functions import behaviours


class NoLog:
    """Logs nothing."""

    def info(self, text: str, /) -> None:
        """Drop a line."""


class NoPipes:
    """Reports nothing."""

    log = NoLog()

    def report_asset_materialization(self, metadata: Mapping[str, Any]) -> None:
        """Drop a report."""


def main(request: flask.Request) -> dict[str, float]:
    """Run the behaviour that the event names."""
    return behaviours.run(NoPipes(), request.get_json())
