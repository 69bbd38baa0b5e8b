"""A deployed, private function that is called by its name, and the metadata of the call."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

import pytest
from dagster import (
    AssetCheckSpec,
    AssetExecutionContext,
    DagsterInstance,
    EnvVar,
    ExecuteInProcessResult,
    MaterializeResult,
    MetadataValue,
    asset,
    materialize,
)
from opentelemetry import context as otel
from opentelemetry import trace

from dagster_gcf_pipes import PipesCloudFunctionClient, PipesCloudFunctionLookupError
from dagster_gcf_pipes.local import Emulator, FunctionServer, run_function
from tests.conftest import FUNCTIONS
from tests.dagster_runs import step_error
from tests.faults.plan import CALL, INSTANCE_DIED, Fault
from tests.faults.proxy import FaultProxy
from tests.google.conftest import FUNCTION_URL, Google
from tests.google.functions_api import HOST as FUNCTIONS_HOST
from tests.google.functions_api import FunctionsApi
from tests.google.logging_api import HOST as LOGGING_HOST
from tests.google.logging_api import OUT_OF_MEMORY, LoggingApi, terminated
from tests.metadata_server import run_metadata_server

PROJECT, REGION, SERVICE, REVISION, INSTANCE = "my-project", "europe-west1", "orders", "orders-00007-xyz", "00f8b34f"
NAME = f"projects/{PROJECT}/locations/{REGION}/functions/orders"
SERVICE_CONFIG = {
    "service": f"services/{SERVICE}",
    "uri": FUNCTION_URL,
    "timeoutSeconds": 60,
    "availableMemory": "256Mi",
    "availableCpu": "0.1666",
    "revision": REVISION,
}
TRACE_ID = "0af7651916cd43dd8448eb211c80319c"


@dataclass(frozen=True)
class Cloud:
    """A project with a deployed function, and a resource that may call it.

    Attributes:
        google: Google.
        functions: The Functions API.
        logging: The Logging API.
        client: The resource.
    """

    google: Google
    functions: FunctionsApi
    logging: LoggingApi
    client: PipesCloudFunctionClient

    def run(
        self, event: dict[str, Any], instance: DagsterInstance, *, function: str = "orders"
    ) -> ExecuteInProcessResult:
        checks = ("not_empty", "fresh") if event["mode"] == "materialize" else ()

        @asset(name="orders", check_specs=[AssetCheckSpec(name, asset="orders") for name in checks])
        def calls(context: AssetExecutionContext, cloud_function: PipesCloudFunctionClient) -> MaterializeResult:
            return cloud_function.run(context=context, function=function, event=event).get_materialize_result()

        return materialize([calls], resources={"cloud_function": self.client}, instance=instance, raise_on_error=False)


def metadata_of(result: ExecuteInProcessResult) -> Mapping[str, MetadataValue]:
    (materialization,) = result.asset_materializations_for_node("orders")
    return materialization.metadata


def metadata_of_failure(result: ExecuteInProcessResult) -> Mapping[str, MetadataValue]:
    failure = result.failure_data_for_node("orders")
    assert failure is not None
    assert failure.user_failure_data is not None
    return failure.user_failure_data.metadata


@contextmanager
def run_deployed(function: str, emulator: Emulator, **env: str) -> Iterator[FunctionServer]:
    """Run a function's process as Cloud Run starts it."""
    with run_metadata_server({"instance/id": INSTANCE, "project/project-id": PROJECT}) as metadata_host:
        platform = {"K_SERVICE": SERVICE, "K_REVISION": REVISION, "GCE_METADATA_HOST": metadata_host}
        source = FUNCTIONS / function / "main.py"
        with run_function(source, emulator_url=emulator.url, env={**platform, **env}) as server:
            yield server


@pytest.fixture(scope="module")
def deployed(emulator: Emulator) -> Iterator[FunctionServer]:
    with run_deployed("behaviors", emulator, LOG_EXECUTION_ID="true") as server:
        yield server


@pytest.fixture
def cloud(google: Google, deployed: FunctionServer, bucket: str) -> Cloud:
    functions, logging = FunctionsApi(google.accounts.issued), LoggingApi(google.accounts.issued)
    functions.add(NAME, serviceConfig=SERVICE_CONFIG)
    google.network.serve(FUNCTIONS_HOST, functions.app)
    google.network.serve(LOGGING_HOST, logging.app)
    google.function.backend = deployed.url
    fields = google.logins.user_impersonating().fields
    client = PipesCloudFunctionClient(bucket=bucket, project=PROJECT, region=REGION, retry_delay=0.1, **fields)
    return Cloud(google, functions, logging, client)


