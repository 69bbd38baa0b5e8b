"""`just demo` and `just dev` as a user runs them. They leave nothing running."""

import os
import signal
import subprocess
import uuid
from pathlib import Path

import pytest
import requests

from dagster_gcf_pipes.local._processes import ProcessError, python_command, run_process
from tests.waiting import wait_until

MARK = "LOCAL_STACK_TEST"
ASSETS = "{ assetsOrError { ... on AssetConnection { nodes { key { path } } } } }"


def processes_marked(mark: str) -> list[str]:
    """Return the command lines of the processes with this value of the environment variable."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            environment = (process / "environ").read_bytes().split(b"\0")
            if f"{MARK}={mark}".encode() in environment:
                found.append((process / "cmdline").read_text().replace("\0", " "))
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue  # it has ended, or belongs to another user
    return found


def test_the_demo_materializes_every_asset() -> None:
    mark = uuid.uuid4().hex
    command = python_command("-m", "local_stack.demo")
    demo = subprocess.run(command, env={**os.environ, MARK: mark}, capture_output=True, text=True, check=False)
    assert demo.returncode == 0, demo.stdout + demo.stderr
    summary = [line.split() for line in demo.stdout.splitlines() if " success " in line]
    assert [line[:3] for line in summary] == [
        ["customers", "-", "success"],
        ["monthly_weather", "2012-01-01", "success"],
        ["monthly_weather", "2015-07-01", "success"],
    ]
    assert "2 of 2 passed" in demo.stdout
    assert "All assets were materialized." in demo.stdout
    wait_until(lambda: not processes_marked(mark), timeout=5)  # a killed process may take a moment


@pytest.mark.parametrize(
    ("moment", "stop_signal", "code"),
    [
        (r"(^emulator: )", signal.SIGHUP, 129),
        (r"( opened dagster pipes)", signal.SIGTERM, 143),
        (r"( generated 1000 of )", signal.SIGINT, 130),
    ],
)
def test_a_stopped_demo_leaves_nothing_running(moment: str, stop_signal: signal.Signals, code: int) -> None:
    mark = uuid.uuid4().hex
    command = python_command("-m", "local_stack.demo")
    with run_process(command, ready=moment, env={MARK: mark}, stop_signal=stop_signal, stop_timeout=30) as demo:
        pass
    assert demo.process.returncode == code
    assert "All assets were materialized" not in demo.output
    wait_until(lambda: not processes_marked(mark), timeout=5)  # a killed process may take a moment


def test_more_ctrl_c_do_not_prevent_the_demo_from_stopping() -> None:
    mark = uuid.uuid4().hex
    command = python_command("-m", "local_stack.demo")
    with run_process(command, ready=r"( opened dagster pipes)", env={MARK: mark}, stop_signal=signal.SIGINT) as demo:
        demo.process.send_signal(signal.SIGINT)
        while demo.process.poll() is None:
            demo.process.send_signal(signal.SIGINT)
    assert demo.process.returncode == 130
    wait_until(lambda: not processes_marked(mark), timeout=5)  # a killed process may take a moment


def test_dev_serves_dagster_until_it_is_stopped() -> None:
    mark = uuid.uuid4().hex
    with run_process(
        python_command("-m", "local_stack.dev"),
        ready=r"Dagster is at (http://\S+)",
        env={MARK: mark},
        stop_signal=signal.SIGINT,
        stop_timeout=60,
    ) as dev:
        response = requests.post(f"{dev.ready}/graphql", json={"query": ASSETS}, timeout=60)
        assert response.status_code == 200
        assert len(processes_marked(mark)) > 3
    wait_until(lambda: not processes_marked(mark), timeout=5)  # a killed process may take a moment


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
