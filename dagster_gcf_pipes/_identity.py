"""The identity with which Dagster calls: its credentials, found once, and its ID tokens, one for each audience."""

from dataclasses import dataclass, field
from threading import RLock
from typing import TYPE_CHECKING, Any, Final

from dagster_gcf_pipes._credentials import create_request, describe, id_token_credentials, impersonate
from dagster_gcf_pipes._errors import PipesCloudFunctionIdentityError
from dagster_gcf_pipes._google_auth_errors import WAYS_TO_AN_IDENTITY, translated_errors, with_retries

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from google.auth.credentials import Credentials


DEFAULT_RETRY_TIMEOUT: Final = 20.0


@dataclass(frozen=True)
class IdToken:
    """An ID token.

    Attributes:
        value: The token; a secret, which is why it is not in the repr.
        email: The email of the account that it names.
    """

    value: str = field(repr=False)
    email: str


class Identity:
    """The identity with which a resource calls functions. Several steps of a process may use it at the same time.

    Args:
        find: Finds the credentials; called once, when they are first needed.
        service_account: The service account that they impersonate, or None.
        delegates: Service accounts through which they do.
        retry_timeout: Seconds for which a question to Google is repeated that meets a passing fault.
    """

    def __init__(
        self,
        find: "Callable[[], Credentials]",
        *,
        service_account: str | None = None,
        delegates: "Sequence[str]" = (),
        retry_timeout: float = DEFAULT_RETRY_TIMEOUT,
    ) -> None:
        self._find = find
        self._service_account = service_account
        self._delegates = delegates
        self._retry_timeout = retry_timeout
        self._lock = RLock()
        self._found: Credentials | None = None
        self._description = ""
        self._not_found: Exception | None = None
        self._makers: dict[str, Credentials | None] = {}

    def describe(self) -> str:
        """Say who this is."""
        return self._description if self._credentials() else f"a process without Google credentials ({self._not_found})"

    def credentials(self) -> "Credentials":
        """Return the credentials.

        Raises:
            PipesCloudFunctionIdentityError: There are none, or Google refused them.
        """
        if credentials := self._credentials():
            return credentials
        raise PipesCloudFunctionIdentityError(
            f"Expected Google credentials, found none: {self._not_found} {WAYS_TO_AN_IDENTITY}", allow_retries=False
        ) from self._not_found

    def id_token(self, audience: str, *, refused: str | None = None) -> IdToken | None:
        """Return an ID token that is valid for some minutes at least, or None if this identity cannot have one.

        google-auth holds a token for expired 3 minutes and 45 seconds before it does.

        Args:
            audience: Whom the token is for.
            refused: A token that was refused, and is not to be returned again.

        Raises:
            PipesCloudFunctionIdentityError: Google gave none.
        """
        with self._lock:
            if (maker := self._maker(audience)) is None:
                return None
            if not maker.valid or maker.token == refused:
                with translated_errors(self.describe()):
                    self._retrying(maker.refresh)(create_request())
            token = str(maker.token)
            return IdToken(token, _email(token))

    def _credentials(self) -> "Credentials | None":
        from google.auth.exceptions import DefaultCredentialsError

        with self._lock:
            if self._found is None and self._not_found is None:
                try:
                    self._find_credentials()
                except DefaultCredentialsError as error:
                    self._not_found = error
            return self._found

    def _find_credentials(self) -> None:
        from google.auth.exceptions import DefaultCredentialsError

        with translated_errors("whom this environment has", unless=DefaultCredentialsError):
            found = self._find()
        self._description = describe(found)
        if self._service_account:
            self._description = f"the service account {self._service_account}, impersonated by {self._description}"
            found = impersonate(found, self._service_account, self._delegates)
        self._found = found

    def _maker(self, audience: str) -> "Credentials | None":
        """Return what makes the tokens for an audience, each as long as the last one is valid."""
        if audience not in self._makers:
            credentials = self._credentials()
            make = self._retrying(id_token_credentials)
            with translated_errors(self.describe()):
                self._makers[audience] = credentials and make(credentials, audience, create_request())
        return self._makers[audience]

    def _retrying(self, ask: "Callable[..., Any]") -> "Callable[..., Any]":
        return with_retries(ask, timeout=self._retry_timeout)


def _email(token: str) -> str:
    from google.auth import jwt

    try:
        claims = jwt.decode(token, verify=False)
    except ValueError:
        claims = {}  # credentials of the user's own may have tokens of another form
    return str(claims.get("email", "an account that it does not name"))
