"""Uses the public API of both packages, for the type checker alone: nothing here is run."""

from collections.abc import Iterator, Mapping
from typing import Any

import flask
import flask.typing
import requests
from dagster import (
    AssetCheckExecutionContext,
    AssetCheckResult,
    AssetExecutionContext,
    Definitions,
    EnvVar,
    Failure,
    MaterializeResult,
    OpExecutionContext,
    PipesClient,
    PipesContextInjector,
    PipesMessageReader,
    asset,
    asset_check,
    op,
    open_pipes_session,
)
from dagster_pipes import DagsterPipesError, PipesContext, PipesContextData, PipesParams, open_dagster_pipes
from gcf_pipes import (
    GcfPipesError,
    PipesBucketNotFoundError,
    PipesCloudFunctionContextLoader,
    PipesCloudFunctionParamsLoader,
    PipesCloudStorageMessageWriter,
    PipesCloudStorageMessageWriterChannel,
    PipesDuplicateCallError,
    PipesMessagesNotStoredError,
    PipesObjectExistsError,
    PipesRequestError,
    PipesStorageError,
    PipesStorageForbiddenError,
    pipes_cancelled,
    pipes_function,
    pipes_traceparent,
    report_partition_materialization,
)
from google.auth.credentials import AnonymousCredentials, Credentials
from google.cloud import storage

from dagster_gcf_pipes import (
    PipesCloudFunctionAccessError,
    PipesCloudFunctionBucketError,
    PipesCloudFunctionCallError,
    PipesCloudFunctionClient,
    PipesCloudFunctionCompletedInvocation,
    PipesCloudFunctionError,
    PipesCloudFunctionEventContextInjector,
    PipesCloudFunctionIdentityError,
    PipesCloudFunctionLookupError,
    PipesCloudFunctionMessagesError,
    PipesCloudFunctionNotClosedError,
    PipesCloudFunctionNotOpenedError,
    PipesCloudFunctionPrices,
    PipesCloudFunctionRaisedError,
    PipesCloudFunctionRefusedError,
    PipesCloudFunctionRequestError,
    PipesCloudStorageMessageReader,
)
from dagster_gcf_pipes.local import Emulator
from dagster_gcf_pipes.testing import (
    InvocationResult,
    LocalCall,
    LocalPipesCloudFunctionClient,
    LogLine,
    ReportedCheck,
    ReportedMaterialization,
    invoke,
)
from dagster_gcf_pipes.testing.pytest_plugin import LocalFunctions, StartFunctions

# Dagster's side: the resource

URL = "https://europe-west1-my-project.cloudfunctions.net/orders"

smallest = PipesCloudFunctionClient(bucket="my-bucket")
from_environment = PipesCloudFunctionClient(bucket=EnvVar("PIPES_BUCKET"), key_prefix=EnvVar("PIPES_PREFIX"))
with_everything = PipesCloudFunctionClient(
    bucket="my-bucket",
    key_prefix="team/pipes",
    project="my-project",
    region="europe-west1",
    function_timeout=540,
    forward_logs=True,
    log_view="projects/my-project/locations/global/buckets/_Default/views/orders",
    retry_on=["429", "no_response"],
    connect_timeout=5,
    poll_interval=0.5,
    drain_timeout=5,
    inline_context_limit=1024,
    prices=PipesCloudFunctionPrices(vcpu_second=0.00002, gib_second=0.000002, million_requests=0.4),
    cleanup="never",
    impersonate_service_account="dagster@my-project.iam.gserviceaccount.com",
    impersonation_delegates=["first@my-project.iam.gserviceaccount.com"],
    audience="https://orders.example.com",
)
is_a_pipes_client: PipesClient = smallest


class AuthorizedClient(PipesCloudFunctionClient):
    def get_credentials(self) -> Credentials:
        return AnonymousCredentials()

    def get_storage_client(self) -> storage.Client:
        return storage.Client(project="my-project")

    def get_http_session(self) -> requests.Session:
        session = requests.Session()
        session.headers["Authorization"] = "Bearer token"
        return session


@asset
def orders(context: AssetExecutionContext, cloud_function: PipesCloudFunctionClient) -> MaterializeResult[Any]:
    event: Mapping[str, Any] = {"table_uri": "gs://lake/orders"}
    return cloud_function.run(
        context=context, function_url=URL, event=event, extras={"full_refresh": True}
    ).get_materialize_result()