@pytest.mark.parametrize("function", ["orders", NAME])
def test_a_function_is_found_by_its_name_and_called_with_a_token(
    cloud: Cloud, instance: DagsterInstance, function: str
) -> None:
    result = cloud.run({"mode": "materialize"}, instance, function=function)
    assert result.success
    assert cloud.functions.asked == [f"/v2/{NAME}"]
    assert len(cloud.google.function.authorizations) == 1


def test_results_have_metadata_of_the_execution(cloud: Cloud, instance: DagsterInstance) -> None:
    result = cloud.run({"mode": "materialize"}, instance)
    evaluations = result.get_asset_check_evaluations()
    assert len(evaluations) == 2
    for metadata in (metadata_of(result), *(evaluation.metadata for evaluation in evaluations)):
        ours = {key.removeprefix("cloud_function/"): value for key, value in metadata.items() if "/" in key}
        assert ours.keys() == {
            *("function", "logs", "revision", "execution_id", "duration_seconds", "start"),
            *("peak_memory_mib", "cpu_seconds", "billable_seconds", "estimated_cost_usd", "instance"),
        }
        assert ours["function"] == MetadataValue.url(
            f"https://console.cloud.google.com/functions/details/{REGION}/orders?env=gen2&project={PROJECT}"
        )
        assert ours["revision"] == MetadataValue.text(REVISION)
        assert ours["execution_id"].value
        assert ours["start"].value in {"cold", "warm"}
        assert ours["logs"].value


def test_the_lookup_tells_the_size_of_the_instance_and_so_its_cost(cloud: Cloud, instance: DagsterInstance) -> None:
    metadata = metadata_of(cloud.run({"mode": "ok"}, instance))
    seconds = metadata["cloud_function/billable_seconds"].value
    assert isinstance(seconds, float)
    assert metadata["cloud_function/instance"] == MetadataValue.text("256 MiB, 0.167 vCPU")
    assert metadata["cloud_function/estimated_cost_usd"].value == pytest.approx(
        seconds * (0.1666 * 0.000024 + 0.25 * 0.0000025) + 0.0000004, abs=1e-9
    )


def test_the_link_opens_the_logs_of_this_execution(cloud: Cloud, instance: DagsterInstance) -> None:
    metadata = metadata_of(cloud.run({"mode": "materialize"}, instance))
    link = unquote(str(metadata["cloud_function/logs"].value))
    assert link.startswith('https://console.cloud.google.com/logs/query;query=resource.type="cloud_run_revision"\n')
    assert f'resource.labels.service_name="{SERVICE}"' in link
    assert re.search(rf'trace="projects/{PROJECT}/traces/[0-9a-f]{{32}}"', link)
    assert f'labels.execution_id="{metadata["cloud_function/execution_id"].value}"' in link
    assert link.endswith(f"?project={PROJECT}")


def test_the_log_says_where_the_logs_are_before_the_call(cloud: Cloud, instance: DagsterInstance) -> None:
    result = cloud.run({"mode": "ok"}, instance)
    ours = [entry.user_message for entry in instance.all_logs(result.run_id) if "[pipes]" in entry.user_message]
    assert re.search(
        rf"\[pipes\] calling {FUNCTION_URL} in trace [0-9a-f]{{32}}; its messages arrive through gs://\S+, and its "
        r"logs are at https://console.cloud.google.com/logs/query;",
        ours[0] if "calling https" in ours[0] else ours[1],
    )
    assert "[pipes] the call got HTTP 200 after" in ours[-1]


def test_the_trace_of_the_caller_is_that_of_the_function(cloud: Cloud, instance: DagsterInstance) -> None:
    span = trace.SpanContext(int(TRACE_ID, 16), 0xF067AA0BA902B7, is_remote=False, trace_flags=trace.TraceFlags(1))
    token = otel.attach(trace.set_span_in_context(trace.NonRecordingSpan(span)))
    try:
        result = cloud.run({"mode": "raises"}, instance)
    finally:
        otel.detach(token)
    assert metadata_of_failure(result)["cloud_function/trace"] == MetadataValue.text(TRACE_ID)


