"""Runs `dagster dev` with the example's definitions on the local stack, until Ctrl-C: `just dev`."""

import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from dagster_gcf_pipes.local._processes import (
    ChildProcess,
    python_command,
    run_on_free_port,
    run_process,
    wait_until_listening,
)
from local_stack.stack import exit_on_signals, run_stack

HOME = Path(__file__).parent.parent / ".local_stack"
"""The directory of the Delta tables and of Dagster's own storage. It stays when the stack stops."""


def main() -> int:
    """Run until Ctrl-C or SIGTERM, then stop everything, and return 0."""
    exit_on_signals()
    with (
        suppress(KeyboardInterrupt),
        run_stack(HOME / "lake", on_line=_show("function")) as stack,
        run_dagster(HOME / "dagster_home", stack.environment, on_line=_show("dagster")) as dagster,
    ):
        print(f"\nDagster is at {dagster.ready} - press Ctrl-C to stop\n", flush=True)
        dagster.process.wait()
    print("Everything is stopped.")
    return 0


@contextmanager
def run_dagster(
    home: Path, environment: Mapping[str, str], on_line: Callable[[str], None] = lambda _: None
) -> Iterator[ChildProcess]:
    """Run `dagster dev` with the example's definitions while the block runs.

    Args:
        home: The directory for Dagster's own storage.
        environment: Environment variables, in addition to this process's own.
        on_line: Called with each line that it prints.

    Raises:
        ProcessError: It did not start.
    """
    home.mkdir(parents=True, exist_ok=True)
    command = python_command("-m", "dagster", "dev", "-m", "examples.definitions", "-h", "127.0.0.1")
    env = {**environment, "DAGSTER_HOME": os.fspath(home)}
    ready = r"Serving dagster-webserver on (http://\S+)"

    @contextmanager
    def run_at(port: int) -> Iterator[ChildProcess]:
        at_port = [*command, "-p", str(port)]
        with run_process(at_port, ready=ready, env=env, on_line=on_line, stop_signal=signal.SIGINT) as dagster:
            wait_until_listening(port, dagster)  # it prints the line a moment before it listens
            yield dagster

    with run_on_free_port(run_at) as dagster:
        yield dagster


def _show(name: str) -> Callable[[str], None]:
    return lambda line: print(f"{name:<8} | {line}", end="", flush=True)


if __name__ == "__main__":
    sys.exit(main())
