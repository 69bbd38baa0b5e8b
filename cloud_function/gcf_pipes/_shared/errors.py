"""The errors of the function side, one tree.

    DagsterPipesError                         (dagster_pipes)
    └── GcfPipesError
        ├── PipesRequestError                 400 bad_request: the request is not a valid call from Dagster
        ├── PipesDuplicateCallError           409 duplicate_call: another delivery of this call has claimed the session
        ├── PipesCancelledError               raised by the next Pipes call after Dagster has terminated the run
        ├── PipesDeadlineExceededError        raised by the next Pipes call shortly before the function's timeout
        └── PipesStorageError                 503 storage_unavailable: Cloud Storage cannot be reached or fails
            ├── PipesBucketNotFoundError      400 bucket_not_found
            ├── PipesStorageForbiddenError    500 storage_forbidden: the function's identity lacks a permission
            ├── PipesCredentialsError         500 storage_credentials: there are no credentials, or Google refuses them
            ├── PipesStorageRejectedError     500 storage_rejected: Cloud Storage rejects the request
            ├── PipesObjectExistsError        500 object_exists: an object that is created once exists already
            ├── PipesObjectTooLargeError      400 object_too_large: an object is larger than its limit
            └── PipesMessagesNotStoredError   500 messages_not_stored: messages of this session are missing

The runtime may refuse a call before the user's code runs. The response then has the error's HTTP status, its code
in the `Dagster-Pipes-Error` header, and both code and text in a JSON body.
"""

from typing import ClassVar

from dagster_pipes import DagsterPipesError


class GcfPipesError(DagsterPipesError):
    """Base of all errors that the function side raises.

    Attributes:
        status: The HTTP status of the runtime's response.
        code: A stable, machine-readable name of the error.
    """

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal"


class PipesRequestError(GcfPipesError):
    """The request is not a valid call from Dagster: not JSON, no Pipes keys, or a param of the wrong type."""

    status = 400
    code = "bad_request"


class PipesDuplicateCallError(GcfPipesError):
    """Another delivery of the same call has claimed the session and runs, or has run, the user's code."""

    status = 409
    code = "duplicate_call"


class PipesCancelledError(GcfPipesError):
    """Dagster has terminated the run. Clean up and let this error end the function."""

    code = "cancelled"


class PipesDeadlineExceededError(GcfPipesError):
    """The function is close to its timeout. Clean up and let this error end the function, before the platform does."""

    code = "deadline_exceeded"


class PipesStorageError(GcfPipesError):
    """Cloud Storage could not be reached, or returned an error that has no subclass here.

    Attributes:
        transient: Whether the same operation may succeed later. True in this class, False in its subclasses.
    """

    status = 503
    code = "storage_unavailable"
    transient: ClassVar[bool] = True


class PipesBucketNotFoundError(PipesStorageError):
    """The bucket does not exist."""

    status = 400
    code = "bucket_not_found"
    transient = False


class PipesStorageForbiddenError(PipesStorageError):
    """The identity in use lacks a permission on the bucket or the object."""

    status = 500
    code = "storage_forbidden"
    transient = False


class PipesCredentialsError(PipesStorageError):
    """No credentials for Cloud Storage were found, or Google refuses them."""

    status = 500
    code = "storage_credentials"
    transient = False


class PipesStorageRejectedError(PipesStorageError):
    """Cloud Storage rejects the request, or another server responds in its place. A retry cannot help."""

    status = 500
    code = "storage_rejected"
    transient = False


class PipesObjectExistsError(PipesStorageError):
    """An object that may be created only once exists already, with different or unknown content."""

    status = 500
    code = "object_exists"
    transient = False


class PipesObjectTooLargeError(PipesStorageError):
    """An object is larger than its limit."""

    status = 400
    code = "object_too_large"
    transient = False


class PipesMessagesNotStoredError(PipesStorageError):
    """Messages of this session could not be stored. The text says how many, and why."""

    status = 500
    code = "messages_not_stored"
    transient = False
