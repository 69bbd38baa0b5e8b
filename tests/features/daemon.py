"""Dagster's daemon and webserver, with the snippets of `code_location.py`."""

import json
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from dagster import DagsterInstance, DagsterRun, RunsFilter, instance_for_test
from dagster._core.execution.backfill import BULK_ACTION_TERMINAL_STATUSES, PartitionBackfill
from dagster._core.scheduler.instigation import InstigatorType, ScheduleInstigatorData

from dagster_gcf_pipes.local._processes import ChildProcess, run_on_free_port, run_process, wait_until_listening
from tests.dagster_dev import Dagster
from tests.waiting import wait_until

ROOT = Path(__file__).parent.parent.parent
LOCATION = "tests.features.code_location"
RUN_TIMEOUT = 240.0
DAY = 24 * 60 * 60.0
SETTINGS = {
    "freshness": {"enabled": True},
    "run_retries": {"enabled": True},
    "run_coordinator": {
        "module": "dagster",
        "class": "QueuedRunCoordinator",
        "config": {"dequeue_interval_seconds": 1},
    },
}
"""What is in `dagster.yaml`. The run queue looks for runs each second, in place of each five."""
LAUNCH = """
mutation ($run: ExecutionParams!) {
  launchRun(executionParams: $run) {
    __typename ... on LaunchRunSuccess { run { runId } } ... on PythonError { message }
  }
}
"""
BACKFILL = """
mutation ($backfill: LaunchBackfillParams!) {
  launchPartitionBackfill(backfillParams: $backfill) {
    __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message }
  }
}
"""
AUTOMATION = """
{ repositoriesOrError { ... on RepositoryConnection { nodes { name schedules { name } sensors { name } } } } }
"""
START_SCHEDULE = "mutation ($schedule: ScheduleSelector!) { startSchedule(scheduleSelector: $schedule) { __typename } }"
START_SENSOR = "mutation ($sensor: SensorSelector!) { startSensor(sensorSelector: $sensor) { __typename } }"


