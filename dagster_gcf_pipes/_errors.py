"""The errors of the Dagster side, one tree.

    dagster.Failure
    └── PipesCloudFunctionError
        ├── PipesCloudFunctionRequestError      the call cannot be made: an argument of `run` is not what it should be
        ├── PipesCloudFunctionBucketError       the bucket cannot be used before or after the call
        ├── PipesCloudFunctionLookupError       the function could not be looked up, or is not active
        ├── PipesCloudFunctionCallError         the HTTP call was lost, or ended with a status that is not 2xx
        │   ├── PipesCloudFunctionAccessError   401, 403, 404: this identity does not reach the function
        │   │   └── PipesCloudFunctionIdentityError     no ID token could be had for it
        │   └── PipesCloudFunctionRefusedError  the runtime in the function refused the call before the user's code ran
        ├── PipesCloudFunctionNotOpenedError    2xx, but the function opened no Pipes session
        ├── PipesCloudFunctionNotClosedError    2xx, but the function did not close its Pipes session
        ├── PipesCloudFunctionMessagesError     messages were lost, or could not be read or handled
        └── PipesCloudFunctionRaisedError    the function's own code raised

Each is a `dagster.Failure`: its description is shown in the UI, with the metadata of the run.
"""

from dagster import Failure


class PipesCloudFunctionError(Failure):
    """Base of all errors with which `PipesCloudFunctionClient.run` fails a step."""


class PipesCloudFunctionRequestError(PipesCloudFunctionError):
    """The call cannot be made as asked: an argument of `run` is not what it should be, such as an event not of JSON."""


class PipesCloudFunctionBucketError(PipesCloudFunctionError):
    """The bucket cannot be used: it does not exist, a permission on it is missing, or Cloud Storage failed."""


class PipesCloudFunctionLookupError(PipesCloudFunctionError):
    """The function that was given by its name could not be looked up, or cannot be called in its present state."""


class PipesCloudFunctionCallError(PipesCloudFunctionError):
    """The HTTP call was lost, or ended with a status that is not 2xx."""


class PipesCloudFunctionAccessError(PipesCloudFunctionCallError):
    """The platform let this call not reach the function: 401, 403 or 404."""


class PipesCloudFunctionIdentityError(PipesCloudFunctionAccessError):
    """No ID token could be had: there are no credentials, they have none, or Google refused to give one."""


class PipesCloudFunctionRefusedError(PipesCloudFunctionCallError):
    """The runtime in the function refused the call before the user's code ran; the text is the function's."""


class PipesCloudFunctionNotOpenedError(PipesCloudFunctionError):
    """The function answered 2xx but never opened its Pipes session."""


class PipesCloudFunctionNotClosedError(PipesCloudFunctionError):
    """The function answered 2xx but never closed its Pipes session."""


class PipesCloudFunctionMessagesError(PipesCloudFunctionError):
    """Messages of the function were lost, or could not be read or handled."""


class PipesCloudFunctionRaisedError(PipesCloudFunctionError):
    """The function's own code raised; the metadata hold its traceback."""
