"""The errors of the function side, one tree.

    DagsterPipesError                         (dagster_pipes)
    └── GcfPipesError
        ├── PipesRequestError                 400 bad_request: the call is not one that Dagster makes
        ├── PipesDuplicateCallError           409 duplicate_call: another delivery of this call has claimed the session
        ├── PipesCancelledError               raised by the next Pipes call after Dagster has terminated the run
        ├── PipesDeadlineExceededError        raised by the next Pipes call shortly before the function's timeout
        └── PipesStorageError                 503 storage_unavailable: Cloud Storage cannot be reached, or fails
            ├── PipesBucketNotFoundError      400 bucket_not_found
            ├── PipesStorageForbiddenError    500 storage_forbidden: the function's identity lacks a permission
            ├── PipesCredentialsError         500 storage_credentials: there are no credentials, or Google refuses them
            ├── PipesStorageRejectedError     500 storage_rejected: a request is rejected for another reason
            ├── PipesObjectExistsError        500 object_exists: what is created once exists already
            ├── PipesObjectTooLargeError      400 object_too_large: an object is larger than what is read of it
            └── PipesMessagesNotStoredError   500 messages_not_stored: messages of this session were not uploaded

When the runtime refuses a call before the user's code runs, it answers with the error's HTTP status, puts its
code into the `Dagster-Pipes-Error` header and both code and text into the JSON body.
"""

from typing import ClassVar

from dagster_pipes import DagsterPipesError


class GcfPipesError(DagsterPipesError):
    """Base of all errors that the function side raises.

    Attributes:
        status: The HTTP status with which the runtime answers.
        code: A stable, machine-readable name of the error.
    """

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal"


class PipesRequestError(GcfPipesError):
    """The request is not a call that Dagster makes: no JSON, no Pipes keys, or a parameter of the wrong type."""

    status = 400
    code = "bad_request"


class PipesDuplicateCallError(GcfPipesError):
    """The session was claimed by another delivery of the same call, which runs or has run the user's code."""

    status = 409
    code = "duplicate_call"


class PipesCancelledError(GcfPipesError):
    """Dagster has terminated the run: let it end the function, after undoing what must be undone."""

    code = "cancelled"


class PipesDeadlineExceededError(GcfPipesError):
    """The function's timeout has come close: let it end the function, before the platform does so without a word."""

    code = "deadline_exceeded"


class PipesStorageError(GcfPipesError):
    """Cloud Storage could not be reached, or answered with an error that is not one of the subclasses.

    Attributes:
        transient: Whether the same operation may succeed later. It may here, and cannot in the subclasses.
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
    """There are no credentials for Cloud Storage, or Google gives no access token for them."""

    status = 500
    code = "storage_credentials"
    transient = False


class PipesStorageRejectedError(PipesStorageError):
    """The request will not succeed later either: Cloud Storage rejects it, or it is not Cloud Storage that answers."""

    status = 500
    code = "storage_rejected"
    transient = False


class PipesObjectExistsError(PipesStorageError):
    """An object that may be created only once exists already, with other content or with content that is unknown."""

    status = 500
    code = "object_exists"
    transient = False


class PipesObjectTooLargeError(PipesStorageError):
    """An object is larger than what is read of it: it is not what it should be."""

    status = 400
    code = "object_too_large"
    transient = False


class PipesMessagesNotStoredError(PipesStorageError):
    """Messages of this session could not be uploaded in the end; the text says how many, and why."""

    status = 500
    code = "messages_not_stored"
    transient = False
