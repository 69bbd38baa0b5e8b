"""Dagster's daemon, which retries failed runs by itself, and a code server, which starts run workers."""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import Final

from dagster import DagsterRun, DagsterRunStatus, RunsFilter, instance_for_test
from dagster._core.storage.tags import ROOT_RUN_ID_TAG
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import GrpcServerTarget

from dagster_gcf_pipes.local._processes import run_process
from tests.evict import jobs
from tests.evict.boundaries import PLAN_VARIABLE, Plan
from tests.evict.stack import LOCATION, RETRIES, ROOT, Dagster, Stack
from tests.waiting import wait_until

RUN_BOUND: Final = 180.0
"""Seconds in which a run and its retries must end."""


class Daemon:
    """A running daemon and a code server.

    Args:
        dagster: Their instance and workspace.
        plan: The file with the plan of the current run. The environment of all run workers names it.
    """

    def __init__(self, dagster: Dagster, plan: Path) -> None:
        self.dagster = dagster
        self._plan = plan
        self._one_at_a_time = Lock()

    def run_until_success(self, run: DagsterRun, plan: Plan) -> list[DagsterRun]:
        """Launch a run, and wait until it or a retry of it has succeeded, or none has in time. Return the runs."""
        with self._one_at_a_time, suppress(TimeoutError):
            os.replace(plan.write(), self._plan)
            self.dagster.instance.launch_run(run.run_id, self.dagster.workspace.create_request_context())
            wait_until(lambda: self._runs(run)[-1].status is DagsterRunStatus.SUCCESS, timeout=RUN_BOUND)
        return self._runs(run)

    def _runs(self, run: DagsterRun) -> list[DagsterRun]:
        instance = self.dagster.instance
        retries = instance.get_runs(RunsFilter(tags={ROOT_RUN_ID_TAG: run.run_id}), ascending=True)
        return [*instance.get_runs(RunsFilter([run.run_id])), *retries]


@contextmanager
def run_daemon(stack: Stack) -> Iterator[Daemon]:
    """Run a daemon and a code server while the block runs."""
    home, plan, workspace = stack.folder / "daemon", stack.folder / "current.json", stack.folder / "workspace.json"
    home.mkdir()
    socket = str(stack.folder / "socket")
    server = {"grpc_server": {"socket": socket, "location_name": LOCATION}}
    workspace.write_text(json.dumps({"load_from": [server]}))
    env = {**stack.env["ours"], PLAN_VARIABLE: str(plan)}
    serve = _command("dagster", "api", "grpc", "-m", jobs.__name__, "-a", "defs", "--socket", socket)
    watch = _command("dagster-daemon", "run", "-w", str(workspace))
    with (
        instance_for_test(RETRIES, set_dagster_home=False, temp_dir=str(home)) as instance,
        run_process(serve, ready="(Started Dagster code server)", cwd=ROOT, env=env),
        run_process(watch, ready=r"daemons: (.+)", env={"DAGSTER_HOME": str(home)}),
        WorkspaceProcessContext(instance, GrpcServerTarget("localhost", None, socket, LOCATION)) as context,
    ):
        yield Daemon(Dagster(instance, context), plan)


def _command(program: str, *arguments: str) -> list[str]:
    return [str(Path(sys.executable).parent / program), *arguments]
