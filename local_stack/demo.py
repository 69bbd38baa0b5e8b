"""Runs the example's assets once on the local stack: `just demo`."""

import os
import signal
import sys
import tempfile
from pathlib import Path

from dagster_gcf_pipes.local._processes import python_command, run_process
from local_stack.stack import exit_on_signals, run_stack

INTERRUPTED = 128 + signal.SIGINT


def main() -> int:
    """Run the demo and return its exit code: 0 if every asset was materialized, 130 after Ctrl-C."""
    exit_on_signals()
    try:
        with tempfile.TemporaryDirectory() as directory:
            return _run(Path(directory))
    except KeyboardInterrupt:
        print("\nEverything is stopped.")
        return INTERRUPTED


def _run(directory: Path) -> int:
    with run_stack(directory / "lake") as stack:
        print(f"emulator: {stack.emulator.name} at {stack.emulator.url}")
        print(f"function: functions-framework on gunicorn at {stack.function.url}", flush=True)
        with run_process(
            python_command("-m", "local_stack.example_runs"),
            ready=r"^(\w+) $",
            env={**stack.environment, "TMPDIR": os.fspath(directory)},
            on_line=lambda line: print(line, end="", flush=True),
            stop_signal=signal.SIGKILL,  # after another signal Dagster ends one run only, and starts the next
        ) as runs:
            return runs.process.wait()


if __name__ == "__main__":
    sys.exit(main())
