"""`LocalPipesCloudFunctionClient` is the resource in every respect, without a network."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import flask
import pytest
from dagster import (
    AssetCheckSpec,
    AssetExecutionContext,
    ConfigurableResource,
    Definitions,
    EnvVar,
    MaterializeResult,
    StaticPartitionsDefinition,
    asset,
    build_asset_context,
    materialize,
)
from dagster_pipes import PipesContext
from gcf_pipes import pipes_function

from dagster_gcf_pipes import (
    PipesCloudFunctionClient,
    PipesCloudFunctionError,
    PipesCloudFunctionNotOpenedError,
    PipesCloudFunctionRaisedError,
    PipesCloudFunctionRequestError,
)
from dagster_gcf_pipes.testing import LocalPipesCloudFunctionClient
from tests.dagster_runs import calling_asset, run
from tests.functions.by_hand.main import main as by_hand
from tests.testing_kit import entry_points

RUN_APP = "https://orders-123456789012.europe-west1.run.app"
HASHED_RUN_APP = "https://orders-abcdefghij-ew.a.run.app"
CLOUD_FUNCTIONS = "https://europe-west1-my-project.cloudfunctions.net/orders"


@pytest.fixture
def client() -> LocalPipesCloudFunctionClient:
    return LocalPipesCloudFunctionClient(functions={"orders": entry_points.reports})


CHECKS = [AssetCheckSpec("not_empty", asset="orders"), AssetCheckSpec("fresh", asset="orders")]


def call(client: PipesCloudFunctionClient, **arguments: Any) -> Any:
    """Call a function in a step, and return the invocation."""

    @asset
    def orders(context: AssetExecutionContext) -> Any:
        return client.run(context=context, **arguments)

    return orders(build_asset_context())


@asset(check_specs=CHECKS)
def orders(context: AssetExecutionContext, cloud_function: PipesCloudFunctionClient) -> MaterializeResult:
    event = {"table": "orders"}
    return cloud_function.run(context=context, function="orders", event=event).get_materialize_result()


def by_materialize(client: LocalPipesCloudFunctionClient) -> None:
    assert materialize([orders], resources={"cloud_function": client}).success


def by_definitions(client: LocalPipesCloudFunctionClient) -> None:
    defs = Definitions(assets=[orders], resources={"cloud_function": client})
    Definitions.validate_loadable(defs)
    assert defs.resolve_implicit_global_asset_job_def().execute_in_process().success


def by_direct_call(client: LocalPipesCloudFunctionClient) -> None:
    result: Any = orders(build_asset_context(), client)
    assert result.metadata["rows"].value == 3


def by_context(client: LocalPipesCloudFunctionClient) -> None:
    with build_asset_context(resources={"cloud_function": client}) as context:
        result: Any = orders(context)
    assert result.metadata["rows"].value == 3


def in_another_resource(client: LocalPipesCloudFunctionClient) -> None:
    class Warehouse(ConfigurableResource):
        functions: PipesCloudFunctionClient

    @asset(check_specs=CHECKS, name="orders")
    def calls(context: AssetExecutionContext, warehouse: Warehouse) -> MaterializeResult:
        run = warehouse.functions.run(context=context, function="orders", event={"table": "orders"})
        return run.get_materialize_result()

    assert materialize([calls], resources={"warehouse": Warehouse(functions=client)}).success


def by_its_own_context_manager(client: LocalPipesCloudFunctionClient) -> None:
    with client.process_config_and_initialize_cm() as initialized:
        by_direct_call(initialized)


@pytest.mark.filterwarnings("ignore:InitResourceContext.dagster_run")  # Dagster's own use, for a nested resource
@pytest.mark.parametrize(
    "use",
    [by_materialize, by_definitions, by_direct_call, by_context, in_another_resource, by_its_own_context_manager],
)
def test_it_can_be_passed_in_every_way(
    client: LocalPipesCloudFunctionClient, use: Callable[[LocalPipesCloudFunctionClient], None]
) -> None:
    use(client)
    assert [(call.function, call.event, call.attempts) for call in client.calls] == [("orders", {"table": "orders"}, 1)]


@pytest.mark.parametrize(
    ("key", "arguments", "path"),
    [
        ("orders", {"function": "orders"}, "/"),
        ("orders", {"function": "projects/my-project/locations/europe-west1/functions/orders"}, "/"),
        ("orders", {"function_url": CLOUD_FUNCTIONS}, "/"),
        ("orders", {"function_url": f"{CLOUD_FUNCTIONS}/daily?full=1"}, "/daily"),
        ("orders", {"function_url": f"{RUN_APP}/daily?full=1"}, "/daily"),
        ("https://orders.example.com/", {"function_url": "https://orders.example.com"}, "/"),
        (RUN_APP, {"function_url": RUN_APP}, "/"),
        (HASHED_RUN_APP, {"function_url": f"{HASHED_RUN_APP}/?full=1"}, "/"),
        ("http://localhost:8080", {"function_url": "http://localhost:8080/?full=1"}, "/"),
    ],
)
def test_a_function_is_found_as_the_code_calls_it(key: str, arguments: dict[str, str], path: str) -> None:
    client = LocalPipesCloudFunctionClient(functions={key: entry_points.reports})
    response = call(client, **arguments).response.json()
    args = {"full": "1"} if "?" in arguments.get("function_url", "") else {}
    assert (response["path"], response["args"]) == (path, args)


@pytest.mark.parametrize(
    "arguments", [{"function": "customers"}, {"function_url": "https://customers.example.com/?key=secret"}]
)
def test_an_unknown_function_is_an_error_that_lists_the_known(
    client: LocalPipesCloudFunctionClient, arguments: Any
) -> None:
    with pytest.raises(PipesCloudFunctionRequestError, match=r"Expected one of the functions 'orders'") as raised:
        call(client, **arguments)
    assert "customers" in str(raised.value)
    assert "secret" not in str(raised.value)


def test_a_hashed_url_does_not_contain_the_name(client: LocalPipesCloudFunctionClient) -> None:
    with pytest.raises(PipesCloudFunctionRequestError, match="Fix: Add it to `functions` of the client"):
        call(client, function_url=HASHED_RUN_APP)


def test_functions_of_this_machine_do_not_matter(
    client: LocalPipesCloudFunctionClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in `dagster-gcf-pipes dev -- pytest`."""
    monkeypatch.setenv("GCF_PIPES_LOCAL_FUNCTIONS", '{"orders": "http://127.0.0.1:1"}')
    assert call(client, function="orders").response.ok


