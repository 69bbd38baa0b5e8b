"""What `forward_logs` costs a function that prints."""

import time
import uuid
from collections.abc import Iterator
from statistics import median
from typing import Final

import requests

from benchmarks._sizes import Sizes
from benchmarks._stack import bucket_of, run_functions
from benchmarks._table import Row
from dagster_gcf_pipes.local import Emulator
from tests.sessions import bootstrap

COUNT: Final = 10_000
SECTION: Final = "printing"


def measure(emulator: Emulator, sizes: Sizes) -> Iterator[Row]:
    """Measure whole calls alternately, without Dagster. Stock is measured once: it takes seconds."""
    with run_functions(emulator.url) as functions:
        _seconds(functions.ours.url, forwarded=False)  # the first of a process is not measured
        quiet, forwarded = [], []
        for _ in range(sizes.short_runs):
            quiet.append(_seconds(functions.ours.url, forwarded=False))
            forwarded.append(_seconds(functions.ours.url, forwarded=True))
        stock = [_seconds(functions.stock.url, forwarded=forwarded_too) for forwarded_too in (False, True)]
    metric = f"a call that prints {COUNT:,} lines, median"
    yield Row(SECTION, metric, "", _milliseconds(median(quiet)), _milliseconds(stock[0]))
    yield Row(SECTION, "the same, forwarded to Dagster", "", _milliseconds(median(forwarded)), _milliseconds(stock[1]))


def _seconds(url: str, *, forwarded: bool) -> float:
    keys = bootstrap(bucket_of("ours"), f"printing/{uuid.uuid4().hex}", include_stdio=forwarded)
    started = time.monotonic()
    requests.post(url, json={"behaviour": "print", "count": COUNT, **keys}, timeout=120).raise_for_status()
    return time.monotonic() - started


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:,.0f} ms"
