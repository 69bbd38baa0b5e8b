"""Each way of being logged in, with its failures, with the real google-auth."""

import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import flask
import pytest
import requests
from gcf_pipes._shared.protocol import CHUNK_COUNT_HEADER, ERROR_HEADER

from dagster_gcf_pipes import (
    PipesCloudFunctionAccessError,
    PipesCloudFunctionCallError,
    PipesCloudFunctionClient,
    PipesCloudFunctionError,
    PipesCloudFunctionIdentityError,
)
from dagster_gcf_pipes._attempts import CallRecord
from dagster_gcf_pipes._auth import FunctionAuth
from dagster_gcf_pipes._credentials import Identity
from dagster_gcf_pipes._fixes import CallerIdentity
from dagster_gcf_pipes._http import create_http_session, post
from dagster_gcf_pipes._messages.record import SessionRecord
from dagster_gcf_pipes._outcome import judge
from tests.google.conftest import FUNCTION_HOST, FUNCTION_URL, Google
from tests.google.logins import CALLER, DELEGATES, SOURCE, Login
from tests.quotes import Quote

WITH_ID_TOKEN = [
    "service_account_file",
    "own_object",
    "own_id_token_object",
    "metadata_server",
    "user_impersonating",
    "gcloud_impersonation_file",
    "service_account_impersonating",
    "metadata_server_impersonating",
    "user_through_delegates",
    "workload_impersonating",
    "workload_with_service_account",
]
WITHOUT_ID_TOKEN = {
    "user_alone": "the user (gcloud auth application-default login)",
    "workload_alone": "a federated workload",
    "nobody": "a process without Google credentials (Your default credentials were not found.",
}
SIGN_THEMSELVES = {"service_account_file", "own_object", "own_id_token_object", "service_account_impersonating"}
"""They sign an assertion with the time of this machine."""

log = logging.getLogger("calls")


class Caller:
    """Calls the private function with one identity, as the attempts of a call do."""

    def __init__(self, login: Login, *, audience: str | None = None, retry_timeout: float = 20.0) -> None:
        client = PipesCloudFunctionClient(bucket="some-bucket", **login.fields)
        self._auth = FunctionAuth(
            Identity(
                login.get_credentials or client.get_credentials,
                service_account=client.impersonate_service_account,
                delegates=client.impersonation_delegates,
                retry_timeout=retry_timeout,
            ),
            audience=audience,
            log=log,
        )

    def call(self, url: str = FUNCTION_URL, http: requests.Session | None = None) -> CallRecord:
        with http or create_http_session() as session:
            attempt, response = post(session, url, b"{}", headers={}, auth=self._auth, timeout=(10, 10))
        return CallRecord((attempt,), response, 0.0)

    def succeed(self, url: str = FUNCTION_URL) -> dict[str, Any]:
        response = self.call(url).response
        assert response is not None
        assert response.status_code == 200
        answer: dict[str, Any] = response.json()
        return answer

    def fail(self, url: str = FUNCTION_URL) -> PipesCloudFunctionError:
        error = judge(self.call(url), SessionRecord())
        assert error is not None
        assert error.allow_retries is False
        return error


