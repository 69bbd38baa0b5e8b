"""The identity that calls functions: its credentials, loaded once, and its ID tokens, one for each audience."""

from dataclasses import dataclass, field
from threading import RLock
from typing import TYPE_CHECKING, Any, Final

from dagster_gcf_pipes._credentials import create_id_token_credentials, create_request, describe, impersonate
from dagster_gcf_pipes._errors import PipesCloudFunctionIdentityError
from dagster_gcf_pipes._fixes import CREDENTIALS_FIX
from dagster_gcf_pipes._google_errors import translated_errors, with_retries

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from google.auth.credentials import Credentials


TOKEN_DEADLINE: Final = 20.0
"""Seconds for which a request to Google is retried after transient errors."""


@dataclass(frozen=True)
class IdToken:
    """An ID token.

    Attributes:
        value: The token. It is a secret, so it is not in the repr.
        email: The email of its account, or None if it does not contain one.
    """

    value: str = field(repr=False)
    email: str | None


class Identity:
    """The identity that a resource calls functions with. Thread-safe.

    Args:
        load_credentials: Returns the credentials. Called once, when they are first needed.
        service_account: The service account to impersonate, or None.
        delegates: The service accounts between the credentials and the impersonated account.
        retry_timeout: How long to retry a request to Google after transient errors, in seconds.
    """

    def __init__(
        self,
        load_credentials: "Callable[[], Credentials]",
        *,
        service_account: str | None = None,
        delegates: "Sequence[str]" = (),
        retry_timeout: float = TOKEN_DEADLINE,
    ) -> None:
        self._load_credentials = load_credentials
        self._service_account = service_account
        self._delegates = delegates
        self._retry_timeout = retry_timeout
        self._lock = RLock()
        self._found: Credentials | None = None
        self._description = ""
        self._not_found: Exception | None = None
        self._by_audience: dict[str, Credentials | None] = {}

    def describe(self) -> str:
        """Describe the identity."""
        return self._description if self._credentials() else f"a process without Google credentials ({self._not_found})"

    def credentials(self) -> "Credentials":
        """Return the credentials.

        Raises:
            PipesCloudFunctionIdentityError: There are none, or Google rejected them.
        """
        if credentials := self._credentials():
            return credentials
        raise PipesCloudFunctionIdentityError(
            f"Expected Google credentials, found none: {self._not_found}\nFix: {CREDENTIALS_FIX}", allow_retries=False
        ) from self._not_found

    def id_token(self, audience: str, *, refused: str | None = None) -> IdToken | None:
        """Return an ID token, or None if this identity cannot create one.

        google-auth renews a token 3 minutes and 45 seconds before it expires.

        Args:
            audience: The audience of the token.
            refused: A token that the platform refused, so do not return it again.

        Raises:
            PipesCloudFunctionIdentityError: Google issued no token.
        """
        with self._lock:
            if (credentials := self._id_token_credentials(audience)) is None:
                return None
            if not credentials.valid or credentials.token == refused:
                with translated_errors(self.describe()):
                    self._with_retries(credentials.refresh)(create_request())
            token = str(credentials.token)
            return IdToken(token, _email(token))

    def _credentials(self) -> "Credentials | None":
        from google.auth.exceptions import DefaultCredentialsError  # noqa: PLC0415 - keep Google imports lazy

        with self._lock:
            if self._found is None and self._not_found is None:
                try:
                    self._find_credentials()
                except DefaultCredentialsError as error:
                    self._not_found = error
            return self._found

    def _find_credentials(self) -> None:
        from google.auth.exceptions import DefaultCredentialsError  # noqa: PLC0415 - as in _credentials

        with translated_errors("the identity of this environment", unless=DefaultCredentialsError):
            found = self._load_credentials()
        self._description = describe(found)
        if self._service_account:
            self._description = f"the service account {self._service_account}, impersonated by {self._description}"
            found = impersonate(found, self._service_account, self._delegates)
        self._found = found

    def _id_token_credentials(self, audience: str) -> "Credentials | None":
        if audience not in self._by_audience:
            credentials = self._credentials()
            create = self._with_retries(create_id_token_credentials)
            with translated_errors(self.describe()):
                self._by_audience[audience] = credentials and create(credentials, audience, create_request())
        return self._by_audience[audience]

    def _with_retries(self, function: "Callable[..., Any]") -> "Callable[..., Any]":
        return with_retries(function, timeout=self._retry_timeout)


def _email(token: str) -> str | None:
    from google.auth import jwt  # noqa: PLC0415 - as in _credentials

    try:
        claims = jwt.decode(token, verify=False)
    except ValueError:
        return None  # a user's own credentials may have tokens in another format
    email = claims.get("email")
    return str(email) if email else None
