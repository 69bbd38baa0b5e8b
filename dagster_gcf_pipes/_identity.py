"""The identity with which Dagster calls: its credentials, found once, and its ID tokens, one for each audience."""

from dataclasses import dataclass, field
from threading import RLock
from typing import TYPE_CHECKING, Any, Final

from dagster_gcf_pipes._credentials import describe, id_token_credentials
from dagster_gcf_pipes._errors import PipesCloudFunctionIdentityError
from dagster_gcf_pipes._google_auth_errors import WAYS_TO_AN_IDENTITY, translated_errors, with_retries

if TYPE_CHECKING:
    from collections.abc import Callable

    from google.auth.credentials import Credentials
    from google.auth.transport.requests import Request

REQUEST_TIMEOUT: Final = 20.0
"""Seconds for which one request for a token may wait; google-auth's own default is 120."""


@dataclass(frozen=True)
class IdToken:
    """An ID token.

    Attributes:
        value: The token; a secret, which is why it is not in the repr.
        email: The email of the service account that it names, or None if it names none.
    """

    value: str = field(repr=False)
    email: str | None


class Identity:
    """The identity with which a resource calls functions. Several steps of a process may use it at the same time.

    Args:
        find: Finds the credentials; called once, when they are first needed.
    """

    def __init__(self, find: "Callable[[], Credentials]") -> None:
        self._find = find
        self._lock = RLock()
        self._found: Credentials | None = None
        self._not_found: Exception | None = None
        self._makers: dict[str, Credentials | None] = {}

    def describe(self) -> str:
        """Say who this is, or that nobody was found."""
        credentials = self._credentials()
        return describe(credentials) if credentials else f"no credentials ({self._not_found})"

    def credentials(self) -> "Credentials":
        """Return the credentials.

        Raises:
            PipesCloudFunctionIdentityError: There are none, or Google refused them.
        """
        if credentials := self._credentials():
            return credentials
        raise PipesCloudFunctionIdentityError(
            f"No Google credentials were found: {self._not_found} {WAYS_TO_AN_IDENTITY}", allow_retries=False
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
                    with_retries(maker.refresh)(_request())
            token = str(maker.token)
            return IdToken(token, _email(token))

    def _credentials(self) -> "Credentials | None":
        from google.auth.exceptions import DefaultCredentialsError  # noqa: PLC0415 - as in _request

        with self._lock:
            if self._found is None and self._not_found is None:
                try:
                    with translated_errors("the credentials of this environment", unless=DefaultCredentialsError):
                        self._found = self._find()
                except DefaultCredentialsError as error:
                    self._not_found = error
            return self._found

    def _maker(self, audience: str) -> "Credentials | None":
        """Return what makes the tokens for an audience, each as long as the last one is valid."""
        if audience not in self._makers:
            credentials = self._credentials()
            with translated_errors(self.describe()):
                self._makers[audience] = credentials and with_retries(id_token_credentials)(
                    credentials, audience, _request()
                )
        return self._makers[audience]


def _request() -> "Request":
    """Return what google-auth makes its requests with."""
    from google.auth.transport.requests import Request  # noqa: PLC0415 - importing the package imports no Google library

    class BoundedRequest(Request):
        def __call__(self, url: str, *arguments: Any, **options: Any) -> Any:
            bounded = {"timeout": REQUEST_TIMEOUT, **options}
            return super().__call__(url, *arguments, **bounded)  # type: ignore[no-untyped-call]  # google-auth has few

    return BoundedRequest()


def _email(token: str) -> str | None:
    from google.auth import jwt  # noqa: PLC0415 - as in _request

    try:
        email: str | None = jwt.decode(token, verify=False).get("email")  # type: ignore[no-untyped-call]
    except ValueError:
        return None  # credentials of the user's own may have tokens of another form
    return email