@dataclass(frozen=True)
class Daemon:
    """A running daemon and a webserver.

    Attributes:
        instance: Their instance.
        dagster: The webserver's process and its GraphQL API.
    """

    instance: DagsterInstance
    dagster: Dagster

    def launch(self, snippet: ModuleType, job: str, **parameters: Any) -> str:
        """Launch a run as the UI's launchpad does, and return its id. Further parameters are those of GraphQL."""
        repository = {"repositoryLocationName": LOCATION, "repositoryName": snippet.__name__.rpartition(".")[2]}
        run = {"selector": {**repository, "jobName": job}, **parameters}
        answer = self.dagster.ask(LAUNCH, run=run)["launchRun"]
        assert answer["__typename"] == "LaunchRunSuccess", answer
        return str(answer["run"]["runId"])

    def launch_backfill(self, assets: Sequence[str], partitions: Sequence[str], **parameters: Any) -> str:
        """Launch a backfill as the UI does, and return its id. Further parameters are those of GraphQL."""
        selection = [{"path": [asset]} for asset in assets]
        backfill = {"assetSelection": selection, "partitionNames": list(partitions), **parameters}
        answer = self.dagster.ask(BACKFILL, backfill=backfill)["launchPartitionBackfill"]
        assert answer["__typename"] == "LaunchBackfillSuccess", answer
        return str(answer["backfillId"])

    def finished_backfill(self, backfill_id: str) -> PartitionBackfill:
        """Wait until a backfill has ended, and return it. The daemon looks at all backfills each 30 s."""

        def current() -> PartitionBackfill:
            found = self.instance.get_backfill(backfill_id)
            assert found
            return found

        wait_until(lambda: current().status in BULK_ACTION_TERMINAL_STATUSES, timeout=RUN_TIMEOUT)
        return current()

    def start_automation(self) -> None:
        """Start all schedules and sensors. Schedules are as old as if the daemon had not run for a day."""
        for repository in self.dagster.ask(AUTOMATION)["repositoriesOrError"]["nodes"]:
            selector = {"repositoryLocationName": LOCATION, "repositoryName": repository["name"]}
            for schedule in repository["schedules"]:
                self._change(START_SCHEDULE, schedule={**selector, "scheduleName": schedule["name"]})
            for sensor in repository["sensors"]:
                self._change(START_SENSOR, sensor={**selector, "sensorName": sensor["name"]})
        for state in self.instance.all_instigator_state(instigator_type=InstigatorType.SCHEDULE):
            if isinstance(state.instigator_data, ScheduleInstigatorData):
                yesterday = state.instigator_data._replace(start_timestamp=time.time() - DAY)
                self.instance.update_instigator_state(state.with_data(yesterday))

    def step_times(self, run: DagsterRun) -> tuple[float, float]:
        """Return when the first step of a run started, and when its last one ended."""
        statistics = self.instance.get_run_step_stats(run.run_id)
        return min(each.start_time or 0 for each in statistics), max(each.end_time or 0 for each in statistics)

    def _change(self, mutation: str, **variables: Any) -> None:
        (answer,) = self.dagster.ask(mutation, **variables).values()
        assert answer["__typename"] in {"ScheduleStateResult", "Sensor"}, answer

    def has_ticked(self, sensor: str) -> bool:
        """Return whether a sensor has been evaluated."""
        states = self.instance.all_instigator_state(instigator_type=InstigatorType.SENSOR)
        (state,) = (each for each in states if each.instigator_name == sensor)
        ticks = self.instance.get_ticks(state.instigator_origin_id, state.selector_id)
        return any(tick.is_completed for tick in ticks)

    def finished_run(self, run_id: str) -> DagsterRun:
        """Wait until a run has ended, and return it."""
        (run,) = self.finished_runs(run_ids=[run_id])
        return run

    def finished_runs(self, count: int = 1, **filters: Any) -> Sequence[DagsterRun]:
        """Wait until so many runs have ended, and return them, the first one first. The filters are those of runs."""

        def runs() -> Sequence[DagsterRun]:
            return self.instance.get_runs(RunsFilter(**filters), ascending=True)

        def have_ended() -> bool:
            return sum(run.is_finished for run in runs()) >= count

        wait_until(have_ended, timeout=RUN_TIMEOUT)
        return runs()


@contextmanager
def run_code_server() -> Iterator[Path]:
    """Serve the code location while the block runs; yield the workspace file that names it."""
    with tempfile.TemporaryDirectory(prefix="code-server-") as folder:
        socket, workspace = f"{folder}/socket", Path(folder, "workspace.yaml")
        server = {"grpc_server": {"socket": socket, "location_name": LOCATION}}
        workspace.write_text(json.dumps({"load_from": [server]}))
        command = _command("dagster", "api", "grpc", "-m", LOCATION, "--socket", socket)
        with run_process(command, ready="(Started Dagster code server)", cwd=ROOT):
            yield workspace


@contextmanager
def run_daemon(home: Path, settings: Mapping[str, Any], workspace: Path) -> Iterator[Daemon]:
    """Run daemon and webserver while the block runs, in a home folder with these settings of `dagster.yaml`."""
    with instance_for_test({**SETTINGS, **settings}, set_dagster_home=False, temp_dir=str(home)) as instance:
        variables = {"DAGSTER_HOME": str(home), "FRESHNESS_DAEMON_INTERVAL_SECONDS": "1"}

        def run_webserver(port: int) -> AbstractContextManager[ChildProcess]:
            return run_process(
                _command("dagster-webserver", "-w", str(workspace), "-p", str(port)),
                ready=rf"Serving dagster-webserver on (http://127.0.0.1:{port})",
                env=variables,
            )

        with (
            run_process(_command("dagster-daemon", "run", "-w", str(workspace)), ready=r"daemons: (.+)", env=variables),
            run_on_free_port(run_webserver) as webserver,
        ):
            wait_until_listening(int(webserver.ready.rpartition(":")[2]), webserver)
            daemon = Daemon(instance, Dagster(webserver))
            daemon.start_automation()
            yield daemon


def _command(program: str, *arguments: str) -> list[str]:
    return [str(Path(sys.executable).parent / program), *arguments]
