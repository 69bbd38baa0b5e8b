"""The behaviours of the benchmark's functions. The event names one."""

import time
from collections.abc import Mapping
from typing import Any, Protocol


class Log(Protocol):
    """The part of `pipes.log` that the behaviours use."""

    def info(self, text: str, /) -> None:
        """Log a line."""


class Pipes(Protocol):
    """The part of `dagster_pipes.PipesContext` that the behaviours use."""

    @property
    def log(self) -> Log:
        """The log."""

    def report_asset_materialization(self, metadata: Mapping[str, Any]) -> None:
        """Report that the asset has been materialized."""


def run(pipes: Pipes, event: Mapping[str, Any]) -> dict[str, float]:
    """Run the behaviour that the event names, and return its seconds."""
    started = time.monotonic()
    if event["behaviour"] == "log":
        _log(pipes, event["tag"], event["count"], event["interval"])
    elif event["behaviour"] == "idle":
        time.sleep(event["seconds"])
    elif event["behaviour"] == "report":
        pipes.log.info("one line")
        pipes.report_asset_materialization(metadata={"rows": 1})
    elif event["behaviour"] == "print":
        for number in range(event["count"]):
            print(f"line {number}")
    else:
        raise ValueError(f"Expected the behaviour 'log', 'idle', 'report' or 'print', got {event['behaviour']!r}.")
    return {"seconds": time.monotonic() - started}


def _log(pipes: Pipes, tag: str, count: int, interval: float) -> None:
    """Log numbered lines, each with the time of its creation."""
    for number in range(count):
        pipes.log.info(f"{tag} {number} {time.time():.6f}")
        if interval:
            time.sleep(interval)
