"""Finds credentials, puts an impersonation on top of them, and makes of any kind what gives ID tokens.

Which kinds can: https://cloud.google.com/docs/authentication/get-id-token. An ID token for a function names a service
account; a person's credentials, and a workload's from another cloud, have none unless they impersonate one.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from google.auth.credentials import Credentials
    from google.auth.external_account import Credentials as ExternalCredentials
    from google.auth.transport import Request

SCOPES: Final = ("https://www.googleapis.com/auth/cloud-platform",)
TOKEN_ENDPOINT: Final = "https://oauth2.googleapis.com/token"  # noqa: S105 - it is no password
"""What every service account's key file names. Source: https://developers.google.com/identity/protocols/oauth2."""
REQUEST_TIMEOUT: Final = 20.0
"""Seconds for which one request for credentials may wait; google-auth's own default is 120."""
_IMPERSONATION_KEYS: Final = ("service_account_impersonation_url", "service_account_impersonation")


def create_request() -> "Request":
    """Create what google-auth makes its requests with."""
    from google.auth.transport.requests import Request

    class BoundedRequest(Request):
        def __call__(self, url: str, *arguments: Any, **options: Any) -> Any:
            bounded = {"timeout": REQUEST_TIMEOUT, **options}
            return super().__call__(url, *arguments, **bounded)  # type: ignore[no-untyped-call]  # as it is typed there

    return BoundedRequest()


def find_default_credentials() -> "Credentials":
    """Return the credentials of the environment, the first that are found.

    The order: the file that `GOOGLE_APPLICATION_CREDENTIALS` names, `gcloud auth application-default login`, the
    service account that is attached to the machine.
    Source: https://cloud.google.com/docs/authentication/application-default-credentials.
    """
    import google.auth

    credentials: Credentials = google.auth.default(scopes=SCOPES, request=create_request())[0]
    return credentials


def impersonate(source: "Credentials", service_account: str, delegates: Sequence[str]) -> "Credentials":
    """Return credentials of a service account, which the source may impersonate through a chain of delegates.

    google-auth passes the delegates on as they are, and the API takes resource names alone.
    Source: https://cloud.google.com/iam/docs/reference/credentials/rest/v1/projects.serviceAccounts/generateIdToken.
    """
    from google.auth import impersonated_credentials

    return impersonated_credentials.Credentials(
        source_credentials=source,
        target_principal=service_account,
        target_scopes=SCOPES,
        delegates=[f"projects/-/serviceAccounts/{delegate}" for delegate in delegates],
    )


def id_token_credentials(credentials: "Credentials", audience: str, request: "Request") -> "Credentials | None":
    """Return credentials whose token is an ID token for an audience, or None if there is no way to them.

    Args:
        credentials: Of any kind; ones that give ID tokens already are returned for this audience.
        audience: Whom the tokens are for.
        request: For the metadata server, which is asked for the email of the attached service account.
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
    """Return the workload's own credentials: they are what may ask for the service account's ID tokens.

    `roles/iam.workloadIdentityUser` lets the workload do so; the service account itself mostly may not.
    """
    info = {key: value for key, value in credentials.info.items() if key not in _IMPERSONATION_KEYS}
    source: ExternalCredentials = type(credentials).from_info(info, scopes=SCOPES)
    return source


def describe(credentials: "Credentials") -> str:
    """Say whose credentials these are, and of which kind."""
    from google.auth import compute_engine, external_account, impersonated_credentials
    from google.oauth2 import credentials as user
    from google.oauth2 import service_account

    email = getattr(credentials, "service_account_email", None)
    if isinstance(credentials, impersonated_credentials.Credentials):
        return f"the service account {email}, impersonated"
    if isinstance(credentials, external_account.Credentials):
        return f"the service account {email}, by workload identity federation" if email else "a federated workload"
    if isinstance(credentials, compute_engine.Credentials):
        return "the service account that is attached to this machine (metadata server)"
    if isinstance(credentials, service_account.Credentials):
        return f"the service account {email} (key file)"
    if isinstance(credentials, user.Credentials):
        return f"the user {credentials.account}".strip() + " (gcloud auth application-default login)"
    kind = f"credentials of the type {type(credentials).__module__}.{type(credentials).__qualname__}"
    return f"the service account {email} ({kind})" if email else kind
