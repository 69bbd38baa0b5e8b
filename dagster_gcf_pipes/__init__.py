"""Google Cloud Functions as a Dagster Pipes backend.

For example::

    from dagster import Definitions, EnvVar, asset
    from dagster_gcf_pipes import PipesCloudFunctionClient

    @asset
    def orders(context, cloud_function: PipesCloudFunctionClient):
        return cloud_function.run(
            context=context, function_url="https://...", event={"table_uri": "gs://lake/orders"}
        ).get_materialize_result()

The function's side is the package `gcf_pipes`. Importing this package imports no Google library, and Dagster only when
a name is used: the command `dagster-gcf-pipes` starts without it, in a quarter of the time.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from dagster_gcf_pipes._client import PipesCloudFunctionClient
    from dagster_gcf_pipes._costs import PipesCloudFunctionPrices
    from dagster_gcf_pipes._errors import (
        PipesCloudFunctionAccessError,
        PipesCloudFunctionBucketError,
        PipesCloudFunctionCallError,
        PipesCloudFunctionCallsError,
        PipesCloudFunctionError,
        PipesCloudFunctionIdentityError,
        PipesCloudFunctionLookupError,
        PipesCloudFunctionMessagesError,
        PipesCloudFunctionNotClosedError,
        PipesCloudFunctionNotOpenedError,
        PipesCloudFunctionPartitionsError,
        PipesCloudFunctionRaisedError,
        PipesCloudFunctionRefusedError,
        PipesCloudFunctionRequestError,
    )
    from dagster_gcf_pipes._many_results import PipesCloudFunctionCompletedCalls
    from dagster_gcf_pipes._messages.injector import PipesCloudFunctionEventContextInjector
    from dagster_gcf_pipes._messages.logging_reader import PipesCloudLoggingMessageReader
    from dagster_gcf_pipes._messages.reader import PipesCloudStorageMessageReader
    from dagster_gcf_pipes._results import PipesCloudFunctionCompletedInvocation, PipesCloudFunctionCompletedPartitions
    from dagster_gcf_pipes.components import (
        PipesCloudFunctionClientComponent,
        PipesCloudFunctionComponent,
        PipesCloudFunctionSpec,
    )

__all__ = [
    "PipesCloudFunctionAccessError",
    "PipesCloudFunctionBucketError",
    "PipesCloudFunctionCallError",
    "PipesCloudFunctionCallsError",
    "PipesCloudFunctionClient",
    "PipesCloudFunctionClientComponent",
    "PipesCloudFunctionCompletedCalls",
    "PipesCloudFunctionCompletedInvocation",
    "PipesCloudFunctionCompletedPartitions",
    "PipesCloudFunctionComponent",
    "PipesCloudFunctionError",
    "PipesCloudFunctionEventContextInjector",
    "PipesCloudFunctionIdentityError",
    "PipesCloudFunctionLookupError",
    "PipesCloudFunctionMessagesError",
    "PipesCloudFunctionNotClosedError",
    "PipesCloudFunctionNotOpenedError",
    "PipesCloudFunctionPartitionsError",
    "PipesCloudFunctionPrices",
    "PipesCloudFunctionRaisedError",
    "PipesCloudFunctionRefusedError",
    "PipesCloudFunctionRequestError",
    "PipesCloudFunctionSpec",
    "PipesCloudLoggingMessageReader",
    "PipesCloudStorageMessageReader",
]

_MODULES: Final = {
    "PipesCloudFunctionClient": "_client",
    "PipesCloudFunctionClientComponent": "components",
    "PipesCloudFunctionCompletedCalls": "_many_results",
    "PipesCloudFunctionCompletedInvocation": "_results",
    "PipesCloudFunctionCompletedPartitions": "_results",
    "PipesCloudFunctionComponent": "components",
    "PipesCloudFunctionEventContextInjector": "_messages.injector",
    "PipesCloudFunctionPrices": "_costs",
    "PipesCloudFunctionSpec": "components",
    "PipesCloudLoggingMessageReader": "_messages.logging_reader",
    "PipesCloudStorageMessageReader": "_messages.reader",
}
"""The modules of the public names, except those of the errors."""


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value = getattr(import_module(f"{__name__}.{_MODULES.get(name, '_errors')}"), name)
    return value


def __dir__() -> list[str]:
    return [*globals(), *__all__]
