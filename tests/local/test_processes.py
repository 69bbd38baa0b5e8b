"""Child processes that run while a block runs."""

import signal

import pytest

from dagster_gcf_pipes.local import ProcessError
from dagster_gcf_pipes.local._processes import python_command, run_process


def test_a_process_that_does_not_start_is_shown_with_its_output() -> None:
    command = python_command("-c", "print('cannot start')")
    with pytest.raises(ProcessError, match="cannot start"), run_process(command, ready="(ready)"):
        pass


def test_a_process_that_ignores_the_signal_is_killed() -> None:
    ignoring = (
        "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); signal.pause()"
    )
    with run_process(python_command("-c", ignoring), ready="(ready)", stop_timeout=0.1) as child:
        pass
    assert child.process.returncode == -signal.SIGKILL
