"""The errors of the Dagster side, one tree.

    dagster.Failure
    └── PipesCloudFunctionError
        ├── PipesCloudFunctionRequestError      the call cannot be made: an argument of `run` is wrong
        ├── PipesCloudFunctionBucketError       the bucket cannot be used before or after the call
        ├── PipesCloudFunctionLookupError       the function could not be looked up, or is not active
        ├── PipesCloudFunctionCallError         the call got no response, or a status that is not 2xx
        │   ├── PipesCloudFunctionAccessError   401, 403, 404: this identity does not reach the function
        │   │   └── PipesCloudFunctionIdentityError     there is no ID token for it
        │   └── PipesCloudFunctionRefusedError  the function's runtime refused the call before the user's code ran
        ├── PipesCloudFunctionNotOpenedError    2xx, but the function opened no Pipes session
        ├── PipesCloudFunctionNotClosedError    2xx, but the function did not close its Pipes session
        ├── PipesCloudFunctionMessagesError     messages are missing, or could not be read or handled
        ├── PipesCloudFunctionRaisedError       the function's own code raised
        ├── PipesCloudFunctionCallsError        `run_many`: too many calls failed
        └── PipesCloudFunctionPartitionsError   some partitions of the step are not materialized, and others are

Each is a `dagster.Failure`: the UI shows its description and its metadata.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Final, TypeAlias

from dagster import Failure, MetadataValue

Metadata: TypeAlias = Mapping[str, MetadataValue[Any]]

METADATA_PREFIX: Final = "cloud_function/"
"""Starts each metadata key of ours, so that none replaces a key that the function reported."""


class PipesCloudFunctionError(Failure):
    """Base of all errors with which `PipesCloudFunctionClient.run` fails a step.

    Args:
        description: What happened, and after a line break what to do.
        metadata: Shown with the description.
        allow_retries: Whether the step's retry policy applies. Default: `retryable` of the class.

    Attributes:
        retryable: Whether a retry of the step may help, unless an error of the class says otherwise.
        function_url: The function's URL without user, password and query; None if the call was not made.
        http_status: The HTTP status of the last attempt, or None if it got no response.
        messages_uri: The `gs://` URI below which the messages of the call are; None if the call was not made.
    """

    retryable: ClassVar[bool] = True
    function_url: str | None = None
    http_status: int | None = None
    messages_uri: str | None = None

    def __init__(
        self, description: str | None = None, metadata: Metadata | None = None, allow_retries: bool | None = None
    ) -> None:
        super().__init__(description, metadata, self.retryable if allow_retries is None else allow_retries)


class PipesCloudFunctionRequestError(PipesCloudFunctionError):
    """The call cannot be made: an argument of `run` is wrong, such as an event that is not JSON."""

    retryable = False


class PipesCloudFunctionBucketError(PipesCloudFunctionError):
    """The bucket cannot be used: it does not exist, a permission on it is missing, or Cloud Storage failed."""


class PipesCloudFunctionLookupError(PipesCloudFunctionError):
    """The function could not be looked up by its name, or cannot be called in its present state."""


class PipesCloudFunctionCallError(PipesCloudFunctionError):
    """The HTTP call got no response, or a status that is not 2xx."""


class PipesCloudFunctionAccessError(PipesCloudFunctionCallError):
    """The platform rejected the call before it reached the function (401, 403 or 404)."""

    retryable = False


class PipesCloudFunctionIdentityError(PipesCloudFunctionAccessError):
    """No ID token: no credentials were found, they cannot create ID tokens, or Google refused."""


class PipesCloudFunctionRefusedError(PipesCloudFunctionCallError):
    """The function's runtime refused the call before the user's code ran. The text is the function's."""

    retryable = False


class PipesCloudFunctionNotOpenedError(PipesCloudFunctionError):
    """The function returned 2xx but never opened its Pipes session."""

    retryable = False


class PipesCloudFunctionNotClosedError(PipesCloudFunctionError):
    """The function returned 2xx but never closed its Pipes session."""


class PipesCloudFunctionMessagesError(PipesCloudFunctionError):
    """Messages of the function are missing, or could not be read or handled."""


class PipesCloudFunctionRaisedError(PipesCloudFunctionError):
    """The function's own code raised. The metadata has its traceback."""


class PipesCloudFunctionCallsError(PipesCloudFunctionError):
    """More calls of `run_many` failed than it tolerates.

    Attributes:
        errors: The errors of the failed calls, by key.
    """

    errors: Mapping[str, PipesCloudFunctionError] = MappingProxyType({})


class PipesCloudFunctionPartitionsError(PipesCloudFunctionError):
    """Some partitions of the step are not materialized. The others are.

    The calls of some partitions of `run_partitions` failed. Or the function of `run` reported its partitions one by
    one, and succeeded without some of them.

    Attributes:
        errors: The errors of the failed calls of `run_partitions`, by partition key.
    """

    errors: Mapping[str, PipesCloudFunctionError] = MappingProxyType({})


for _error in [*globals().values()]:
    if isinstance(_error, type) and issubclass(_error, PipesCloudFunctionError):
        _error.__module__ = __package__  # tracebacks name where to import an error from
del _error