@asset
def customers(context: AssetExecutionContext, cloud_function: PipesCloudFunctionClient) -> Iterator[object]:
    yield from cloud_function.run(context=context, function="customers").get_results()


@asset_check(asset=orders)
def not_empty(context: AssetCheckExecutionContext, cloud_function: PipesCloudFunctionClient) -> AssetCheckResult:
    return cloud_function.run(context=context, function_url=URL).get_asset_check_result()


@op
def sync(context: OpExecutionContext, cloud_function: PipesCloudFunctionClient) -> None:
    invocation: PipesCloudFunctionCompletedInvocation = cloud_function.run(context=context, function_url=URL)
    status: int = invocation.response.status_code
    encoding: str = invocation.response.headers["Content-Type"]
    check: AssetCheckResult = invocation.get_asset_check_result()
    context.log.info(f"{status} {encoding} {check.passed} {list(invocation.get_custom_messages())}")


@asset
def returns_the_invocation(
    context: AssetExecutionContext, cloud_function: PipesCloudFunctionClient
) -> MaterializeResult[Any]:
    return cloud_function.run(context=context, function_url=URL)  # type: ignore[return-value]


@asset
def iterates_the_invocation(
    context: AssetExecutionContext, cloud_function: PipesCloudFunctionClient
) -> Iterator[object]:
    yield from cloud_function.run(context=context, function_url=URL)  # type: ignore[misc]


async def awaits_run(context: AssetExecutionContext, cloud_function: PipesCloudFunctionClient) -> None:
    await cloud_function.run(context=context, function_url=URL)  # type: ignore[misc]


def enters_the_invocation(context: AssetExecutionContext, cloud_function: PipesCloudFunctionClient) -> None:
    with cloud_function.run(context=context, function_url=URL):  # type: ignore[attr-defined]
        pass


def passes_wrong_arguments(context: AssetExecutionContext, cloud_function: PipesCloudFunctionClient) -> None:
    cloud_function.run(context=context, functionurl=URL)  # type: ignore[call-arg]
    cloud_function.run(context, function_url=URL)  # type: ignore[call-arg]
    cloud_function.run(function_url=URL)  # type: ignore[call-arg]


code_version: str | None = smallest.deployed_revision("orders")
defs = Definitions(assets=[orders, customers], resources={"cloud_function": with_everything})


# Dagster's side: the parts alone


@asset
def with_parts(context: AssetExecutionContext) -> Iterator[object]:
    client = storage.Client(project="my-project")
    injector: PipesContextInjector = PipesCloudFunctionEventContextInjector(
        bucket="my-bucket", key_prefix="pipes", client=client, inline_context_limit=1024
    )
    reader: PipesMessageReader = PipesCloudStorageMessageReader(
        bucket="my-bucket",
        key_prefix="pipes",
        client=client,
        poll_interval=0.5,
        drain_timeout=5.0,
        include_stdio_in_messages=True,
    )
    with open_pipes_session(context=context, context_injector=injector, message_reader=reader) as session:
        requests.post(URL, json=session.get_bootstrap_env_vars(), timeout=(10, 600))
    yield from session.get_results()


def all_defaults() -> tuple[PipesContextInjector, PipesMessageReader]:
    return PipesCloudFunctionEventContextInjector(bucket="my-bucket"), PipesCloudStorageMessageReader(
        bucket="my-bucket"
    )


# Dagster's side: the errors


def describe(client: PipesCloudFunctionClient, context: AssetExecutionContext) -> str | None:
    try:
        client.run(context=context, function_url=URL)
    except (PipesCloudFunctionIdentityError, PipesCloudFunctionAccessError, PipesCloudFunctionRefusedError) as error:
        call_error: PipesCloudFunctionCallError = error
        return call_error.description
    except (
        PipesCloudFunctionBucketError,
        PipesCloudFunctionRaisedError,
        PipesCloudFunctionLookupError,
        PipesCloudFunctionMessagesError,
        PipesCloudFunctionNotClosedError,
        PipesCloudFunctionNotOpenedError,
        PipesCloudFunctionRequestError,
    ) as error:
        return f"{error.description} {error.metadata} {error.allow_retries}"
    except PipesCloudFunctionError as error:
        failure: Failure = error
        return failure.description
    return None


# The test kit


