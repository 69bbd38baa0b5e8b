"""The jobs whose processes are killed."""

import json
import os
from collections.abc import Callable, Mapping
from typing import Any, Final

import requests
from dagster import (
    AssetCheckSpec,
    AssetExecutionContext,
    AssetsDefinition,
    AssetSelection,
    Definitions,
    ExecutorDefinition,
    InitResourceContext,
    MaterializeResult,
    PipesClientCompletedInvocation,
    PipesEnvContextInjector,
    RetryPolicy,
    asset,
    define_asset_job,
    executor,
    in_process_executor,
    multiple_process_executor_requirements,
    multiprocess_executor,
    open_pipes_session,
)
from dagster._core.execution.retries import RetryMode
from dagster._core.executor.multiprocess import MultiprocessExecutor

from dagster_gcf_pipes import PipesCloudFunctionClient
from tests.evict import boundaries

EVENT_TAG: Final = "evict/event"
"""The tag of a run with the function's event, as JSON. A re-execution has it too."""
CUSTOM_MESSAGES: Final = "custom messages: "
BUCKET: Final = "evict"
SPAWN_VARIABLE: Final = "EVICT_SPAWN"

Call = Callable[[AssetExecutionContext, Mapping[str, Any]], PipesClientCompletedInvocation]


class Client(PipesCloudFunctionClient):
    """Its teardown has boundaries too."""

    def teardown_after_execution(self, context: InitResourceContext) -> None:
        boundaries.cross("before the teardown")
        super().teardown_after_execution(context)
        boundaries.cross("after the teardown")


def call_with_ours(context: AssetExecutionContext, event: Mapping[str, Any]) -> PipesClientCompletedInvocation:
    client: Client = context.resources.cloud_function
    return client.run(context=context, function_url=os.environ["EVICT_FUNCTION_URL"], event=event)


def call_with_stock(context: AssetExecutionContext, event: Mapping[str, Any]) -> PipesClientCompletedInvocation:
    """Call as Dagster's documentation does, but poll once a second in place of each 10 s."""
    from dagster_gcp.pipes import PipesGCSMessageReader
    from google.cloud import storage

    reader = PipesGCSMessageReader(bucket=BUCKET, client=storage.Client(project="local"), interval=0)
    with open_pipes_session(
        context=context, context_injector=PipesEnvContextInjector(), message_reader=reader
    ) as session:
        bootstrap = session.get_bootstrap_env_vars()
        requests.post(os.environ["EVICT_FUNCTION_URL"], json={**event, **bootstrap}).raise_for_status()
    return PipesClientCompletedInvocation(session)


def calling_asset(name: str, call: Call, retry_policy: RetryPolicy | None = None) -> AssetsDefinition:
    """Return an asset that calls the function, and logs which custom messages it got."""

    @asset(
        name=name,
        check_specs=[AssetCheckSpec("complete", asset=name)],
        retry_policy=retry_policy,
        required_resource_keys={"cloud_function"},
    )
    def calls(context: AssetExecutionContext) -> MaterializeResult:
        invocation = call(context, json.loads(context.run.tags[EVENT_TAG]))
        boundaries.cross(boundaries.RUN_RETURNED)
        numbers = [message["number"] for message in invocation.get_custom_messages()]
        context.log.info(f"{CUSTOM_MESSAGES}{json.dumps(numbers)}")
        result = invocation.get_materialize_result()
        boundaries.cross("before the asset returns")
        return result

    return calls


@executor(name="multiprocess", requirements=multiple_process_executor_requirements())
def forking_executor(_: Any) -> MultiprocessExecutor:
    """The multiprocess executor, but its step processes do not import Dagster again: that takes seconds."""
    return MultiprocessExecutor(retries=RetryMode.ENABLED, max_concurrent=1, start_method="fork")


boundaries.install()
_processes: ExecutorDefinition = multiprocess_executor if os.environ.get(SPAWN_VARIABLE) else forking_executor


def _jobs(implementation: str, call: Call) -> tuple[list[AssetsDefinition], list[Any]]:
    """Return the assets and the jobs of an implementation."""
    plain = calling_asset(implementation, call)
    retried = calling_asset(f"{implementation}_retried", call, RetryPolicy(max_retries=3))
    return [plain, retried], [
        define_asset_job(f"{implementation}_multiprocess", AssetSelection.assets(plain), executor_def=_processes),
        define_asset_job(f"{implementation}_op_retries", AssetSelection.assets(retried), executor_def=_processes),
        define_asset_job(
            f"{implementation}_in_process", AssetSelection.assets(plain), executor_def=in_process_executor
        ),
    ]


_our_assets, _our_jobs = _jobs("ours", call_with_ours)
_stock_assets, _stock_jobs = _jobs("stock", call_with_stock)
defs = Definitions(
    assets=[*_our_assets, *_stock_assets],
    resources={"cloud_function": Client(bucket=BUCKET, function_timeout=60)},
    jobs=[*_our_jobs, *_stock_jobs],
)
