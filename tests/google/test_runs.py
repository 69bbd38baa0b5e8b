"""Whole runs with a login: Dagster, a private function in its own process, and a Cloud Storage that needs a token."""

from typing import TYPE_CHECKING, Any

import pytest
from dagster import AssetExecutionContext, DagsterInstance, MaterializeResult, asset, materialize
from dagster_shared.serdes import serialize_value

from dagster_gcf_pipes import PipesCloudFunctionClient
from dagster_gcf_pipes.local import Emulator, FunctionServer, run_function
from tests.conftest import FUNCTIONS
from tests.google.accounts import service_account_member
from tests.google.conftest import FUNCTION_URL, Google
from tests.google.guarded_storage import GuardedStorage
from tests.google.logins import CALLER, Login
from tests.sessions import stored_sessions

if TYPE_CHECKING:
    from google.auth.credentials import Credentials
    from google.cloud import storage


@pytest.fixture
def guarded_storage(google: Google, emulator: Emulator, bucket: str, monkeypatch: pytest.MonkeyPatch) -> GuardedStorage:
    """Cloud Storage by its real name, for the process of Dagster; the bucket exists."""
    guarded = GuardedStorage(google.accounts, emulator.url)
    google.network.serve("storage.googleapis.com", guarded.app())
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "")  # as unset
    return guarded


@pytest.fixture
def private_function(google: Google, function: FunctionServer) -> str:
    google.function.backend = function.url
    return FUNCTION_URL


def run(url: str, login: Login, **fields: Any) -> tuple[bool, str]:
    """Materialize an asset; return whether it succeeded, and the serialized events of the run."""

    class Client(PipesCloudFunctionClient):
        def get_credentials(self) -> "Credentials":
            return login.get_credentials() if login.get_credentials else super().get_credentials()

    @asset
    def orders(context: AssetExecutionContext, cloud_function: Client) -> MaterializeResult:
        return cloud_function.run(context=context, function_url=url, event={"mode": "ok"}).get_materialize_result()

    client = Client(retry_delay=0.1, **login.fields, **fields)
    with DagsterInstance.ephemeral() as instance:
        result = materialize([orders], resources={"cloud_function": client}, instance=instance, raise_on_error=False)
        events = [serialize_value(entry) for entry in instance.all_logs(result.run_id)]
    return result.success, "\n".join(events)


@pytest.mark.parametrize(
    "way",
    ["service_account_file", "own_object", "metadata_server", "user_impersonating", "workload_with_service_account"],
)
def test_a_run_is_one_identity_everywhere(
    way: str, google: Google, private_function: str, guarded_storage: GuardedStorage, bucket: str
) -> None:
    succeeded, kept = run(private_function, getattr(google.logins, way)(), bucket=bucket)
    assert succeeded, kept
    assert "hello from the function" in kept
    assert guarded_storage.callers == {service_account_member(CALLER)}
    assert len(google.function.authorizations) == 1


def test_no_token_is_kept_anywhere(
    google: Google,
    private_function: str,
    guarded_storage: GuardedStorage,
    bucket: str,
    storage_client: "storage.Client",
    function: FunctionServer,
) -> None:
    _, kept = run(private_function, google.logins.user_impersonating(), bucket=bucket, cleanup="never")
    kept += str(stored_sessions(storage_client, bucket)) + "".join(function.child.output)
    assert f"with an ID token of {CALLER} for {FUNCTION_URL}" in kept
    assert len(google.accounts.issued) >= 3
    assert [token for token in google.accounts.issued if token.rpartition(".")[2] in kept] == []


@pytest.mark.parametrize(
    ("way", "error", "text", "calls"),
    [
        ("user_alone", "PipesCloudFunctionIdentityError", "Set `impersonate_service_account` of the resource", 1),
        ("nobody", "PipesCloudFunctionIdentityError", "Expected Google credentials, found none", 0),
        (
            "service_account_file",
            "PipesCloudFunctionAccessError",
            f"--member=serviceAccount:{CALLER} --role=roles/run.invoker",
            1,
        ),
    ],
)
def test_a_login_that_may_not_call_learns_what_to_do(
    google: Google,
    private_function: str,
    guarded_storage: GuardedStorage,
    bucket: str,
    way: str,
    error: str,
    text: str,
    calls: int,
) -> None:
    google.function.invokers.clear()
    succeeded, kept = run(private_function, getattr(google.logins, way)(), bucket=bucket)
    assert not succeeded
    assert error in kept
    assert text in kept
    assert len(google.function.authorizations) == calls
    assert calls or guarded_storage.callers == set()


def test_each_attempt_renews_an_expired_token(google: Google, private_function: str, bucket: str) -> None:
    google.accounts.lifetime = 100  # seconds; google-auth holds a token for expired 225 s before it is
    google.function.statuses = [429, 503]
    succeeded, kept = run(private_function, google.logins.service_account_file(), bucket=bucket)
    assert succeeded, kept
    assert len(set(google.function.authorizations)) == 3


def test_a_login_revoked_between_two_attempts_ends_the_run(google: Google, private_function: str, bucket: str) -> None:
    login = google.logins.service_account_file()
    google.accounts.lifetime = 100  # as above
    google.function.statuses = [429]
    google.function.when_called = login.revoke
    succeeded, kept = run(private_function, login, bucket=bucket)
    assert not succeeded
    assert len(google.function.authorizations) == 1
    assert "PipesCloudFunctionIdentityError" in kept
    assert "Invalid grant: account not found" in kept
    assert "gcloud iam service-accounts keys create" in kept


def test_an_emulator_needs_no_credentials(google: Google, function: FunctionServer, bucket: str) -> None:
    succeeded, kept = run(function.url, google.logins.nobody(), bucket=bucket)
    assert succeeded, kept
    assert {*google.network.routes.asked} == {("storage.example.com", 80)}  # the emulator alone


def test_a_function_on_this_machine_can_use_cloud_storage(
    google: Google, guarded_storage: GuardedStorage, bucket: str
) -> None:
    """Without an emulator on either side, both use the bucket of the cloud."""
    login = google.logins.service_account_file()
    with run_function(FUNCTIONS / "behaviors" / "main.py", emulator_url="") as function:
        succeeded, kept = run(function.url, login, bucket=bucket)
    assert succeeded, kept
    assert guarded_storage.callers == {service_account_member(CALLER)}


def test_a_function_of_an_emulator_refuses_a_dagster_of_the_cloud(
    google: Google, function: FunctionServer, guarded_storage: GuardedStorage, bucket: str
) -> None:
    succeeded, kept = run(function.url, google.logins.service_account_file(), bucket=bucket)
    assert not succeeded
    assert "Dagster uses Cloud Storage itself, and this function uses an emulator of Cloud Storage" in kept
