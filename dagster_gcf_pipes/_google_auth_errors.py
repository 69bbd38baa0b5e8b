"""The one place that translates the errors of google-auth: which of them pass, and what mends the others."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import requests
from gcf_pipes._storage import TRANSIENT_STATUSES, auth_error_status

from dagster_gcf_pipes._errors import PipesCloudFunctionIdentityError

WAYS_TO_AN_IDENTITY: Final = (
    "Either set `impersonate_service_account` of the resource to a service account that may call the function; the "
    "identity that Dagster has already needs the role to do so: `gcloud iam service-accounts add-iam-policy-binding "
    "SERVICE_ACCOUNT --member=user:YOUR_EMAIL --role=roles/iam.serviceAccountTokenCreator`, or for a workload of "
    "another cloud `--member=principal://... --role=roles/iam.workloadIdentityUser`. Or give Dagster a service "
    "account's own credentials: `gcloud auth application-default login --impersonate-service-account=SERVICE_ACCOUNT`, "
    "GOOGLE_APPLICATION_CREDENTIALS with the path of its key file, or one that is attached to the machine."
)
"""Source: https://cloud.google.com/docs/authentication/use-service-account-impersonation."""

_FIXES: Final = {
    "in a reasonable timeframe": "The clock of this machine is wrong by more than Google tolerates: set it.",
    "expired or revoked|invalid_rapt|Reauthentication": "Log in again: `gcloud auth application-default login`.",
    "Invalid JWT Signature|account not found": (
        "The service account, or this key of it, was deleted or disabled: make a new key with `gcloud iam "
        "service-accounts keys create KEY_FILE --iam-account=SERVICE_ACCOUNT`, and set GOOGLE_APPLICATION_CREDENTIALS "
        "to its path."
    ),
    "SERVICE_DISABLED|has not been used in project": (
        "Enable the API through which service accounts are impersonated: "
        "`gcloud services enable iamcredentials.googleapis.com`."
    ),
    "PERMISSION_DENIED": (
        "Let the identity impersonate: `gcloud iam service-accounts add-iam-policy-binding SERVICE_ACCOUNT "
        "--member=MEMBER --role=roles/iam.serviceAccountTokenCreator` (`roles/iam.workloadIdentityUser` for a workload "
        "of another cloud). With `impersonation_delegates` each delegate needs the role on the next. A grant takes "
        "some minutes to hold."
    ),
    "NOT_FOUND": "There is no such service account: check `impersonate_service_account`.",
    "metadata service": (
        "No service account is attached to this machine, or it may not be used from here: attach one, on GKE through "
        "Workload Identity Federation, or set GOOGLE_APPLICATION_CREDENTIALS."
    ),
}
"""What mends an error, by a pattern of its text; the first counts."""


@contextmanager
def translated_errors(identity: str, *, unless: type[Exception] | tuple[type[Exception], ...] = ()) -> Iterator[None]:
    """Raise errors of google-auth as ours.

    Args:
        identity: Who asked, in words that follow "as".
        unless: Errors that pass as they are.

    Raises:
        PipesCloudFunctionIdentityError: In place of an error of google-auth, and of `requests`, which it lets through.
    """
    from google.api_core.exceptions import RetryError
    from google.auth.exceptions import GoogleAuthError

    try:
        yield
    except unless:
        raise
    except RetryError as error:
        text = f"Google's answer, again and again: {_error_text(error.cause)}"
        raise _identity_error(identity, text, allow_retries=True) from error.cause
    except (GoogleAuthError, requests.RequestException) as error:
        text = f"Google's answer: {_error_text(error).strip().rstrip('.')}. {_fix(str(error))}"
        raise _identity_error(identity, text, allow_retries=False) from error


def with_retries(ask: Callable[..., Any], *, timeout: float) -> Callable[..., Any]:
    """Let a question to Google outlive a passing fault: asking for a token changes nothing, so it may be repeated.

    google-auth repeats by itself what the token endpoint and the metadata server answer, but neither a lost connection
    nor what the IAM Credentials API answers.
    """
    from google.api_core.retry import Retry

    retry = Retry(predicate=is_transient, initial=0.25, maximum=4.0, multiplier=2.0, timeout=timeout)
    repeated: Callable[..., Any] = retry(ask)
    return repeated


def is_transient(error: BaseException) -> bool:
    """Whether the same question may be answered later."""
    from google.auth.exceptions import GoogleAuthError, TransportError

    if (status := auth_error_status(error)) is not None:
        return status in TRANSIENT_STATUSES
    if isinstance(error, TransportError | requests.RequestException):
        return True
    return isinstance(error, GoogleAuthError) and bool(error.retryable)


def _identity_error(identity: str, text: str, *, allow_retries: bool) -> PipesCloudFunctionIdentityError:
    return PipesCloudFunctionIdentityError(
        f"No ID token could be had as {identity}. {text.strip()}", allow_retries=allow_retries
    )


def _error_text(error: object) -> str:
    """Return the texts in an error; beside them google-auth puts responses, and dicts that may hold a token."""
    if isinstance(error, BaseException):
        return " ".join(filter(None, map(_error_text, error.args))) or type(error).__name__
    return error if isinstance(error, str) else ""


def _fix(text: str) -> str:
    return next((fix for pattern, fix in _FIXES.items() if re.search(pattern, text)), WAYS_TO_AN_IDENTITY)
