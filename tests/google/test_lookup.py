"""The lookup of a function by its name: google-cloud-functions' real client against a stand-in."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from google.oauth2.credentials import Credentials

from dagster_gcf_pipes import PipesCloudFunctionLookupError, PipesCloudFunctionRequestError
from dagster_gcf_pipes._functions import FunctionName
from dagster_gcf_pipes._functions_api import FunctionInfo, FunctionLookup, Target, resolve_target
from tests.google import Network
from tests.google.conftest import BROKEN_CREDENTIALS
from tests.google.functions_api import (
    HOST,
    TOKEN,
    FunctionsApi,
    error_body,
    not_found,
    permission_denied,
    quota_exceeded,
    service_disabled,
    unavailable,
)
from tests.quotes import Quote

NAME = "projects/my-project/locations/europe-west1/functions/orders"
URL = "https://orders-abcdefghij-ew.a.run.app"
GIVEN_URL = "https://europe-west1-my-project.cloudfunctions.net/orders"


@pytest.fixture
def api(network: Network) -> FunctionsApi:
    api = FunctionsApi()
    api.add(NAME)
    network.serve(HOST, api.app)
    return api


def credentials(token: str = TOKEN) -> Credentials:
    return Credentials(token=token)


@pytest.fixture
def lookup() -> Iterator[FunctionLookup]:
    lookup = FunctionLookup(credentials, timeout=10)
    yield lookup
    lookup.close()


def resolve(lookup: FunctionLookup, function: str | None = "orders", **arguments: Any) -> Target:
    defaults = {"function_url": None, "project": "my-project", "region": "europe-west1", "function_timeout": 3600}
    return resolve_target(function=function, lookup=lookup, **{**defaults, **arguments})


@pytest.mark.parametrize("function", ["orders", NAME])
def test_a_name_gives_the_url_and_the_timeout(api: FunctionsApi, lookup: FunctionLookup, function: str) -> None:
    name = FunctionName("my-project", "europe-west1", "orders", "orders")
    info = FunctionInfo(name, URL, "ACTIVE", (), "GEN_2", 540, "orders-00007-xyz", memory="256M")
    assert resolve(lookup, function) == Target(URL, URL, 540, name, info)


def test_the_service_can_have_another_name(api: FunctionsApi, lookup: FunctionLookup) -> None:
    config = {"service": "projects/my-project/locations/europe-west1/services/load-orders", "uri": URL}
    api.add(NAME, serviceConfig=config)
    assert resolve(lookup).name.service == "load-orders"


def test_a_project_number_gives_the_project_id(api: FunctionsApi, lookup: FunctionLookup) -> None:
    api.functions[NAME.replace("my-project", "123456789012")] = api.functions[NAME]
    assert resolve(lookup, project="123456789012").name.project == "my-project"


def test_the_default_timeout_is_the_platforms(api: FunctionsApi, lookup: FunctionLookup) -> None:
    api.add(NAME, serviceConfig={"uri": URL})
    assert resolve(lookup).timeout == 60


def test_a_url_needs_no_lookup(network: Network, lookup: FunctionLookup) -> None:
    name = FunctionName("my-project", "europe-west1", "orders")
    assert resolve(lookup, None, function_url=GIVEN_URL) == Target(GIVEN_URL, None, 3600, name)
    assert network.routes.asked == []


@pytest.mark.parametrize(
    ("function", "function_url", "given"),
    [(None, None, "got neither"), ("orders", GIVEN_URL, f"got both, 'orders' and '{GIVEN_URL}'")],
)
def test_needs_either_a_name_or_a_url(
    network: Network, lookup: FunctionLookup, function: str | None, function_url: str | None, given: str
) -> None:
    with pytest.raises(PipesCloudFunctionRequestError, match=given):
        resolve(lookup, function, function_url=function_url)
    assert network.routes.asked == []


@pytest.mark.parametrize("arguments", [{"function": ""}, {"function": "a/b"}, {"project": None}, {"region": None}])
def test_a_bad_name_is_refused_before_any_request(
    network: Network, lookup: FunctionLookup, arguments: dict[str, Any]
) -> None:
    with pytest.raises(PipesCloudFunctionRequestError):
        resolve(lookup, **arguments)
    assert network.routes.asked == []


# --------------------------------------------------------------------------------------------------------------- cache


def test_an_active_function_is_looked_up_once(api: FunctionsApi, lookup: FunctionLookup) -> None:
    assert resolve(lookup) == resolve(lookup)
    assert len(api.asked) == 1


def test_an_old_lookup_is_repeated(api: FunctionsApi) -> None:
    lookup = FunctionLookup(credentials, max_age=0)
    resolve(lookup)
    api.add(NAME, serviceConfig={**api.functions[NAME]["serviceConfig"], "timeoutSeconds": 900})
    assert resolve(lookup).timeout == 900
    lookup.close()


def test_an_inactive_function_is_not_cached(api: FunctionsApi, lookup: FunctionLookup) -> None:
    api.add(NAME, state="DEPLOYING")
    with pytest.raises(PipesCloudFunctionLookupError):
        resolve(lookup)
    api.add(NAME)
    assert resolve(lookup).url == URL


def test_each_function_is_cached_by_itself(api: FunctionsApi, lookup: FunctionLookup) -> None:
    api.add(NAME.replace("orders", "customers"))
    urls = [resolve(lookup, name).url for name in ("orders", "customers", "orders")]
    assert urls == [URL, "https://customers-abcdefghij-ew.a.run.app", URL]
    assert len(api.asked) == 2


def test_threads_share_a_lookup_and_its_credentials(api: FunctionsApi) -> None:
    given: list[Credentials] = []

    def get_credentials() -> Credentials:
        given.append(credentials())
        return given[-1]

    lookup = FunctionLookup(get_credentials)
    with ThreadPoolExecutor(8) as pool:
        urls = set(pool.map(lambda _: resolve(lookup).url, range(32)))
    assert (urls, len(given)) == ({URL}, 1)
    assert len(api.asked) <= 8
    lookup.close()


# --------------------------------------------------------------------------------------------------------- what it says

DETACHED = pytest.mark.filterwarnings("ignore:Unrecognized State enum value:UserWarning")


@pytest.mark.parametrize(
    ("fields", "text", "retry"),
    [
        pytest.param(
            {
                "state": "FAILED",
                "stateMessages": [
                    {"severity": "ERROR", "type": "BuildFailed", "message": "Build failed: no main.py"},
                    {"severity": "ERROR", "type": "CloudRunServiceNotFound", "message": "Service was not found"},
                ],
            },
            "expected its state to be ACTIVE, got FAILED (BuildFailed: Build failed: no main.py "
            "CloudRunServiceNotFound: Service was not found).\n"
            "Fix: Correct the errors above and deploy it again.",
            False,
            id="FAILED",
        ),
        pytest.param(
            {"state": "DEPLOYING"},
            "got DEPLOYING (no messages).\nFix: Start the run again when the deployment has finished.",
            True,
            id="DEPLOYING",
        ),
        pytest.param(
            {"state": "DELETING"},
            "got DELETING (no messages).\nFix: It is being deleted: deploy it again.",
            False,
            id="DELETING",
        ),
        pytest.param({"state": "UNKNOWN"}, "got UNKNOWN", True, id="UNKNOWN"),
        pytest.param({"state": "DETACHED"}, "got 7", True, id="a state that is newer", marks=DETACHED),
        pytest.param(
            {"environment": "GEN_1"}, "a function of the first generation, which is not supported", False, id="GEN_1"
        ),
        pytest.param({"serviceConfig": {}}, "it is ACTIVE, but has no URL yet", True, id="no URL"),
    ],
)
def test_a_function_that_cannot_be_called_is_refused(
    api: FunctionsApi, lookup: FunctionLookup, fields: dict[str, Any], text: str, retry: bool
) -> None:
    api.add(NAME, **fields)
    with pytest.raises(PipesCloudFunctionLookupError) as caught:
        resolve(lookup)
    assert text in (caught.value.description or "")
    assert caught.value.allow_retries is retry


@pytest.mark.parametrize(
    ("name", "fields"),
    [("first_generation", {"environment": "GEN_1"}), ("function_without_a_url", {"serviceConfig": {}})],
)
def test_the_error_of_a_function_that_cannot_be_called_is_quoted(
    api: FunctionsApi, lookup: FunctionLookup, name: str, fields: dict[str, Any], quote: Quote
) -> None:
    api.add(NAME, **fields)
    quote(name, refusal(lookup)[0])


def refusal(lookup: FunctionLookup, **arguments: Any) -> tuple[str, bool]:
    """Return what a failed look-up says, and whether Dagster may start the step again."""
    with pytest.raises(PipesCloudFunctionLookupError) as caught:
        resolve(lookup, **arguments)
    assert caught.value.metadata["cloud_function/name"].value == NAME
    assert caught.value.metadata["cloud_function/function"].value == (
        "https://console.cloud.google.com/functions/details/europe-west1/orders?env=gen2&project=my-project"
    )
    return caught.value.description or "", caught.value.allow_retries


@pytest.mark.parametrize(
    ("fault", "facts"),
    [
        pytest.param(
            not_found(NAME),
            [
                "the function 'orders' of the project 'my-project' in 'europe-west1': it does not exist",
                "Check the region and the name, and that it is deployed",
                "gcloud functions list --project=my-project",
            ],
            id="missing",
        ),
        pytest.param(
            permission_denied("cloudfunctions.functions.get", NAME),
            [
                f"Permission 'cloudfunctions.functions.get' denied on resource '{NAME}'",
                "Grant the identity in use `cloudfunctions.functions.get`, for example through",
                "`roles/cloudfunctions.viewer`",
                "To skip the lookup, pass `function_url`, and set `function_timeout` of the resource",
            ],
            id="no permission",
        ),
        pytest.param(
            service_disabled("Cloud Functions API", HOST),
            [
                "Cloud Functions API has not been used in project 123456789012 before or it is disabled",
                "`gcloud services enable cloudfunctions.googleapis.com --project=my-project`",
            ],
            id="not enabled",
        ),
        pytest.param((400, error_body(400, "INVALID_ARGUMENT", "Invalid name")), ["400 GET"], id="bad request"),
        pytest.param((200, "<html>Log in to the network</html>"), ["Failed to load JSON"], id="not JSON"),
    ],
)
def test_a_permanent_fault_fails_at_once(
    api: FunctionsApi, lookup: FunctionLookup, fault: tuple[int, Any], facts: list[str]
) -> None:
    api.faults.append(fault)
    text, retry = refusal(lookup)
    assert [fact for fact in facts if fact not in text] == []
    assert retry is False
    assert len(api.asked) == 1


@pytest.mark.parametrize("fault", [unavailable(), quota_exceeded(HOST), (502, "<html>bad gateway</html>")])
def test_a_transient_fault_is_retried(api: FunctionsApi, lookup: FunctionLookup, fault: tuple[int, Any]) -> None:
    api.faults.append(fault)
    assert resolve(lookup).url == URL
    assert len(api.asked) == 2


def test_a_lasting_fault_fails_at_the_timeout(api: FunctionsApi, quote: Quote) -> None:
    lookup = FunctionLookup(credentials, timeout=3)  # on a busy machine too, there is time for a second request
    api.faults.extend([unavailable()] * 100)
    text, retry = refusal(lookup)
    quote("lookup_timed_out", text)
    assert retry is True
    assert 2 <= len(api.asked) < 10
    lookup.close()


def test_api_that_cannot_be_reached(network: Network) -> None:
    lookup = FunctionLookup(credentials, timeout=0.5)
    text, retry = refusal(lookup)
    assert HOST in text
    assert retry is True
    assert set(network.routes.refused) == {(HOST, 443)}
    lookup.close()


@pytest.mark.parametrize(("get_credentials", "text"), BROKEN_CREDENTIALS)
def test_credentials_that_do_not_work(
    api: FunctionsApi,
    get_credentials: Callable[[], Credentials | None],
    text: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/does/not/exist.json")
    lookup = FunctionLookup(get_credentials)
    described, retry = refusal(lookup)
    assert text in described
    assert "`gcloud auth application-default login`" in described
    assert TOKEN not in described
    assert retry is False
    lookup.close()