@pytest.fixture(params=WITH_ID_TOKEN)
def way(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def login(google: Google, way: str) -> Login:
    login: Login = getattr(google.logins, way)()
    return login


@pytest.fixture(autouse=True)
def no_token_is_logged(google: Google, caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """No log line of any test here has a token: neither ours nor google-auth's, at any level."""
    caplog.set_level(logging.DEBUG)
    yield
    secrets = [token.rpartition(".")[2] for token in google.accounts.issued]
    lines = [record.getMessage() for record in caplog.get_records("call")]
    assert [line for line in lines if any(secret in line for secret in secrets)] == []


def test_a_login_calls_as_its_service_account(login: Login, google: Google) -> None:
    assert Caller(login).succeed() == {"email": CALLER, "aud": FUNCTION_URL}


def test_a_debug_line_says_who_calls(login: Login, google: Google, caplog: pytest.LogCaptureFixture) -> None:
    Caller(login).succeed()
    (line,) = [record.getMessage() for record in caplog.records if record.name == "calls"]
    assert line.startswith("[pipes] calling as ")
    assert line.endswith(f", with an ID token of {CALLER} for {FUNCTION_URL}")


def test_a_token_is_asked_for_once(login: Login, google: Google) -> None:
    caller = Caller(login)
    caller.succeed()
    asked = google.accounts.asked.copy()
    caller.succeed()
    first, second = google.function.authorizations
    assert first == second
    assert google.accounts.asked == asked


def test_a_token_that_is_about_to_expire_is_renewed(login: Login, google: Google) -> None:
    google.accounts.lifetime = 100  # seconds; google-auth holds a token for expired 225 s before it is
    caller = Caller(login)
    caller.succeed()
    caller.succeed()
    first, second = google.function.authorizations
    assert first != second


def test_an_expired_token_is_renewed_once(login: Login, google: Google) -> None:
    google.function.clock_offset = 7200
    error = Caller(login).fail()
    assert type(error) is PipesCloudFunctionAccessError
    assert "HTTP 401" in str(error.description)
    first, second = google.function.authorizations
    assert first != second


def test_a_token_for_another_audience_is_named(login: Login, google: Google) -> None:
    error = Caller(login, audience="https://orders.example.com").fail()
    assert type(error) is PipesCloudFunctionAccessError
    assert "the audience of the ID token, https://orders.example.com" in str(error.description)
    assert "set `audience` of the resource" in str(error.description)


def test_an_audience_can_be_set(login: Login, google: Google) -> None:
    google.function.audiences = {"https://orders.example.com"}
    answer = Caller(login, audience="https://orders.example.com").succeed()
    assert answer["aud"] == "https://orders.example.com"


def test_a_missing_invoker_role_names_the_command(login: Login, google: Google) -> None:
    google.function.invokers.clear()
    error = Caller(login).fail()
    assert type(error) is PipesCloudFunctionAccessError
    assert "HTTP 403" in str(error.description)
    assert f"--member=serviceAccount:{CALLER} --role=roles/run.invoker" in str(error.description)
    assert len(google.function.authorizations) == 1


def test_a_login_revoked_between_two_attempts_fails(login: Login, google: Google) -> None:
    caller = Caller(login)
    caller.succeed()
    login.revoke()
    google.function.refused.update(google.accounts.issued)
    error = caller.fail()
    assert type(error) is PipesCloudFunctionIdentityError
    assert CALLER in str(error.description) or "attached to this machine" in str(error.description)
    assert "`" in str(error.description) or "set GOOGLE_APPLICATION_CREDENTIALS" in str(error.description)


@pytest.mark.parametrize("offset", [7200, -7200])
def test_a_wrong_clock_matters_to_logins_that_sign(way: str, login: Login, google: Google, offset: float) -> None:
    google.accounts.clock_offset = offset
    if way in SIGN_THEMSELVES:
        error = Caller(login).fail()
        assert type(error) is PipesCloudFunctionIdentityError
        assert "Set this machine's clock: it is wrong by more than Google tolerates" in str(error.description)
    elif way.startswith("workload") and offset > 0:
        assert "is stale to sign-in" in str(Caller(login).fail().description)
    else:
        assert Caller(login).succeed()["email"] == CALLER


def test_a_token_that_is_refused_once_is_replaced(login: Login, google: Google) -> None:
    caller = Caller(login)
    caller.succeed()
    google.function.refused.update(google.accounts.issued)
    assert caller.succeed() == {"email": CALLER, "aud": FUNCTION_URL}
    assert len(google.function.authorizations) == 3


def test_a_gcloud_login_is_found_without_a_variable(google: Google) -> None:
    assert Caller(google.logins.user_logged_in_with_gcloud()).succeed()["email"] == CALLER


# ------------------------------------------------------------------------------------------------ without an ID token


@pytest.mark.parametrize("way", WITHOUT_ID_TOKEN, indirect=True)
def test_a_login_without_id_tokens_says_what_to_do(way: str, login: Login, google: Google) -> None:
    error = Caller(login).fail()
    assert type(error) is PipesCloudFunctionIdentityError
    text = str(error.description)
    assert f"HTTP 403: the function requires an ID token, and {WITHOUT_ID_TOKEN[way]}" in text
    assert "Set `impersonate_service_account` of the resource" in text
    assert "--role=roles/iam.serviceAccountTokenCreator" in text
    assert "gcloud auth application-default login --impersonate-service-account=" in text
    assert google.function.authorizations == [None]


@pytest.mark.parametrize("way", WITHOUT_ID_TOKEN, indirect=True)
def test_a_public_function_needs_no_id_token(login: Login, google: Google) -> None:
    google.function.invokers = {"allUsers"}
    assert Caller(login).succeed() == {"email": None, "aud": None}


def test_a_missing_credentials_file_is_named(google: Google, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/no/such/file.json")
    assert "/no/such/file.json" in str(Caller(google.logins.nobody()).fail().description)


# ------------------------------------------------------------------------------------------------------- impersonation


@pytest.mark.parametrize("missing", [DELEGATES[0], DELEGATES[1], CALLER])
def test_a_broken_delegation_chain_names_the_role(google: Google, missing: str) -> None:
    login = google.logins.user_through_delegates()
    google.accounts.token_creators[missing].clear()
    text = str(Caller(login).fail().description)
    permission = "getOpenIdToken" if missing == CALLER else "implicitDelegation"
    assert f"iam.serviceAccounts.{permission}" in text
    assert "each delegate needs the role on the next" in text


def test_the_order_of_delegates_matters(google: Google, quote: Quote) -> None:
    login = google.logins.user_through_delegates()
    fields = {**login.fields, "impersonation_delegates": DELEGATES[::-1]}
    quote("delegation_refused", str(Caller(Login(fields, login.revoke)).fail().description))


def test_an_error_names_who_impersonates(google: Google) -> None:
    login = google.logins.service_account_impersonating()
    login.revoke()
    text = str(Caller(login).fail().description)
    assert f"as the service account {CALLER}, impersonated by the service account {SOURCE} (key file)" in text


def test_a_service_account_that_does_not_exist_is_an_error(google: Google, quote: Quote) -> None:
    login = google.logins.user_impersonating()
    google.accounts.service_accounts.discard(CALLER)
    quote("no_such_service_account", str(Caller(login).fail().description))


def test_the_error_of_an_expired_login_is_quoted(google: Google, quote: Quote) -> None:
    login = google.logins.user_impersonating()
    google.accounts.refresh_tokens.clear()
    quote("login_expired", str(Caller(login).fail().description))


def test_the_error_of_a_wrong_clock_is_quoted(google: Google, quote: Quote) -> None:
    google.accounts.clock_offset = 7200
    quote("wrong_clock", str(Caller(google.logins.service_account_file()).fail().description))


# -------------------------------------------------------------------------------------------------- where a token goes


def test_a_redirect_is_not_followed(google: Google, quote: Quote) -> None:
    elsewhere = google.network
    google.function.redirect_to = "https://elsewhere.example/login?continue=secret"
    error = Caller(google.logins.service_account_file()).fail()
    assert type(error) is PipesCloudFunctionCallError
    quote("redirected", str(error.description))
    assert ("elsewhere.example", 443) not in elsewhere.routes.asked


def test_plain_http_gets_no_token(google: Google, quote: Quote) -> None:
    google.network.serve(FUNCTION_HOST, google.function.app(), tls=False)
    error = Caller(google.logins.service_account_file()).fail(f"http://{FUNCTION_HOST}")
    quote("no_id_token_over_http", str(error.description))
    assert google.function.authorizations == [None]
    assert google.accounts.issued == []


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_this_machine_gets_no_token(google: Google, host: str) -> None:
    google.function.invokers = {"allUsers"}
    google.network.serve("local", google.function.app(), tls=False)
    port = google.network.routes.ports["local", 80]
    Caller(google.logins.service_account_file()).succeed(f"http://{host}:{port}")
    assert google.function.authorizations == [None]
    assert google.accounts.issued == []


def test_a_session_with_its_own_authorization_is_kept(google: Google) -> None:
    caller = Caller(google.logins.service_account_file())
    with_auth, with_header = create_http_session(), create_http_session()
    with_auth.auth = ("somebody", "password")
    with_header.headers["Authorization"] = "Bearer own"
    for http in (with_auth, with_header):
        record = caller.call(http=http).last
        assert (record.status, record.caller, record.identity_error) == (401, CallerIdentity(), None)
    assert google.function.authorizations == ["Basic c29tZWJvZHk6cGFzc3dvcmQ=", "Bearer own"]
    assert google.accounts.issued == []


@pytest.mark.parametrize(
    "headers",
    [
        {CHUNK_COUNT_HEADER.lower(): "2", "WWW-Authenticate": "Bearer"},
        {ERROR_HEADER: "bad_request", "WWW-Authenticate": "Bearer"},
        {"WWW-Authenticate": "Basic"},
        {},
    ],
)
def test_a_function_with_a_401_of_its_own_is_not_called_again(google: Google, headers: dict[str, str]) -> None:
    app, calls = flask.Flask("own 401"), []

    @app.post("/")
    def refuse() -> flask.Response:
        calls.append(flask.request.headers["Authorization"])
        return flask.Response("who are you?", 401, headers)

    google.network.serve("own.a.run.app", app)
    assert Caller(google.logins.service_account_file()).call("https://own.a.run.app").last.status == 401
    assert len(calls) == 1


def test_the_audience_of_a_cloudfunctions_net_url_has_the_name(google: Google) -> None:
    host = "europe-west1-local-project.cloudfunctions.net"
    google.function.audiences = {f"https://{host}/orders"}
    google.network.serve(host, google.function.app())
    assert Caller(google.logins.service_account_file()).succeed(f"https://{host}/orders/2026?dry_run=1")["aud"] == (
        f"https://{host}/orders"
    )


# ------------------------------------------------------------------------------------------------ faults, and threads


@pytest.mark.parametrize(
    ("way", "endpoint"),
    [
        ("service_account_file", "token"),
        ("metadata_server", "metadata"),
        ("user_impersonating", "iam"),
        ("workload_impersonating", "iam"),
    ],
    indirect=["way"],
)
def test_a_transient_fault_is_retried(login: Login, google: Google, endpoint: str) -> None:
    google.accounts.lifetime = 100  # so that the second call asks again
    caller = Caller(login)
    caller.succeed()
    google.accounts.statuses[endpoint] = [503]
    caller.succeed()
    assert google.accounts.statuses[endpoint] == []


def test_a_transient_fault_of_sts_is_retried(google: Google) -> None:
    google.accounts.statuses["sts"] = [503]
    Caller(google.logins.workload_impersonating()).succeed()
    assert google.accounts.asked["sts"] == 2


def test_a_lasting_fault_ends_with_a_retryable_error(google: Google, quote: Quote) -> None:
    google.accounts.statuses["iam"] = [503] * 100
    record = Caller(google.logins.user_impersonating(), retry_timeout=0.5).call().last
    assert record.identity_error is not None
    assert record.identity_error.allow_retries is True
    quote("google_unavailable", str(record.identity_error.description))
    assert 2 <= 100 - len(google.accounts.statuses["iam"]) < 10


def test_an_unreachable_service_ends_with_a_retryable_error(google: Google) -> None:
    login = google.logins.user_impersonating()
    del google.network.routes.ports["iamcredentials.googleapis.com", 443]
    record = Caller(login, retry_timeout=0.5).call().last
    assert record.identity_error is not None
    assert record.identity_error.allow_retries is True


@pytest.mark.parametrize(
    ("way", "name"),
    [
        ("service_account_file", "key_of_a_deleted_account"),
        ("user_impersonating", "may_not_impersonate"),
        ("metadata_server", "no_attached_service_account"),
    ],
    indirect=["way"],
)
def test_an_error_has_only_googles_text(login: Login, google: Google, name: str, quote: Quote) -> None:
    caller = Caller(login)
    google.accounts.lifetime = 100
    caller.succeed()
    login.revoke()
    quote(name, str(caller.fail().description))


def test_threads_share_one_token(google: Google) -> None:
    client = PipesCloudFunctionClient(bucket="some-bucket", **google.logins.service_account_file().fields)
    barrier = Barrier(8)

    def token(_: int) -> str:
        barrier.wait(timeout=10)
        found = client._identity().id_token(FUNCTION_URL)  # noqa: SLF001 - what the steps of a process share
        assert found is not None
        return found.value

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(token, range(8)))) == 1
    assert google.accounts.asked["token"] == 1


def test_each_audience_has_a_token_of_its_own(google: Google) -> None:
    client = PipesCloudFunctionClient(bucket="some-bucket", **google.logins.service_account_file().fields)
    first, second, again = (
        client._identity().id_token(audience)  # noqa: SLF001
        for audience in ("https://a.run.app", "https://b.run.app", "https://a.run.app")
    )
    assert first == again != second


def test_a_token_is_not_in_its_repr(google: Google) -> None:
    client = PipesCloudFunctionClient(bucket="some-bucket", **google.logins.service_account_file().fields)
    token = client._identity().id_token(FUNCTION_URL)  # noqa: SLF001
    assert token is not None
    assert token.value not in repr(token)
