"""The real parts: an emulator, the functions, Dagster instances, and a server that forks run workers."""

import json
import multiprocessing
import os
import signal
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.process import BaseProcess
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, Literal

from dagster import DagsterInstance, DagsterRun, instance_for_test
from dagster._core.definitions.selector import JobSubsetSelector
from dagster._core.execution.plan.resume_retry import ReexecutionStrategy
from dagster._core.remote_origin import InProcessCodeLocationOrigin
from dagster._core.remote_representation.external import RemoteJob
from dagster._core.types.loadable_target_origin import LoadableTargetOrigin
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import InProcessWorkspaceLoadTarget
from dagster._grpc.types import ExecuteRunArgs, ResumeRunArgs

from dagster_gcf_pipes.local import FAKE_GCS_SERVER, run_emulator, run_function, storage_client
from tests.conftest import FUNCTIONS
from tests.evict import jobs, worker
from tests.evict.boundaries import PLAN_VARIABLE, Plan
from tests.evict.jobs import EVENT_TAG
from tests.features.postgresql import find_postgresql, run_postgresql
from tests.functions.executions import FOLDER

Implementation = Literal["ours", "stock"]
SOURCES: Final[Mapping[Implementation, Path]] = {"ours": FUNCTIONS / "evicted", "stock": FUNCTIONS / "evicted_stock"}
ROOT: Final = FUNCTIONS.parents[1]
LOCATION: Final = "evict"
RETRIES: Final = {"run_retries": {"enabled": True, "max_retries": 3}}
RESUMES: Final = {
    "run_monitoring": {"enabled": True, "max_resume_run_attempts": 3},
    "run_launcher": {"module": "tests.evict.launcher", "class": "ResumingRunLauncher"},
}
"""What `dagster.yaml` says."""

IMPORTED_ONCE: Final = (
    "tests.evict.trials",
    "dagster._core.instance.factory",
    "dagster._core.storage.local_compute_log_manager",
    "dagster._core.storage.sqlite_storage",
    "dagster._core.workspace.autodiscovery",
    "google_crc32c",
    "upath.implementations.local",
)
"""What the server imports, because each run worker would."""


@dataclass(frozen=True)
class Dagster:
    """A Dagster instance with the jobs.

    Attributes:
        instance: The instance.
        workspace: Its workspace.
    """

    instance: DagsterInstance
    workspace: WorkspaceProcessContext

    def create_run(self, job_name: str, event: Mapping[str, Any]) -> DagsterRun:
        """Create a run of a job whose function gets an event."""
        remote = self._remote_job(job_name)
        return self.instance.create_run_for_job(
            jobs.defs.resolve_job_def(job_name),
            tags={EVENT_TAG: json.dumps(event)},
            remote_job_origin=remote.get_remote_origin(),
            job_code_origin=remote.get_python_origin(),
        )

    def reexecute(self, run: DagsterRun) -> DagsterRun:
        """Create a re-execution of a run from failure, as the UI and the daemon do.

        Raises:
            DagsterInvalidSubsetError: All its steps have succeeded.
        """
        request = self.workspace.create_request_context()
        return self.instance.create_reexecuted_run(
            parent_run=run,
            request_context=request,
            code_location=request.get_code_location(LOCATION),
            remote_job=self._remote_job(run.job_name),
            strategy=ReexecutionStrategy.FROM_FAILURE,
            use_parent_run_tags=True,
        )

    def resume(self, run: DagsterRun, attempt: int) -> None:
        """Note that a run resumes, as the monitoring daemon does."""
        self.instance.resume_run(run.run_id, self.workspace.create_request_context(), attempt)

    def _remote_job(self, name: str) -> RemoteJob:
        location = self.workspace.create_request_context().get_code_location(LOCATION)
        (repository,) = location.get_repositories()
        return location.get_job(JobSubsetSelector(LOCATION, repository, name, op_selection=None))


