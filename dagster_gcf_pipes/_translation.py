"""Lets no error but ours, and no token, escape from a run."""

from collections.abc import Iterator
from contextlib import contextmanager

from gcf_pipes import PipesStorageError

from dagster_gcf_pipes._detachment import detach_requests
from dagster_gcf_pipes._errors import (
    PipesCloudFunctionBucketError,
    PipesCloudFunctionError,
    PipesCloudFunctionIdentityError,
)
from dagster_gcf_pipes._google_auth_errors import WAYS_TO_AN_IDENTITY


@contextmanager
def only_our_errors() -> Iterator[None]:
    """Translate what a step of a run raises, in the block or in the function that this decorates.

    Raises:
        PipesCloudFunctionError: In place of an error of Cloud Storage, or of google-auth.
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
        text = " ".join(map(str, error.args)).rstrip(".")
        return PipesCloudFunctionIdentityError(
            f"Expected Google credentials that work, got: {text}. {WAYS_TO_AN_IDENTITY}", allow_retries=False
        )
    return None
