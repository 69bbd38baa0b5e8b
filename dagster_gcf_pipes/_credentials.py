"""The identity that calls functions: loads its credentials once, and creates its ID tokens, one for each audience.

An ID token for a function belongs to a service account. A person, or a workload of another cloud, has to impersonate
one. Source: https://cloud.google.com/docs/authentication/get-id-token.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from threading import RLock
from typing import TYPE_CHECKING, Any, Final

from gcf_pipes._shared.once import Once

from dagster_gcf_pipes._errors import PipesCloudFunctionIdentityError
from dagster_gcf_pipes._fixes import CREDENTIALS_FIX
from dagster_gcf_pipes._google_errors import translated_errors, with_retries

if TYPE_CHECKING:
    from google.auth.credentials import Credentials
    from google.auth.external_account import Credentials as ExternalCredentials
    from google.auth.transport import Request

SCOPES: Final = ("https://www.googleapis.com/auth/cloud-platform",)
TOKEN_ENDPOINT: Final = "https://oauth2.googleapis.com/token"  # noqa: S105 - not a password
"""The endpoint in the key file of every service account. Source: https://developers.google.com/identity/protocols/oauth2."""
REQUEST_TIMEOUT: Final = 20.0
"""The timeout of one request for credentials, in seconds. google-auth's default is 120."""
TOKEN_DEADLINE: Final = 20.0
"""Seconds for which a request to Google is retried after transient errors."""
_IMPERSONATION_KEYS: Final = ("service_account_impersonation_url", "service_account_impersonation")


@dataclass(frozen=True)
class IdToken:
    """An ID token.

    Attributes:
        value: The token. It is a secret, so it is not in the repr.
        email: The email of its account, or None if it does not contain one.
    """

    value: str = field(repr=False)
    email: str | None


@dataclass(frozen=True)
class _Loaded:
    """The credentials and their description, or the error that says why there are none."""

    credentials: "Credentials | None"
    description: str
    error: Exception | None = None


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
        delegates: Sequence[str] = (),
        retry_timeout: float = TOKEN_DEADLINE,
    ) -> None:
        self._load_credentials = load_credentials
        self._service_account = service_account
        self._delegates = delegates
        self._retry_timeout = retry_timeout
        self._loaded: Once[_Loaded] = Once()
        self._token_lock = RLock()
        self._by_audience: dict[str, Credentials | None] = {}

    def describe(self) -> str:
        """Describe the identity."""
        return self._loaded.get(self._load).description

    def credentials(self) -> "Credentials":
        """Return the credentials.

        Raises:
            PipesCloudFunctionIdentityError: There are none, or Google rejected them.
        """
        loaded = self._loaded.get(self._load)
        if loaded.credentials:
            return loaded.credentials
        raise PipesCloudFunctionIdentityError(
            f"Expected Google credentials, found none: {loaded.error}\nFix: {CREDENTIALS_FIX}"
        ) from loaded.error

    def check(self) -> None:
        """Check that Google accepts the credentials.

        Raises:
            PipesCloudFunctionIdentityError: There are none, or Google rejected them.
        """
        credentials = self.credentials()
        with translated_errors(self.describe(), wanted="an access token"):
            self._with_retries(credentials.refresh)(create_request())

    def id_token(self, audience: str, *, refused: str | None = None) -> IdToken | None:
        """Return an ID token, or None if this identity cannot create one.

        google-auth renews a token 3 minutes and 45 seconds before it expires.

        Args:
            audience: The audience of the token.
            refused: A token that the platform refused, so do not return it again.

        Raises:
            PipesCloudFunctionIdentityError: Google issued no token.
        """
        with self._token_lock:
            if (credentials := self._id_token_credentials(audience)) is None:
                return None
            if not credentials.valid or credentials.token == refused:
                with translated_errors(self.describe()):
                    self._with_retries(credentials.refresh)(create_request())
            token = str(credentials.token)
            return IdToken(token, _email(token))

    def _load(self) -> _Loaded:
        from google.auth.exceptions import DefaultCredentialsError

        try:
            with translated_errors("the identity of this environment", unless=DefaultCredentialsError):
                credentials = self._load_credentials()
        except DefaultCredentialsError as error:
            return _Loaded(None, f"a process without Google credentials ({error})", error)
        description = describe(credentials)
        if self._service_account:
            description = f"the service account {self._service_account}, impersonated by {description}"
            credentials = impersonate(credentials, self._service_account, self._delegates)
        return _Loaded(credentials, description)

    def _id_token_credentials(self, audience: str) -> "Credentials | None":
        if audience not in self._by_audience:
            credentials = self._loaded.get(self._load).credentials
            create = self._with_retries(create_id_token_credentials)
            with translated_errors(self.describe()):
                self._by_audience[audience] = credentials and create(credentials, audience, create_request())
        return self._by_audience[audience]

    def _with_retries(self, function: Callable[..., Any]) -> Callable[..., Any]:
        return with_retries(function, timeout=self._retry_timeout)


