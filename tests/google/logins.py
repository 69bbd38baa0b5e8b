"""The ways to be logged in, on this machine and on Google's side.

A login that can have an ID token calls as `CALLER`.
"""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest
from google.oauth2 import service_account

from tests.google import keys
from tests.google.accounts import Accounts, service_account_member
from tests.google.stand_ins import OTHER_CLOUD, PROVIDER, workload_member

if TYPE_CHECKING:
    from google.auth.credentials import Credentials

CALLER: Final = "dagster@local-project.iam.gserviceaccount.com"
SOURCE: Final = "source@local-project.iam.gserviceaccount.com"
DELEGATES: Final = ["first@local-project.iam.gserviceaccount.com", "second@local-project.iam.gserviceaccount.com"]
USER: Final = "user:somebody@example.com"
REFRESH_TOKEN: Final = "1//a-refresh-token"
IAM: Final = "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts"


@dataclass(frozen=True)
class Login:
    """A way of being logged in.

    Attributes:
        fields: The fields of the resource with it.
        revoke: Revokes it on Google's side.
        get_credentials: Makes the user's own credentials object; None for the environment's.
    """

    fields: dict[str, Any]
    revoke: Callable[[], object]
    get_credentials: "Callable[[], Credentials] | None" = None


class Logins:
    """Logs in, on this machine and on Google's side.

    Args:
        accounts: Google's state.
        environment: Where the variables of the environment are set.
        directory: Where the files of credentials are written.
    """

    def __init__(self, accounts: Accounts, environment: pytest.MonkeyPatch, directory: Path) -> None:
        self._accounts = accounts
        self._environment = environment
        self._directory = directory

    def service_account_file(self) -> Login:
        self._use_file(self._key_file(CALLER))
        return Login({}, lambda: self._accounts.service_accounts.discard(CALLER))

    def own_object(self) -> Login:
        info = self._key_file(CALLER)
        return Login(
            {},
            lambda: self._accounts.service_accounts.discard(CALLER),
            lambda: service_account.Credentials.from_service_account_info(info),
        )

    def own_id_token_object(self) -> Login:
        info = {**self._key_file(CALLER), "target_audience": "https://elsewhere.example"}
        return Login(
            {},
            lambda: self._accounts.service_accounts.discard(CALLER),
            lambda: service_account.IDTokenCredentials.from_service_account_info(
                info, target_audience="https://elsewhere.example"
            ),
        )

    def metadata_server(self) -> Login:
        self._attach(CALLER)

        def detach() -> None:
            self._accounts.attached = None

        return Login({}, detach)

    def user_alone(self) -> Login:
        self._use_file(self._user_file())
        return Login({}, self._accounts.refresh_tokens.clear)

    def user_impersonating(self) -> Login:
        self._use_file(self._user_file())
        return self._impersonation_by(USER)

    def user_logged_in_with_gcloud(self) -> Login:
        """The file is where gcloud writes it, and no variable names it."""
        directory = self._directory / "gcloud"
        directory.mkdir()
        (directory / "application_default_credentials.json").write_text(json.dumps(self._user_file()))
        self._environment.setenv("CLOUDSDK_CONFIG", str(directory))
        return self._impersonation_by(USER)

    def gcloud_impersonation_file(self) -> Login:
        """As `gcloud auth application-default login --impersonate-service-account` leaves it."""
        source = self._user_file()
        self._use_file(
            {
                "type": "impersonated_service_account",
                "service_account_impersonation_url": f"{IAM}/{CALLER}:generateAccessToken",
                "source_credentials": source,
                "delegates": [],
            }
        )
        return Login({}, self._impersonation_by(USER).revoke)

    def service_account_impersonating(self) -> Login:
        self._use_file(self._key_file(SOURCE))
        return self._impersonation_by(service_account_member(SOURCE))

    def metadata_server_impersonating(self) -> Login:
        self._attach(SOURCE)
        return self._impersonation_by(service_account_member(SOURCE))

    def user_through_delegates(self) -> Login:
        self._use_file(self._user_file())
        first, second = DELEGATES
        self._accounts.service_accounts |= {first, second}
        self._accounts.token_creators[first].add(USER)
        self._accounts.token_creators[second].add(service_account_member(first))
        login = self._impersonation_by(service_account_member(second))
        return Login({**login.fields, "impersonation_delegates": DELEGATES}, login.revoke)

    def workload_alone(self) -> Login:
        self._use_file(self._workload_file())
        return Login({}, self._accounts.service_accounts.clear)

    def workload_impersonating(self) -> Login:
        self._use_file(self._workload_file())
        return self._impersonation_by(workload_member("runner"))

    def workload_with_service_account(self) -> Login:
        """As `gcloud iam workload-identity-pools create-cred-config --service-account` leaves it."""
        url = {"service_account_impersonation_url": f"{IAM}/{CALLER}:generateAccessToken"}
        self._use_file({**self._workload_file(), **url})
        return Login({}, self._impersonation_by(workload_member("runner")).revoke)

    def nobody(self) -> Login:
        return Login({}, lambda: None)

    def _use_file(self, info: dict[str, Any]) -> None:
        path = self._directory / "credentials.json"
        path.write_text(json.dumps(info))
        self._environment.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(path))

    def _impersonation_by(self, member: str) -> Login:
        self._accounts.service_accounts.add(CALLER)
        self._accounts.token_creators[CALLER].add(member)
        return Login(
            {"impersonate_service_account": CALLER}, lambda: self._accounts.token_creators[CALLER].discard(member)
        )

    def _attach(self, email: str) -> None:
        self._accounts.service_accounts.add(email)
        self._accounts.attached = email

    def _key_file(self, email: str) -> dict[str, Any]:
        self._accounts.service_accounts.add(email)
        return {
            "type": "service_account",
            "project_id": "local-project",
            "private_key_id": email,
            "private_key": keys.private_key(email),
            "client_email": email,
            "token_uri": "https://oauth2.googleapis.com/token",
            "universe_domain": "googleapis.com",
        }

    def _user_file(self) -> dict[str, Any]:
        self._accounts.refresh_tokens[REFRESH_TOKEN] = USER
        return {
            "type": "authorized_user",
            "account": "",
            "client_id": "764086051850-6qr4p6gpi6hn506pt8ejuq83di341hur.apps.googleusercontent.com",
            "client_secret": "not-a-secret",
            "refresh_token": REFRESH_TOKEN,
            "quota_project_id": "local-project",
            "universe_domain": "googleapis.com",
        }

    def _workload_file(self) -> dict[str, Any]:
        now = int(time.time())
        subject_token = keys.sign(OTHER_CLOUD, {"sub": "runner", "aud": PROVIDER, "iat": now, "exp": now + 600})
        path = self._directory / "subject_token"
        path.write_text(subject_token)
        return {
            "type": "external_account",
            "audience": PROVIDER,
            "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
            "token_url": "https://sts.googleapis.com/v1/token",
            "credential_source": {"file": str(path)},
            "universe_domain": "googleapis.com",
        }
