"""Dagster Pipes inside a Google Cloud Function.

For example::

    from gcf_pipes import pipes_function

    @pipes_function
    def main(request, pipes):
        pipes.log.info("hello")
        pipes.report_asset_materialization(metadata={"rows": 3})
        return {"rows": 3}

Importing this package imports neither Dagster nor a Google library nor Flask.
"""

from gcf_pipes._current_request import pipes_cancelled, pipes_traceparent
from gcf_pipes._entrypoint import pipes_function
from gcf_pipes._loaders import PipesCloudFunctionContextLoader, PipesCloudFunctionParamsLoader
from gcf_pipes._logging_channel import PipesCloudLoggingMessageWriter
from gcf_pipes._partitions import report_partition_materialization
from gcf_pipes._shared.errors import (
    GcfPipesError,
    PipesBucketNotFoundError,
    PipesCancelledError,
    PipesCredentialsError,
    PipesDeadlineExceededError,
    PipesDuplicateCallError,
    PipesMessagesNotStoredError,
    PipesObjectExistsError,
    PipesObjectTooLargeError,
    PipesRequestError,
    PipesStorageError,
    PipesStorageForbiddenError,
    PipesStorageRejectedError,
)
from gcf_pipes._writer import PipesCloudStorageMessageWriter, PipesCloudStorageMessageWriterChannel

__all__ = [
    "GcfPipesError",
    "PipesBucketNotFoundError",
    "PipesCancelledError",
    "PipesCloudFunctionContextLoader",
    "PipesCloudFunctionParamsLoader",
    "PipesCloudLoggingMessageWriter",
    "PipesCloudStorageMessageWriter",
    "PipesCloudStorageMessageWriterChannel",
    "PipesCredentialsError",
    "PipesDeadlineExceededError",
    "PipesDuplicateCallError",
    "PipesMessagesNotStoredError",
    "PipesObjectExistsError",
    "PipesObjectTooLargeError",
    "PipesRequestError",
    "PipesStorageError",
    "PipesStorageForbiddenError",
    "PipesStorageRejectedError",
    "pipes_cancelled",
    "pipes_function",
    "pipes_traceparent",
    "report_partition_materialization",
]

for _name in __all__:
    if _name.endswith("Error"):
        globals()[_name].__module__ = __name__  # tracebacks name where to import an error from
del _name