def test_an_invalid_call_is_refused_as_by_the_resource(client: LocalPipesCloudFunctionClient) -> None:
    with pytest.raises(PipesCloudFunctionRequestError, match="Expected either `function`"):
        call(client)


def test_a_call_has_the_context_of_the_step(client: LocalPipesCloudFunctionClient) -> None:
    event, partitions = {"table": "orders"}, StaticPartitionsDefinition(["a", "b"])
    calls = calling_asset(
        CLOUD_FUNCTIONS, event, extras={"text": "x" * (3 << 20)}, partitions_def=partitions, check_specs=CHECKS
    )
    assert run(calls, client, partition_key="b")[0].success
    context = client.calls[0].context
    assert (context["asset_keys"], context["partition_key"]) == (["orders"], "b")
    assert len((context["extras"] or {})["text"]) == 3 << 20


def test_every_field_of_the_resource_can_be_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPES_BUCKET", "from-the-environment")
    client = LocalPipesCloudFunctionClient(
        functions={"orders": entry_points.reports},
        bucket=EnvVar("PIPES_BUCKET"),
        key_prefix="team/pipes",
        impersonate_service_account="dagster@my-project.iam.gserviceaccount.com",
        cleanup="never",
    )
    by_materialize(client)
    names = [blob.name for blob in client.get_storage_client().list_blobs("from-the-environment")]
    assert names
    assert all(name.startswith("team/pipes/") for name in names)


def test_a_misspelt_field_is_an_error() -> None:
    with pytest.raises(ValueError, match="did you mean 'forward_logs'"):
        LocalPipesCloudFunctionClient(functions={}, forward_log=True)


def test_only_the_claim_stays_in_the_bucket(client: LocalPipesCloudFunctionClient) -> None:
    by_materialize(client)
    names = [blob.name for blob in client.get_storage_client().list_blobs("in-memory")]
    assert [name.rpartition("/")[2] for name in names] == ["1.json"]


def test_a_call_delivered_twice_runs_once() -> None:
    bodies: list[bytes] = []

    @pipes_function
    def main(request: flask.Request, pipes: PipesContext) -> None:
        bodies.append(request.get_data())

    client = LocalPipesCloudFunctionClient(functions={RUN_APP: main})
    call(client, function_url=RUN_APP)
    again = client.get_http_session().post(RUN_APP, data=bodies[0])
    assert (again.status_code, again.json()["error"]["code"]) == (409, "duplicate_call")
    assert (len(bodies), [each.attempts for each in client.calls]) == (1, [2])


def test_output_is_forwarded(capsys: pytest.CaptureFixture[str]) -> None:
    client = LocalPipesCloudFunctionClient(functions={"orders": entry_points.reports}, forward_logs=True)
    by_materialize(client)
    assert capsys.readouterr().out.count("to stdout\n") == 2  # printed by the function, and by Dagster


