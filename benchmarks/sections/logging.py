"""The delay that the reader adds to Cloud Logging's own: from the time at which an entry is visible to its arrival."""

import time
from collections.abc import Iterator
from statistics import median
from typing import TYPE_CHECKING, Final, cast

from dagster_pipes import PipesMessage
from gcf_pipes._cancellation import CallDeadline
from gcf_pipes._encoding import make_message
from gcf_pipes._logging_channel import LoggingChannel

from benchmarks._sizes import Sizes
from benchmarks._statistics import percentile
from benchmarks._table import Row
from dagster_gcf_pipes._messages.entry_pace import READ_INTERVAL
from dagster_gcf_pipes.local import Emulator
from tests.google.logging_cloud import log_line, logging_cloud, new_session, opened

if TYPE_CHECKING:
    from dagster import PipesMessageHandler

INGESTION: Final = 1.5
"""Seconds until an entry is visible in the stand-in."""
INTERVAL: Final = 0.3
SECTION: Final = "logging"


def measure(emulator: Emulator, sizes: Sizes) -> Iterator[Row]:  # noqa: ARG001 - it needs no storage
    """Measure lines that arrive live, and by lists alone. Dagster's own parts have no such channel."""
    for tails, way, bar in ((True, "live tailing", 0.1), (False, "lists alone", READ_INTERVAL)):
        delays, lists = _delays(round(sizes.latency_seconds / INTERVAL), tails=tails)
        metric = f"{way}: from visible to arrival, median"
        yield Row(SECTION, metric, "", f"{median(delays):.2f} s", "")
        late = f"{percentile(delays, 95):.2f} s"
        yield Row(SECTION, f"{way}: the same, 95th percentile", f"<= {bar:g} s", late, "")
        yield Row(SECTION, f"{way}: lists a minute", "<= 30", f"{lists:.0f}", "")


class _Arrivals:
    """Notes when lines arrive, in place of Dagster's event log."""

    def __init__(self) -> None:
        self.delays: list[float] = []

    def handle_message(self, message: PipesMessage) -> None:
        if message["method"] == "log":
            created = map(float, (message["params"] or {})["message"].split())
            self.delays += [time.monotonic() - moment - INGESTION for moment in created]


def _delays(count: int, *, tails: bool) -> tuple[list[float], float]:
    """Return the delay of each line, and how many lists a minute there were."""
    arrivals, started = _Arrivals(), time.monotonic()
    with logging_cloud(tails=tails, read_interval=READ_INTERVAL) as cloud, cloud.instance(delay=(INGESTION, INGESTION)):
        session = new_session(cloud.reader())
        with session.read_messages(cast("PipesMessageHandler", arrivals)):
            channel = LoggingChannel(session.id, CallDeadline())
            channel.write_message(opened())
            for _ in range(count):
                time.sleep(INTERVAL)
                channel.write_message(log_line(f"{time.monotonic()}"))
            minutes = (time.monotonic() - started) / 60
            lists = len(cloud.api.asked) - 1  # the first is at the start
            channel.write_message(make_message("closed", {}))
            channel.close()
            session.drain(channel.chunk_count, timeout=0)
    return arrivals.delays, lists / minutes