def test_function() -> None:
    result: InvocationResult = invoke(
        main, {"table_uri": "gs://lake/orders"}, asset_keys=["orders"], partition_key="2024-01", extras={"full": True}
    )
    line: LogLine = result.logs[0]
    materialization: ReportedMaterialization = result.materializations["orders"]
    materialization = result.partition_materializations["orders", "2024-01-03"]
    check: ReportedCheck = result.checks["orders", "not_empty"]
    error: BaseException | None = result.error
    status: int = result.response.status_code
    assert (line.level, materialization.metadata["rows"], check.passed, error, status) == ("INFO", 3, True, None, 200)
    assert result.succeeded, result.stdout + result.stderr


def test_asset() -> None:
    in_tests: PipesCloudFunctionClient = LocalPipesCloudFunctionClient(functions={"orders": main}, forward_logs=True)
    Definitions(assets=[orders], resources={"cloud_function": in_tests})
    busy = LocalPipesCloudFunctionClient({"orders": main}, fail_with=429, times=2, max_attempts=3)
    LocalPipesCloudFunctionClient({"orders": main}, lose_response=True)
    LocalPipesCloudFunctionClient({"orders": main}, die_after=3)
    calls: list[LocalCall] = busy.calls
    assert [(call.function, call.event["table_uri"], call.attempts, call.context["partition_key"]) for call in calls]


def test_processes(local_functions: StartFunctions, gcs_emulator: Emulator) -> None:
    functions: LocalFunctions = local_functions(orders="functions/orders")
    assert functions.urls["orders"] != functions.bucket != gcs_emulator.url


# The function's side


@pipes_function
def main(request: flask.Request, pipes: PipesContext) -> dict[str, int]:
    pipes.log.info(f"writing {request.get_json()['table_uri']}")
    pipes.report_asset_materialization(metadata={"rows": 3}, data_version="v1")
    report_partition_materialization(pipes, "2024-01-03")
    report_partition_materialization(pipes, "red", metadata={"rows": 3}, data_version="v1", asset_key="orders")
    return {"rows": 3}


@pipes_function
def without_response(request: flask.Request, pipes: PipesContext) -> None:
    pipes.log.info(request.path)


@pipes_function(
    context_loader=PipesCloudFunctionContextLoader(client=storage.Client()),
    message_writer=PipesCloudStorageMessageWriter(
        storage.Client(),
        flush_interval=1,
        max_chunk_bytes=64 * 1024,
        max_buffer_bytes=1024 * 1024,
        upload_timeout=10.0,
    ),
)
def with_arguments(request: flask.Request, pipes: PipesContext) -> tuple[str, int]:
    return f"{request.path} {pipes.run_id}", 202


def calls_another_service(url: str) -> list[int]:
    headers: dict[str, str] = {"traceparent": traceparent} if (traceparent := pipes_traceparent()) else {}
    return [] if pipes_cancelled() else [requests.get(url, headers=headers, timeout=10).status_code]


def calls_entry_points(request: flask.Request) -> list[flask.typing.ResponseReturnValue]:
    return [main(request), without_response(request), with_arguments(request)]


def plain_function(request: flask.Request) -> dict[str, bool]:
    params = PipesCloudFunctionParamsLoader(request.get_data())
    if not params.is_dagster_pipes_process():
        return {"pipes": False}
    with open_dagster_pipes(
        params_loader=params,
        context_loader=PipesCloudFunctionContextLoader(),
        message_writer=PipesCloudStorageMessageWriter(),
    ) as pipes:
        pipes.report_custom_message({"hello": "world"})
    return {"pipes": True}


def with_channel(params: PipesParams) -> int:
    with (
        PipesCloudFunctionContextLoader().load_context(params) as context,
        PipesCloudStorageMessageWriter().open(params) as channel,
    ):
        data: PipesContextData = context
        open_channel: PipesCloudStorageMessageWriterChannel = channel
    return open_channel.chunk_count + data["retry_number"]


def answer(error: DagsterPipesError) -> tuple[str, int]:
    match error:
        case PipesRequestError() | PipesDuplicateCallError():
            return error.code, error.status
        case PipesBucketNotFoundError() | PipesStorageForbiddenError():
            return f"{error.code}: check the bucket", error.status
        case PipesMessagesNotStoredError() | PipesObjectExistsError():
            return f"{error.code}: messages were lost", error.status
        case PipesStorageError():
            storage_error: GcfPipesError = error
            return storage_error.code, storage_error.status
        case _:
            return str(error), 500
