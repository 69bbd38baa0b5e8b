"""Runs the benchmark: `python -m benchmarks`, at the root of the project; `--help` shows its options.

It prints figures and does not check them. Progress goes to stderr, the table to stdout.
"""

import argparse
import os
import platform
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.metadata import version
from typing import Final

from benchmarks._sizes import FULL, QUICK, Sizes
from benchmarks._stack import create_buckets
from benchmarks._table import Row, format_table
from benchmarks.sections import (
    burst,
    fan_out,
    faults,
    isolation,
    latency,
    log_volume,
    logging,
    overhead,
    printing,
    requests_on_the_wire,
)
from dagster_gcf_pipes.local import Emulator, available_emulators, run_emulator

Section = Callable[[Emulator, Sizes], Iterator[Row]]
SECTIONS: Final[dict[str, Section]] = {
    "overhead": overhead.measure,
    "latency": latency.measure,
    "requests": requests_on_the_wire.measure,
    "isolation": isolation.measure,
    "printing": printing.measure,
    "burst": burst.measure,
    "log": log_volume.measure,
    "fan-out": fan_out.measure,
    "logging": logging.measure,
    "faults": faults.measure,
}
NOTES: Final = """\
Stock: dagster_gcp's PipesGCSMessageReader and PipesEnvContextInjector, dagster_pipes' PipesGCSMessageWriter and
PipesMappingParamsLoader, a plain POST; with their defaults, unless the row says otherwise.
Ours: with its defaults. Both against the same emulator process.
Storage at N ms: each request to the bucket takes so much longer.
Requests: the deletes are our cleanup after a success; stock leaves its objects in the bucket.
Memory: growth above a short run in the same process; the function's is that of its gunicorn worker.
The time of handle_message is counted for both in the same way, around Dagster's own method.
*  Stock with a PipesContext for each request, which its documentation advises against; so in all rows but the next.
** Stock with open_dagster_pipes, as documented: one context for the whole process."""
LIBRARIES: Final = (
    "dagster",
    "dagster-pipes",
    "dagster-gcp",
    "google-cloud-storage",
    "functions-framework",
    "gunicorn",
)


def main() -> None:
    """Run the sections, and print the table."""
    options = _parse_options()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that child processes stop
    started = time.monotonic()
    sizes = replace(QUICK if options.quick else FULL, storage_latency=options.storage_latency / 1000)
    rows: list[Row] = []
    with run_emulator(options.emulator) as emulator:
        create_buckets(emulator.url)
        for name in options.only or SECTIONS:
            for row in SECTIONS[name](emulator, sizes):
                _show_progress(row, time.monotonic() - started)
                rows.append(row)
    print(format_table(rows))
    print(f"\n{NOTES}\n{faults.NOTES}\n{_machine(options.emulator)}")
    print(f"Measured in {time.monotonic() - started:.0f} s.")


def _show_progress(row: Row, seconds: float) -> None:
    print(f"{seconds:4.0f} s  {row.section}: {row.metric}: {row.ours} | {row.stock}", file=sys.stderr, flush=True)


def _parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure ours and Dagster's own (stock).")
    parser.add_argument("--quick", action="store_true", help="fewer and smaller measurements: two to three minutes")
    emulators = available_emulators()
    parser.add_argument("--emulator", choices=emulators, default=emulators[0], help="default: %(default)s")
    parser.add_argument("--only", choices=SECTIONS, action="append", help="a section; may be given several times")
    parser.add_argument(
        "--storage-latency",
        metavar="MS",
        type=float,
        default=FULL.storage_latency * 1000,
        help="how much longer each request to the bucket takes, in half of the overhead; default: %(default)g",
    )
    return parser.parse_args()


def _machine(emulator: str) -> str:
    versions = ", ".join(f"{library} {version(library)}" for library in LIBRARIES)
    load = ", ".join(f"{average:.1f}" for average in os.getloadavg())
    return (
        f"Machine: {os.cpu_count()} cores, {platform.system()}, Python {platform.python_version()}, "
        f"load averages at the end {load}. Emulator: {emulator}.\n{versions}."
    )


if __name__ == "__main__":
    main()
