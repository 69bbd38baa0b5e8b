"""A Google of its own for each test: its accounts, its services on the network, a private function."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from google.auth.exceptions import RefreshError
from google.oauth2.credentials import Credentials

from tests.google.accounts import Accounts
from tests.google.logins import CALLER, Logins
from tests.google.network import Network, run_network
from tests.google.private_function import PrivateFunction
from tests.google.stand_ins import iam_credentials, instance_metadata, sts, token_endpoint

FUNCTION_HOST = "orders-abcdefghij-ew.a.run.app"
FUNCTION_URL = f"https://{FUNCTION_HOST}"
VARIABLES_OF_CREDENTIALS = ["GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_CLOUD_QUOTA_PROJECT", "GCE_METADATA_IP"]


def raise_refresh_error() -> Credentials:
    raise RefreshError("Token has been expired or revoked.")


BROKEN_CREDENTIALS = [
    pytest.param(lambda: None, "/does/not/exist.json was not found", id="a credentials file that is not there"),
    pytest.param(raise_refresh_error, "Token has been expired or revoked", id="refused at the source"),
    pytest.param(lambda: Credentials(token="old"), "do not contain the necessary fields", id="cannot be refreshed"),
]


@dataclass(frozen=True)
class Google:
    """Google, as the tests use it.

    Attributes:
        accounts: Its state.
        network: Its hosts.
        function: A private function, at `FUNCTION_URL`, which `CALLER` may call.
        logins: Ways to log in.
    """

    accounts: Accounts
    network: Network
    function: PrivateFunction
    logins: Logins


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Iterator[Network]:
    with run_network() as network:
        for name, value in network.environment.items():
            monkeypatch.setenv(name, value)
        yield network


@pytest.fixture
def google(network: Network, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Google:
    for name in VARIABLES_OF_CREDENTIALS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path / "no-gcloud"))
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "local-project")
    if emulator_url := os.environ.get("STORAGE_EMULATOR_HOST"):  # a function in the cloud cannot reach this machine
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", network.forward("storage.example.com", emulator_url))
    accounts = Accounts()
    function = PrivateFunction(accounts, audiences={FUNCTION_URL}, invokers={CALLER})
    network.serve("oauth2.googleapis.com", token_endpoint(accounts))
    network.serve("sts.googleapis.com", sts(accounts))
    network.serve("iamcredentials.googleapis.com", iam_credentials(accounts))
    network.serve(FUNCTION_HOST, function.app())
    return Google(accounts, network, function, _LoginsOnMachine(accounts, monkeypatch, tmp_path, network))


class _LoginsOnMachine(Logins):
    """A machine has a metadata server only if a service account is attached to it."""

    def __init__(self, accounts: Accounts, environment: pytest.MonkeyPatch, directory: Path, network: Network) -> None:
        super().__init__(accounts, environment, directory)
        self._network = network

    def _attach(self, email: str) -> None:
        super()._attach(email)
        for host in ("metadata.google.internal", "169.254.169.254"):
            self._network.serve(host, instance_metadata(self._accounts), tls=False)