@dataclass
class Stack:
    """All parts, running.

    Attributes:
        folder: The folder for files.
        retrying: The instance that retries failed runs.
        resuming: The instance that resumes runs whose worker has died.
        env: The environment of the run workers, by implementation.
        groups: The process groups of all run workers so far.
    """

    folder: Path
    retrying: Dagster
    resuming: Dagster
    env: Mapping[Implementation, Mapping[str, str]]
    groups: set[int] = field(default_factory=set)
    _closed: bool = False

    def start_worker(
        self, dagster: Dagster, run: DagsterRun, implementation: Implementation, plan: Plan | None, *, resumes: bool
    ) -> BaseProcess:
        """Start a run worker, which executes the plan, if there is one."""
        if self._closed:
            raise RuntimeError("The run workers have been killed.")
        assert run.job_code_origin
        kind = ResumeRunArgs if resumes else ExecuteRunArgs
        arguments = kind(run.job_code_origin, run.run_id, dagster.instance.get_ref(), set_exit_code_on_failure=True)
        env = {**self.env[implementation], **({PLAN_VARIABLE: str(plan.write())} if plan else {})}
        command = "resume_run" if resumes else "execute_run"
        output = self.folder / f"{run.run_id}.txt"
        process = multiprocessing.get_context("forkserver").Process(
            target=worker.work, args=(command, arguments, env, output)
        )
        process.start()
        self.groups.add(process.pid or 0)
        return process

    def executions(self, key: str) -> tuple[int, bool]:
        """Return how often the user's code was started for a key, and whether it runs."""
        file = self.folder / key
        lines = file.read_text().split() if file.exists() else []
        return lines.count("started"), lines.count("started") > lines.count("ended")

    def kill_groups(self, groups: Collection[int]) -> None:
        """Kill run workers with their step processes."""
        for group in running_groups().intersection(groups):
            with suppress(ProcessLookupError):
                os.killpg(group, signal.SIGKILL)

    def close(self) -> None:
        """Kill all run workers, and start no more."""
        self._closed = True
        self.kill_groups(self.groups)


def running_groups() -> set[int]:
    """Return the process groups that have a running process."""
    groups = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(FileNotFoundError, ProcessLookupError):
            state, _, group = stat.read_text().rpartition(") ")[2].split()[:3]
            if state != "Z":
                groups.add(int(group))
    return groups


@contextmanager
def run_stack(*, implementations: tuple[Implementation, ...], postgres: bool = False) -> Iterator[Stack]:
    """Run all parts while the block runs."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="evict-", ignore_cleanup_errors=True)))
        emulator = stack.enter_context(run_emulator(FAKE_GCS_SERVER))
        client = stack.enter_context(closing(storage_client(emulator.url)))
        client.create_bucket(jobs.BUCKET)
        env = {}
        for each in implementations:
            variables = {"PYTHONPATH": str(ROOT), FOLDER: str(folder)}
            function = stack.enter_context(run_function(SOURCES[each], emulator_url=emulator.url, env=variables))
            env[each] = {"STORAGE_EMULATOR_HOST": emulator.url, "EVICT_FUNCTION_URL": function.url}
        storages = _storages(stack, postgres=postgres)
        context = multiprocessing.get_context("forkserver")
        stock = ["dagster_gcp.pipes"] if "stock" in implementations else []
        context.set_forkserver_preload([*IMPORTED_ONCE, *stock])
        running = Stack(
            folder,
            stack.enter_context(_run_dagster(folder / "retrying", {**RETRIES, **next(storages)})),
            stack.enter_context(_run_dagster(folder / "resuming", {**RESUMES, **next(storages)})),
            env,
        )
        stack.callback(running.close)
        yield running


def _storages(stack: ExitStack, *, postgres: bool) -> Iterator[dict[str, Any]]:
    """Yield settings of `dagster.yaml` for new storages. Without PostgreSQL they are SQLite's, in the home folder."""
    programs = find_postgresql()
    if postgres and not programs:
        raise SystemExit("PostgreSQL is not installed: `apt-get install postgresql`")
    cluster = stack.enter_context(run_postgresql(programs)) if postgres and programs else None
    while True:
        yield {"storage": cluster.create_storage()} if cluster else {}


@contextmanager
def _run_dagster(home: Path, settings: Mapping[str, Any]) -> Iterator[Dagster]:
    home.mkdir()
    origin = InProcessCodeLocationOrigin(
        LoadableTargetOrigin(module_name=jobs.__name__, attribute="defs", working_directory=str(ROOT)),
        location_name=LOCATION,
    )
    with (
        instance_for_test(dict(settings), set_dagster_home=False, temp_dir=str(home)) as instance,
        WorkspaceProcessContext(instance, InProcessWorkspaceLoadTarget(origin)) as workspace,
    ):
        yield Dagster(instance, workspace)
