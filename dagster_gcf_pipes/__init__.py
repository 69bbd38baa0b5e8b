"""Google Cloud Functions as a Dagster Pipes backend.

    from dagster import Definitions, EnvVar, asset
    from dagster_gcf_pipes import PipesCloudFunctionClient

    @asset
    def orders(context, cloud_function: PipesCloudFunctionClient):
        return cloud_function.run(
            context=context, function_url="https://...", event={"table_uri": "gs://lake/orders"}
        ).get_materialize_result()

The function's side is the package `gcf_pipes`. Importing this package imports no Google library.
"""

from dagster_gcf_pipes._client import PipesCloudFunctionClient
from dagster_gcf_pipes._errors import (
    PipesCloudFunctionAccessError,
    PipesCloudFunctionBucketError,
    PipesCloudFunctionCallError,
    PipesCloudFunctionError,
    PipesCloudFunctionIdentityError,
    PipesCloudFunctionLookupError,
    PipesCloudFunctionMessagesError,
    PipesCloudFunctionNotClosedError,
    PipesCloudFunctionNotOpenedError,
    PipesCloudFunctionRaisedError,
    PipesCloudFunctionRefusedError,
    PipesCloudFunctionRequestError,
)
from dagster_gcf_pipes._messages.injector import PipesCloudFunctionEventContextInjector
from dagster_gcf_pipes._messages.reader import PipesCloudStorageMessageReader
from dagster_gcf_pipes._results import PipesCloudFunctionCompletedInvocation

__all__ = [
    "PipesCloudFunctionAccessError",
    "PipesCloudFunctionBucketError",
    "PipesCloudFunctionCallError",
    "PipesCloudFunctionClient",
    "PipesCloudFunctionCompletedInvocation",
    "PipesCloudFunctionError",
    "PipesCloudFunctionEventContextInjector",
    "PipesCloudFunctionIdentityError",
    "PipesCloudFunctionLookupError",
    "PipesCloudFunctionMessagesError",
    "PipesCloudFunctionNotClosedError",
    "PipesCloudFunctionNotOpenedError",
    "PipesCloudFunctionRaisedError",
    "PipesCloudFunctionRefusedError",
    "PipesCloudFunctionRequestError",
    "PipesCloudStorageMessageReader",
]

for _name in __all__:
    if _name.endswith("Error"):
        globals()[_name].__module__ = __name__  # tracebacks name where to import an error from
del _name
