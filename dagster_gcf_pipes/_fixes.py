"""What to tell the user to do about a refused call or missing credentials: advice, and the gcloud commands in it.

A command contains what is known of the function's name, and placeholders in capitals for the rest.
"""

import re
import shlex
from dataclasses import dataclass
from typing import Final

from dagster_gcf_pipes._functions import UNKNOWN_FUNCTION, FunctionName

UNAUTHORIZED: Final = 401
_REFUSALS: Final = (UNAUTHORIZED, 403)
_NOT_FOUND: Final = 404

CREDENTIALS_FIX: Final = (
    "Set `impersonate_service_account` of the resource to a service account that may call the function. Dagster's own "
    "identity needs a role on it: `gcloud iam service-accounts add-iam-policy-binding SERVICE_ACCOUNT "
    "--member=user:YOUR_EMAIL --role=roles/iam.serviceAccountTokenCreator`, or for a workload of another cloud "
    "`--member=principal://... --role=roles/iam.workloadIdentityUser`. Or give Dagster a service account's own "
    "credentials: `gcloud auth application-default login --impersonate-service-account=SERVICE_ACCOUNT`, "
    "GOOGLE_APPLICATION_CREDENTIALS with the path of its key file, or a service account attached to the machine."
)
"""How to get an ID token. Source: https://cloud.google.com/docs/authentication/use-service-account-impersonation."""

_ACCESS_CAUSES: Final = {
    401: "the ID token is missing, expired, or was made for another audience than the function's URL",
    403: "no ID token was sent, or the identity lacks `roles/run.invoker` on the function's Cloud Run service",
    404: "the URL is not the function's, or the function's ingress setting blocks this network",
}

_GOOGLE_ERROR_FIXES: Final = {
    "in a reasonable timeframe": "Set this machine's clock: it is wrong by more than Google tolerates.",
    "expired or revoked|invalid_rapt|Reauthentication": "Log in again: `gcloud auth application-default login`.",
    "Invalid JWT Signature|account not found": (
        "Create a new key, because the service account or this key was deleted or disabled: `gcloud iam "
        "service-accounts keys create KEY_FILE --iam-account=SERVICE_ACCOUNT`. Then set "
        "GOOGLE_APPLICATION_CREDENTIALS to its path."
    ),
    "SERVICE_DISABLED|has not been used in project": (
        "Enable the API for impersonating service accounts: `gcloud services enable iamcredentials.googleapis.com`."
    ),
    "PERMISSION_DENIED": (
        "Allow the identity to impersonate the service account: `gcloud iam service-accounts add-iam-policy-binding "
        "SERVICE_ACCOUNT --member=MEMBER --role=roles/iam.serviceAccountTokenCreator` "
        "(`roles/iam.workloadIdentityUser` for a workload of another cloud). With `impersonation_delegates`, each "
        "delegate needs the role on the next. A grant takes effect after some minutes."
    ),
    "NOT_FOUND": "Check `impersonate_service_account`: there is no such service account.",
    "metadata service": (
        "Attach a service account to this machine (on GKE through Workload Identity Federation), or set "
        "GOOGLE_APPLICATION_CREDENTIALS. Either none is attached, or this process may not use it."
    ),
}
"""What to do about an error of google-auth, by a pattern of its text. The first match counts."""


@dataclass(frozen=True)
class CallerIdentity:
    """The facts about who called a function.

    Attributes:
        description: Describes the identity, or an empty text if no ID token was needed.
        needs_token: Whether the URL needed an ID token. None if the HTTP session authenticated the call itself.
        sent_token: Whether an ID token was sent.
        email: The email in that ID token, or None if it contains none.
        audience: The audience of the ID token, or None if it is not known.
        function: What is known of the function's name.
    """

    description: str = ""
    needs_token: bool | None = None
    sent_token: bool = False
    email: str | None = None
    audience: str | None = None
    function: FunctionName = UNKNOWN_FUNCTION


def access_problem(status: int) -> str:
    """Return what a 401, 403 or 404 of the platform means."""
    return (
        f"The platform rejected the call before it reached the function: HTTP {status}. The likely cause: "
        f"{_ACCESS_CAUSES[status]}."
    )


def no_id_token_problem(status: int, caller: CallerIdentity) -> str:
    """Return what a 401 or 403 of the platform means for an identity that cannot create ID tokens."""
    return (
        f"The platform returned HTTP {status}: the function requires an ID token, and {caller.description} cannot "
        "create one."
    )