def _email(token: str) -> str | None:
    from google.auth import jwt

    try:
        claims = jwt.decode(token, verify=False)
    except ValueError:
        return None  # a user's own credentials may have tokens in another format
    email = claims.get("email")
    return str(email) if email else None


def create_request() -> "Request":
    """Create google-auth's transport, with `REQUEST_TIMEOUT`."""
    from google.auth.transport.requests import Request

    class BoundedRequest(Request):
        def __call__(self, url: str, *arguments: Any, **options: Any) -> Any:
            bounded = {"timeout": REQUEST_TIMEOUT, **options}
            return super().__call__(url, *arguments, **bounded)  # type: ignore[no-untyped-call]  # as it is typed there

    return BoundedRequest()


def find_default_credentials() -> "Credentials":
    """Return the first credentials that the environment has.

    The order: the file in `GOOGLE_APPLICATION_CREDENTIALS`, `gcloud auth application-default login`, the service
    account attached to the machine.
    Source: https://cloud.google.com/docs/authentication/application-default-credentials.
    """
    import google.auth

    credentials: Credentials = google.auth.default(scopes=SCOPES, request=create_request())[0]
    return credentials


def impersonate(source: "Credentials", service_account: str, delegates: Sequence[str]) -> "Credentials":
    """Return credentials of a service account that the source impersonates, through a chain of delegates.

    google-auth passes the delegates on unchanged, and the API accepts only resource names.
    Source: https://cloud.google.com/iam/docs/reference/credentials/rest/v1/projects.serviceAccounts/generateIdToken.
    """
    from google.auth import impersonated_credentials

    return impersonated_credentials.Credentials(
        source_credentials=source,
        target_principal=service_account,
        target_scopes=SCOPES,
        delegates=[f"projects/-/serviceAccounts/{delegate}" for delegate in delegates],
    )


def create_id_token_credentials(credentials: "Credentials", audience: str, request: "Request") -> "Credentials | None":
    """Create credentials whose token is an ID token for an audience, or return None if that is not possible.

    Args:
        credentials: Credentials of any kind. ID token credentials are copied for the audience.
        audience: The audience of the tokens.
        request: Asks the metadata server for the email of the attached service account.
    """
    from google.auth import compute_engine, external_account, impersonated_credentials
    from google.oauth2 import service_account

    if hasattr(credentials, "with_target_audience"):
        ready: Credentials = credentials.with_target_audience(audience)
        return ready
    if isinstance(credentials, service_account.Credentials):
        return service_account.IDTokenCredentials(
            credentials.signer,
            credentials.service_account_email,
            TOKEN_ENDPOINT,
            audience,
            universe_domain=credentials.universe_domain,
        )
    if isinstance(credentials, compute_engine.Credentials):
        return compute_engine.IDTokenCredentials(request, audience, use_metadata_identity_endpoint=True)
    if isinstance(credentials, external_account.Credentials) and credentials.service_account_email:
        credentials = impersonate(_without_impersonation(credentials), credentials.service_account_email, ())
    if isinstance(credentials, impersonated_credentials.Credentials):
        return impersonated_credentials.IDTokenCredentials(credentials, audience, include_email=True)
    return None


def _without_impersonation(credentials: "ExternalCredentials") -> "ExternalCredentials":
    """Return the workload's own credentials, because they may request the service account's ID tokens.

    `roles/iam.workloadIdentityUser` allows the workload to do so. The service account itself usually may not.
    """
    info = {key: value for key, value in credentials.info.items() if key not in _IMPERSONATION_KEYS}
    source: ExternalCredentials = type(credentials).from_info(info, scopes=SCOPES)
    return source


def describe(credentials: "Credentials") -> str:
    """Describe whose credentials these are, and of which kind."""
    from google.auth import compute_engine, external_account, impersonated_credentials
    from google.oauth2 import credentials as user
    from google.oauth2 import service_account

    email = getattr(credentials, "service_account_email", None)
    if isinstance(credentials, impersonated_credentials.Credentials):
        return f"the service account {email}, impersonated"
    if isinstance(credentials, external_account.Credentials):
        return f"the service account {email}, by workload identity federation" if email else "a federated workload"
    if isinstance(credentials, compute_engine.Credentials):
        return "the service account attached to this machine (metadata server)"
    if isinstance(credentials, service_account.Credentials):
        return f"the service account {email} (key file)"
    if isinstance(credentials, user.Credentials):
        return f"the user {credentials.account}".strip() + " (gcloud auth application-default login)"
    kind = f"credentials of the type {type(credentials).__module__}.{type(credentials).__qualname__}"
    return f"the service account {email} ({kind})" if email else kind
