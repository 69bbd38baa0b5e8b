"""Where a case runs: the function, its storage, a fault proxy on each connection, and a Dagster instance."""

import os
import signal
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from dagster import (
    AssetExecutionContext,
    DagsterInstance,
    MaterializeResult,
    asset,
    materialize,
)
from google.cloud import storage

from dagster_gcf_pipes import PipesCloudFunctionClient, PipesCloudFunctionCompletedInvocation
from dagster_gcf_pipes.local import FunctionServer
from tests.cases.running import Running
from tests.cases.shown import Shown, shown
from tests.faults.plan import Fault
from tests.faults.proxy import FaultProxy
from tests.faults.stack import Link
from tests.waiting import in_background, wait_for_cleanup, wait_until

QUIET: Final = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}

Event = dict[str, Any]


@dataclass(frozen=True)
class Stage:
    """The running parts for a subject.

    Attributes:
        server: The function.
        serve: Runs another process of it while a block runs.
        new_client: Makes the resource, with its settings.
        links: The fault proxies: from the function to its bucket, from Dagster to its bucket, and to the function.
        bucket: The bucket.
        storage: A client of the emulator.
        folder: A folder of the case.
        elsewhere: The URL that the step calls in place of the function's, if any.
    """

    server: FunctionServer
    serve: Callable[[], AbstractContextManager[FunctionServer]]
    new_client: Callable[..., PipesCloudFunctionClient]
    links: Mapping[Link, FaultProxy]
    bucket: str
    storage: storage.Client
    folder: Path = field(default_factory=Path)
    elsewhere: str = ""

    def client(self, **settings: Any) -> PipesCloudFunctionClient:
        """Return the resource, with shorter pauses between attempts than by default."""
        defaults = {"function_timeout": 30, "retry_delay": 0.2, "max_attempts": 3}
        return self.new_client(**{**defaults, **settings})

    @property
    def url(self) -> str:
        """The URL that the step calls."""
        return self.elsewhere or self.server.url

    @contextmanager
    def faulty_calls(self, *faults: Fault) -> Iterator["Stage"]:
        """Yield a stage whose calls go through the proxy, with these faults.

        The proxy passes a response on when it is complete. So only such calls go through it.
        """
        with self.links["call"].planned(*faults):
            yield replace(self, elsewhere=self.links["call"].url)

    def kill(self) -> None:
        """Kill the function's processes, as the platform kills an instance."""
        os.killpg(self.server.child.process.pid, signal.SIGKILL)
        self.server.child.process.wait(30)

    @contextmanager
    def own_function(self) -> Iterator["Stage"]:
        """Run another function for a case that kills it."""
        with self.serve() as server:
            yield replace(self, server=server)

    def noted(self, name: str = "notes") -> list[str]:
        """What the function has noted."""
        path = self.folder / name
        return path.read_text().splitlines() if path.exists() else []

    def wait_for_note(self, text: str) -> None:
        """Wait until the function has noted a text."""
        wait_until(lambda: any(text in line for line in self.noted()))

    def open_gate(self) -> None:
        """Let tasks go on that wait for the gate."""
        (self.folder / "gate").touch()

    def event(self, task: str, event: Mapping[str, Any] | None = None) -> Event:
        """Return the event for a task."""
        files = {"notes": str(self.folder / "notes"), "gate": str(self.folder / "gate")}
        return {"task": task, **files, **(event or {})}

    def run(
        self,
        task: str,
        event: Mapping[str, Any] | None = None,
        *,
        extras: dict[str, Any] | None = None,
        settings: Mapping[str, Any] | None = None,
        run: Mapping[str, Any] | None = None,
        instance: DagsterInstance | None = None,
        **asset_arguments: Any,
    ) -> Shown:
        """Materialize an asset that calls the function for a task; return what Dagster shows.

        Args:
            task: The task.
            event: Further keys of the event.
            extras: The extras.
            settings: Settings of the resource.
            run: Arguments of `materialize`, such as `partition_key`.
            instance: The instance. Default: a new one.
            asset_arguments: Arguments of `@asset`.
        """
        invocations: list[PipesCloudFunctionCompletedInvocation] = []

        @asset(**{"name": "orders", **asset_arguments})
        def calls(context: AssetExecutionContext, cloud_function: PipesCloudFunctionClient) -> MaterializeResult:
            invocation = cloud_function.run(
                context=context, function_url=self.url, event=self.event(task, event), extras=extras
            )
            invocations.append(invocation)
            return invocation.get_materialize_result()

        return self.materialize(calls, invocations, settings=settings, run=run, instance=instance)

    def materialize(
        self,
        definition: Any,
        invocations: list[PipesCloudFunctionCompletedInvocation],
        *,
        settings: Mapping[str, Any] | None = None,
        run: Mapping[str, Any] | None = None,
        instance: DagsterInstance | None = None,
    ) -> Shown:
        """Materialize definitions in which `cloud_function` is the resource; return what Dagster shows.

        Args:
            definition: An asset, or a list of definitions.
            invocations: Where the definitions put what their calls return.
            settings: As in `run`.
            run: As in `run`.
            instance: As in `run`.
        """
        with ExitStack() as stack:
            instance = instance or stack.enter_context(DagsterInstance.ephemeral())
            materialize(
                definition if isinstance(definition, list) else [definition],
                resources={"cloud_function": self.client(**(settings or {}))},
                instance=instance,
                run_config=QUIET,
                raise_on_error=False,
                **(run or {}),
            )
            wait_for_cleanup()
            return shown(instance, invocations)

    @contextmanager
    def running(self, task: str, event: Mapping[str, Any] | None = None, **arguments: Any) -> Iterator[Running]:
        """Make a run as `run` does, in the background of the block."""
        with DagsterInstance.local_temp(str(self.folder)) as instance:
            future = in_background(lambda: self.run(task, event, instance=instance, **arguments))
            try:
                yield Running(instance, future)
            finally:
                self.open_gate()
                future.exception(120)

    def run_and_cancel(self, task: str, *, when: Callable[[], object]) -> Shown:
        """Make a run, and cancel it, as Dagster does.

        Args:
            task: The task.
            when: Returns when the run is to be cancelled.
        """
        with DagsterInstance.local_temp(str(self.folder)) as instance:

            def cancel() -> None:
                when()
                (run,) = instance.get_runs(limit=1)
                instance.report_run_canceling(run)  # Dagster does so before it sends the signal
                os.kill(os.getpid(), signal.SIGTERM)

            @asset
            def orders(context: AssetExecutionContext, cloud_function: PipesCloudFunctionClient) -> MaterializeResult:
                cancelling = in_background(cancel)
                try:
                    invocation = cloud_function.run(context=context, function_url=self.url, event=self.event(task))
                finally:
                    cancelling.result(60)  # the signal must come while the step runs, whatever happens
                return invocation.get_materialize_result()

            return self.materialize(orders, [], instance=instance)

    def stored(self, run_id: str) -> list[str]:
        """The names of a run's objects, without their prefixes."""
        blobs = self.storage.list_blobs(self.bucket)
        return sorted(blob.name.rpartition("/")[2] for blob in blobs if f"/{run_id}/" in blob.name)
