"""Runs `dagster dev` with the example's definitions on the local stack, until Ctrl-C: `just dev`."""

import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from local_stack.emulators import free_port
from local_stack.processes import python_command, run_process, wait_until_listening
from local_stack.stack import exit_on_signals, run_stack

HOME = Path(__file__).parent.parent / ".local_stack"
"""Where the Delta tables and Dagster's own storage are; they stay when the stack stops."""


def main() -> int:
    """Run until Ctrl-C or SIGTERM, then stop everything, and return 0."""
    exit_on_signals()
    dagster_home = HOME / "dagster_home"
    dagster_home.mkdir(parents=True, exist_ok=True)
    command = python_command("-m", "dagster", "dev", "-m", "examples.definitions", "-h", "127.0.0.1")
    with suppress(KeyboardInterrupt), run_stack(HOME / "lake", on_line=_show("function")) as stack:
        port = free_port()
        env = {**stack.environment, "DAGSTER_HOME": os.fspath(dagster_home)}
        with run_process(
            [*command, "-p", str(port)],
            ready=r"Serving dagster-webserver on (http://\S+)",
            env=env,
            on_line=_show("dagster"),
            stop_signal=signal.SIGINT,
        ) as dagster:
            wait_until_listening(port)  # it says that it serves a moment before it listens
            print(f"\nDagster is at {dagster.ready} - press Ctrl-C to stop\n", flush=True)
            dagster.process.wait()
    print("Everything is stopped.")
    return 0


def _show(name: str) -> Callable[[str], None]:
    return lambda line: print(f"{name:<8} | {line}", end="", flush=True)


if __name__ == "__main__":
    sys.exit(main())