def test_a_failure_has_all_metadata(cloud: Cloud, instance: DagsterInstance) -> None:
    metadata = metadata_of_failure(cloud.run({"mode": "raises"}, instance))
    assert {key.removeprefix("cloud_function/") for key in metadata} == {
        *("function", "logs", "revision", "execution_id", "duration_seconds", "start", "function_url", "trace"),
        *("peak_memory_mib", "cpu_seconds", "billable_seconds", "estimated_cost_usd", "instance"),
        *("http_status", "attempts", "messages", "chunks", "messages_uri", "traceback"),
    }
    assert metadata["cloud_function/function_url"] == MetadataValue.text(FUNCTION_URL)
    assert metadata["cloud_function/messages"] == MetadataValue.int(3)
    assert str(metadata["cloud_function/messages_uri"].value).startswith(f"gs://{cloud.client.bucket}/dagster-pipes/")


def test_a_crash_fails_with_the_last_log_entries(
    cloud: Cloud, instance: DagsterInstance, deployed: FunctionServer
) -> None:
    cloud.logging.entries[PROJECT] = [terminated(PROJECT, SERVICE, revision=REVISION, instance=INSTANCE)]
    peak = metadata_of(cloud.run({"mode": "ok"}, instance))["cloud_function/peak_memory_mib"].value
    with FaultProxy(deployed.url) as proxy, proxy.planned(Fault(CALL, INSTANCE_DIED, range(1, 99))):
        cloud.google.function.backend = proxy.url
        result = cloud.run({"mode": "ok"}, instance)
    error = step_error(result)
    assert "It ran out of memory. The log says: " in error
    assert OUT_OF_MEMORY in error
    assert f"When 'orders' was last materialized, the function used {peak:.0f} of 256 MiB." in error
    assert OUT_OF_MEMORY in str(metadata_of_failure(result)["cloud_function/last_log_entries"].value)


def test_a_terminated_instance_is_not_waited_for(cloud: Cloud, instance: DagsterInstance, emulator: Emulator) -> None:
    """Its connection stays open, and its heartbeats are not overdue yet."""
    cloud.logging.entries[PROJECT] = [terminated(PROJECT, SERVICE, revision=REVISION, instance=INSTANCE)]
    with run_deployed("heartbeats", emulator, HEARTBEAT_INTERVAL="4") as server:
        cloud.google.function.backend = server.url
        result = cloud.run({"mode": "dies", "how": "stops", "seconds": 1}, instance)
    error = step_error(result)
    assert "The call got no response (its instance was terminated)" in error
    assert OUT_OF_MEMORY in error
    duration = metadata_of_failure(result)["cloud_function/duration_seconds"].value
    assert isinstance(duration, float)
    assert duration < 40  # its timeout is 60


def test_a_function_that_is_not_active_is_not_called(cloud: Cloud, instance: DagsterInstance) -> None:
    message = {"severity": "ERROR", "type": "CloudRunServiceNotFound", "message": "The service was deleted."}
    cloud.functions.add(NAME, state="FAILED", stateMessages=[message])
    result = cloud.run({"mode": "ok"}, instance)
    assert "expected its state to be ACTIVE, got FAILED (CloudRunServiceNotFound: The service was deleted.)" in (
        step_error(result)
    )
    assert cloud.google.function.authorizations == []


def test_the_deployed_revision_is_looked_up(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROJECT", PROJECT)
    client = PipesCloudFunctionClient(bucket="messages", project=EnvVar("PROJECT"), region=REGION)
    fields = {name: getattr(cloud.client, name) for name in ("impersonate_service_account", "impersonation_delegates")}
    client = client.model_copy(update=fields)
    assert client.deployed_revision("orders") == REVISION
    cloud.functions.add(NAME, state="DEPLOYING", serviceConfig={**SERVICE_CONFIG, "revision": "orders-00008-abc"})
    assert client.deployed_revision(NAME) == "orders-00008-abc"
    with pytest.raises(PipesCloudFunctionLookupError, match="'weather'"):
        client.deployed_revision("weather")


def test_a_function_on_this_machine_has_no_deployed_revision(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GCF_PIPES_LOCAL_FUNCTIONS", '{"orders": "http://localhost:8080"}')
    assert cloud.client.deployed_revision("orders") is None
    assert cloud.functions.asked == []
