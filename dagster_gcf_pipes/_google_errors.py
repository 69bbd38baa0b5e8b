"""Translates the errors of Google's libraries into ours, without tokens, and retries the transient ones."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import requests
from gcf_pipes import PipesStorageError
from gcf_pipes._shared.storage import TRANSIENT_STATUSES, auth_error_status

from dagster_gcf_pipes._connection_errors import error_chain
from dagster_gcf_pipes._errors import (
    PipesCloudFunctionBucketError,
    PipesCloudFunctionError,
    PipesCloudFunctionIdentityError,
)
from dagster_gcf_pipes._fixes import CREDENTIALS_FIX, google_error_fix


@contextmanager
def only_our_errors() -> Iterator[None]:
    """Translate errors of the block, or of the decorated function.

    Raises:
        PipesCloudFunctionError: Cloud Storage or google-auth failed.
    """
    try:
        yield
    except Exception as error:
        detach_requests(error)
        if translated := _translate(error):
            raise translated from error
        raise


def _translate(error: Exception) -> PipesCloudFunctionError | None:
    from google.auth.exceptions import GoogleAuthError

    if isinstance(error, PipesStorageError):
        return PipesCloudFunctionBucketError(str(error), allow_retries=error.transient)
    if isinstance(error, GoogleAuthError):
        text = _error_text(error).rstrip(".")
        return PipesCloudFunctionIdentityError(
            f"Expected valid Google credentials, got: {text}.\nFix: {CREDENTIALS_FIX}"
        )
    return None


def detach_requests(error: BaseException) -> None:
    """Remove requests and responses from an error and all errors chained to it.

    google-auth also puts whole answers, including tokens, into the arguments of its errors. Only texts stay there.
    """
    for each in list(error_chain(error)):
        for name, value in vars(each).items():
            if isinstance(value, requests.PreparedRequest | requests.Response):
                setattr(each, name, None)
        if type(each).__module__.startswith("google.auth."):
            each.args = tuple(argument for argument in each.args if isinstance(argument, str | Exception))


@contextmanager
def translated_errors(
    identity: str, *, wanted: str = "an ID token", unless: type[Exception] | tuple[type[Exception], ...] = ()
) -> Iterator[None]:
    """Raise errors of google-auth as ours.

    Args:
        identity: Describes the identity, for the error.
        wanted: What was asked for, for the error.
        unless: Errors to raise unchanged.

    Raises:
        PipesCloudFunctionIdentityError: google-auth failed, or `requests`, whose errors google-auth lets through.
    """
    from google.api_core.exceptions import RetryError
    from google.auth.exceptions import GoogleAuthError

    try:
        yield
    except unless:
        raise
    except RetryError as error:
        text = f"Google kept failing until the timeout. Last error: {_error_text(error.cause).strip()}"
        raise _identity_error(identity, wanted, text, allow_retries=True) from error.cause
    except (GoogleAuthError, requests.RequestException) as error:
        text = f"Google's answer: {_error_text(error).strip().rstrip('.')}.\nFix: {google_error_fix(str(error))}"
        raise _identity_error(identity, wanted, text, allow_retries=False) from error


def with_retries(function: Callable[..., Any], *, timeout: float) -> Callable[..., Any]:
    """Return a function that calls another and retries it after transient errors. Asking for a token is idempotent.

    google-auth itself retries errors of the token endpoint and the metadata server, but neither lost connections nor
    errors of the IAM Credentials API.
    """
    from google.api_core.retry import Retry

    retry = Retry(predicate=is_transient, initial=0.25, maximum=4.0, multiplier=2.0, timeout=timeout)
    retrying: Callable[..., Any] = retry(function)
    return retrying


def is_transient(error: BaseException) -> bool:
    """Whether the same request to Google may succeed later."""
    from google.auth.exceptions import GoogleAuthError, TransportError

    if (status := auth_error_status(error)) is not None:
        return status in TRANSIENT_STATUSES
    if isinstance(error, TransportError | requests.RequestException):
        return True
    return isinstance(error, GoogleAuthError) and bool(error.retryable)


def _identity_error(identity: str, wanted: str, text: str, *, allow_retries: bool) -> PipesCloudFunctionIdentityError:
    return PipesCloudFunctionIdentityError(f"Could not get {wanted} as {identity}. {text}", allow_retries=allow_retries)


def _error_text(error: object) -> str:
    """Return the texts in an error. Its other arguments are responses, and dicts that may hold a token."""
    if isinstance(error, BaseException):
        return " ".join(filter(None, map(_error_text, error.args))) or type(error).__name__
    return error if isinstance(error, str) else ""