def test_steps_use_it_at_once() -> None:
    together = threading.Barrier(4, timeout=30)

    @pipes_function
    def main(request: flask.Request, pipes: PipesContext) -> None:
        together.wait()
        pipes.log.info(request.get_json()["name"])

    client = LocalPipesCloudFunctionClient(functions={"orders": main})

    def call_with(number: int) -> None:
        call(client, function="orders", event={"name": f"asset-{number}"})

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(call_with, range(4)))
    assert sorted(call.event["name"] for call in client.calls) == [f"asset-{number}" for number in range(4)]


def test_a_session_opened_by_hand_uses_the_bucket_in_memory() -> None:
    client = LocalPipesCloudFunctionClient(functions={"orders": by_hand})
    result, lines = run(calling_asset(CLOUD_FUNCTIONS, {"mode": "answers", "status": 200}), client)
    assert (result.success, lines) == (True, ["a line"])


def test_a_plain_function_opens_no_session() -> None:
    client = LocalPipesCloudFunctionClient(functions={"orders": lambda request: "plain"})
    with pytest.raises(PipesCloudFunctionNotOpenedError):
        call(client, function="orders")


def test_an_exception_is_that_of_the_resource() -> None:
    client = LocalPipesCloudFunctionClient(functions={"orders": entry_points.raises})
    with pytest.raises(PipesCloudFunctionRaisedError, match="ValueError: the table is broken"):
        call(client, function="orders")


@pytest.mark.parametrize("arguments", [(), (entry_points.reports,)])
def test_functions_need_names(arguments: Any) -> None:
    with pytest.raises(TypeError, match=r'Expected `functions`, such as \{"orders": main\}'):
        LocalPipesCloudFunctionClient(*arguments)


@pytest.mark.parametrize("name", ["", "/", " ", None, 3, b"orders", ("orders",)])
def test_a_name_is_a_text(name: Any) -> None:
    with pytest.raises(ValueError, match=r"Expected the name or the URL of each function, .* got "):
        LocalPipesCloudFunctionClient(functions={name: entry_points.reports})


def undecorated(request: Any, pipes: Any) -> Any: ...


def test_an_undecorated_function_is_refused() -> None:
    with pytest.raises(TypeError, match="cannot be called with a request alone"):
        LocalPipesCloudFunctionClient(functions={"orders": cast("Any", undecorated)})


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """Refuse every connection and every look-up of a host; yield those that were tried."""
    tried: list[Any] = []

    def refuse(*arguments: Any, **_: Any) -> None:
        tried.append(arguments)
        raise OSError("no network in this test")

    for name in ("connect", "connect_ex", "bind", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket, "create_connection", refuse)
    yield tried
    assert tried == []


@pytest.mark.parametrize("emulator_host", [None, "http://127.0.0.1:1"])
@pytest.mark.parametrize("url", [CLOUD_FUNCTIONS, RUN_APP])
@pytest.mark.parametrize("fault", [{}, {"fail_with": 403}, {"fail_with": 503}, {"die_after": 1}], ids=str)
def test_nothing_reaches_the_network(
    no_network: list[Any], monkeypatch: pytest.MonkeyPatch, emulator_host: str | None, url: str, fault: Any
) -> None:
    monkeypatch.delenv("STORAGE_EMULATOR_HOST", raising=False)
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.invalid:3128")
    if emulator_host:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", emulator_host)
    client = LocalPipesCloudFunctionClient(
        functions={"orders": entry_points.reports},
        impersonate_service_account="dagster@my-project.iam.gserviceaccount.com",
        max_attempts=1,
        **fault,
    )
    with contextlib.suppress(PipesCloudFunctionError):
        call(client, function_url=url)


def test_messages_may_take_the_response() -> None:
    client = LocalPipesCloudFunctionClient(
        functions={"orders": entry_points.reports, "broken": entry_points.raises}, messages="response"
    )
    for _ in range(2):
        by_materialize(client)
    with pytest.raises(PipesCloudFunctionRaisedError):
        call(client, function="broken")
    assert [(each.function, each.attempts) for each in client.calls] == [("orders", 1), ("orders", 1), ("broken", 1)]


def test_a_lost_response_that_had_the_messages_is_an_error() -> None:
    client = LocalPipesCloudFunctionClient(
        functions={"orders": entry_points.reports}, messages="response", lose_response=True
    )
    with pytest.raises(PipesCloudFunctionError, match="The call is not retried: the request was sent"):
        call(client, function="orders")
    assert client.calls[0].attempts == 1


def test_what_a_test_lacks_is_refused() -> None:
    functions = {"orders": entry_points.reports}
    with pytest.raises(ValueError, match="there is no Cloud Logging"):
        LocalPipesCloudFunctionClient(functions=functions, messages="logging")
    with pytest.raises(ValueError, match="Expected `messages='bucket'` with `die_after`"):
        LocalPipesCloudFunctionClient(functions=functions, messages="response", die_after=1)