def redirect_problem(status: int, target: str) -> str:
    """Return what a redirect means. The target is empty if the response does not name it."""
    redirect = f"a redirect to {target}" if target else "a redirect without a target"
    return (
        f"Expected the function to respond, got HTTP {status}, {redirect}. Redirects are not followed, so that the ID "
        "token goes only to the URL you gave."
    )


REDIRECT_FIX: Final = "Pass the function's own https URL, which `gcloud functions describe` shows."


def access_fix(status: int, caller: CallerIdentity) -> str:
    """Return what to do about a call that got 401, 403 or 404, or an empty text if that is not known.

    Source: https://cloud.google.com/run/docs/troubleshooting (401, 403, and 404 by the ingress settings).
    """
    if status == _NOT_FOUND:
        return (
            f"Compare the URL with the output of `{describe_url_command(caller.function)}`. If it is the function's "
            "URL, deploy the function with `--ingress-settings=all`, or run Dagster in a network that its ingress "
            "setting allows."
        )
    if status not in _REFUSALS or caller.needs_token is None:
        return ""
    if not caller.sent_token:
        return (
            "Call the function at its https URL. No ID token was sent: ID tokens are sent only over https, and never "
            "to this machine."
        )
    if status == UNAUTHORIZED:
        return (
            f"Compare the audience of the ID token, {caller.audience}, with the function's own URL. Behind a domain or "
            "a load balancer they differ: set `audience` of the resource to the URL that "
            f"`{describe_url_command(caller.function)}` shows, or to a custom audience of the Cloud Run service."
        )
    email = caller.email or "EMAIL"
    return f"Allow {email} to call the function: `{grant_invoker_command(caller.function, email)}`."


def google_error_fix(text: str) -> str:
    """Return what to do about an error of google-auth that will not pass."""
    return next((fix for pattern, fix in _GOOGLE_ERROR_FIXES.items() if re.search(pattern, text)), CREDENTIALS_FIX)


def grant_invoker_command(name: FunctionName, email: str) -> str:
    """Return the command that allows a service account to call a function.

    Sources: https://cloud.google.com/sdk/gcloud/reference/functions/add-invoker-policy-binding, which finds the Cloud
    Run service of a function, and https://cloud.google.com/run/docs/securing/managing-access for the service itself.
    """
    member = f"--member=serviceAccount:{email}"
    if name.function and not name.service:
        return f"gcloud functions add-invoker-policy-binding {name.function} {_location(name)} {member}"
    service = name.service or "SERVICE"
    return f"gcloud run services add-iam-policy-binding {service} {_location(name)} {member} --role=roles/run.invoker"


def describe_url_command(name: FunctionName) -> str:
    """Return the command that shows the URL of a function, or of its Cloud Run service if only that is known."""
    if name.service and not name.function:
        return f"gcloud run services describe {name.service} {_location(name)} --format='value(status.url)'"
    function = name.function or "FUNCTION"
    return f"gcloud functions describe {function} {_location(name)} --format='value(serviceConfig.uri)'"


def enable_api_command(api: str, project: str | None) -> str:
    """Return the command that enables an API in a project."""
    return f"gcloud services enable {api} --project={project}"


def update_function_command(name: FunctionName, *flags: str) -> str:
    """Return the command that changes settings of a function.

    It builds the function again from its source, which is FOLDER: without `--source`, gcloud would take the current
    directory. `gcloud run services update` would build nothing, but the next deployment of the function would undo it.
    Source: https://cloud.google.com/sdk/gcloud/reference/functions/deploy (`--source`).
    """
    quoted = " ".join(map(shlex.quote, flags))
    return f"gcloud functions deploy {name.function} {_location(name)} --source=FOLDER {quoted}"


def update_variable_command(name: FunctionName, variable: str, value: str) -> str:
    """Return the command that sets an environment variable of a function, and keeps the others.

    A value with commas needs another separator. Source: https://cloud.google.com/sdk/gcloud/reference/topic/escaping.
    """
    separator = "^;^" if "," in value else ""
    return update_function_command(name, f"--update-env-vars={separator}{variable}={value}")


def _location(name: FunctionName) -> str:
    region = f"--region={name.region or 'REGION'}"
    return f"{region} --project={name.project}" if name.project else region
