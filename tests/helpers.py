"""What the tests of whole runs share."""

import json
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import PurePosixPath
from threading import Event, Thread
from typing import Any, TypeVar

from dagster import (
    AssetCheckEvaluation,
    AssetExecutionContext,
    AssetMaterialization,
    AssetsDefinition,
    DagsterEventType,
    DagsterInstance,
    ExecuteInProcessResult,
    MaterializeResult,
    asset,
    materialize,
)
from dagster_pipes import PipesContextData, encode_param
from google.cloud import storage

from dagster_gcf_pipes import PipesCloudFunctionClient, PipesCloudFunctionCompletedInvocation

Value = TypeVar("Value")


def calling_asset(
    url: str,
    event: dict[str, Any],
    *,
    name: str = "orders",
    extras: dict[str, Any] | None = None,
    on_invocation: Callable[[PipesCloudFunctionCompletedInvocation], None] = lambda _: None,
    **asset_arguments: Any,
) -> Any:
    """Return an asset that calls a function with the resource `cloud_function`."""

    @asset(name=name, **asset_arguments)
    def calls(context: AssetExecutionContext, cloud_function: PipesCloudFunctionClient) -> MaterializeResult:
        invocation = cloud_function.run(context=context, function_url=url, event=event, extras=extras)
        on_invocation(invocation)
        return invocation.get_materialize_result()

    return calls


def run(
    assets: Sequence[AssetsDefinition] | AssetsDefinition, client: PipesCloudFunctionClient, **arguments: Any
) -> tuple[ExecuteInProcessResult, list[str]]:
    """Materialize assets with a Dagster instance of their own; return the result and the log lines in order."""
    with DagsterInstance.ephemeral() as instance:
        result = materialize(
            [assets] if isinstance(assets, AssetsDefinition) else assets,
            resources={"cloud_function": client},
            instance=instance,
            raise_on_error=False,
            **arguments,
        )
        return result, logged(instance, result.run_id)


def logged(instance: DagsterInstance, run_id: str) -> list[str]:
    """Return the log lines of a run that are not Dagster's own events, nor ours."""
    lines = [entry.user_message for entry in instance.all_logs(run_id) if not entry.is_dagster_event]
    return [line for line in lines if not line.startswith("[pipes]")]


def materializations(instance: DagsterInstance, run_id: str) -> list[AssetMaterialization]:
    """Return the materializations of a run, those of a step that failed too."""
    events = [entry.dagster_event for entry in instance.all_logs(run_id) if entry.dagster_event]
    return [event.materialization for event in events if event.is_step_materialization]


def check_evaluations(instance: DagsterInstance, run_id: str) -> list[AssetCheckEvaluation]:
    """Return the check evaluations of a run, those of a step that failed too."""
    events = [entry.dagster_event for entry in instance.all_logs(run_id) if entry.dagster_event]
    kind = DagsterEventType.ASSET_CHECK_EVALUATION
    return [event.asset_check_evaluation_data for event in events if event.event_type == kind]


def step_error(result: ExecuteInProcessResult, step: str = "orders") -> str:
    """Return how Dagster describes the failure of a step: its error, or its causes if Dagster wrapped it."""
    failure = result.failure_data_for_node(step)
    if failure is None or failure.error is None:
        raise AssertionError(f"Expected the step {step} to have failed with an error, got {failure}")
    return failure.error.to_string()


def bootstrap(
    bucket: str, prefix: str, *, run_id: str = "some-run", include_stdio: bool = False, **context_fields: Any
) -> dict[str, str]:
    """Return the Pipes keys of a request body, as a Dagster session without a partition or asset would have them."""
    context: PipesContextData = {
        "asset_keys": None,
        "code_version_by_asset_key": None,
        "provenance_by_asset_key": None,
        "partition_key": None,
        "partition_key_range": None,
        "partition_time_window": None,
        "run_id": run_id,
        "job_name": None,
        "retry_number": 0,
        "extras": {},
    }
    messages = {"bucket": bucket, "key_prefix": prefix, "include_stdio_in_messages": include_stdio}
    return {
        "DAGSTER_PIPES_CONTEXT": encode_param({"data": {**context, **context_fields}}),
        "DAGSTER_PIPES_MESSAGES": encode_param(messages),
    }


def stored_sessions(storage_client: storage.Client, bucket: str) -> dict[str, list[dict[str, Any]]]:
    """Return the messages of each session whose chunks are in a bucket, in the order of the chunks."""
    chunks = [PurePosixPath(blob.name) for blob in storage_client.list_blobs(bucket) if blob.name.endswith(".json")]
    sessions: dict[str, list[dict[str, Any]]] = {}
    for chunk in sorted(chunks, key=lambda chunk: int(chunk.stem)):
        content = storage_client.bucket(bucket).blob(str(chunk)).download_as_bytes()
        sessions.setdefault(str(chunk.parent), []).extend(map(json.loads, filter(None, content.splitlines())))
    return sessions


def summarize(messages: list[dict[str, Any]]) -> list[str]:
    """Return the text of each log line, and the method of each other message with the exception that came with it."""
    summary = []
    for message in messages:
        params = message["params"] or {}
        exception = params.get("exception")
        text = params["message"] if message["method"] == "log" else message["method"]
        summary.append(f"{text} with {exception['name']}" if exception else text)
    return summary


def in_background(function: Callable[[], Value]) -> "Future[Value]":
    """Call a function in a thread that the end of the process does not wait for, and return its result to come."""
    future: Future[Value] = Future()

    def work() -> None:
        try:
            future.set_result(function())
        except BaseException as error:  # noqa: BLE001 - it is raised where the result is asked for
            future.set_exception(error)

    Thread(target=work, name="run", daemon=True).start()
    return future


def wait_until(reached: Callable[[], bool], timeout: float = 30.0) -> None:
    """Look again and again until something is reached.

    Raises:
        TimeoutError: It is not reached in time.
    """
    deadline = time.monotonic() + timeout
    pause = Event()
    while not reached():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not reached within {timeout:g} s")
        pause.wait(0.1)
