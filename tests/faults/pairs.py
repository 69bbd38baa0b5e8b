"""The two pairs of parts that meet the faults: ours, and the one that comes with Dagster."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import requests
from dagster import (
    AssetExecutionContext,
    AssetsDefinition,
    MaterializeResult,
    PipesClientCompletedInvocation,
    PipesEnvContextInjector,
    asset,
    open_pipes_session,
)
from dagster_gcp.pipes import PipesGCSMessageReader
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

from dagster_gcf_pipes import PipesCloudFunctionClient
from local_stack.emulators import Emulator
from local_stack.functions import run_function
from tests.dagster_runs import calling_asset
from tests.faults.matrix import Link
from tests.faults.proxy import FaultProxy

FUNCTIONS: Final = Path(__file__).parents[1] / "functions"
STOCK_INTERVAL: Final = 0
"""The stock reader looks once a second whether more than so many whole seconds have passed; its default is 10."""


@dataclass(frozen=True)
class Parts:
    """The running parts, and the proxies between them.

    Attributes:
        function_url: The function, without a proxy.
        links: The proxies.
        bucket: The name of the bucket.
        admin: A client of the emulator, without a proxy.
    """

    function_url: str
    links: dict[Link, FaultProxy]
    bucket: str
    admin: storage.Client


class Pair(ABC):
    """Dagster's side and the function's side.

    Attributes:
        function: The folder of the function.
    """

    function: str

    @abstractmethod
    def calling_asset(self, parts: Parts, event: dict[str, Any]) -> AssetsDefinition:
        """Return the asset `orders`, which lets the function write `lines`, remember them by `key`, return `status`."""

    def resources(self, parts: Parts, key: str) -> dict[str, Any]:
        """Return what the asset needs."""
        return {}

    @contextmanager
    def running(self, emulator: Emulator, bucket: str) -> Iterator[Parts]:
        """Run a fresh function, with proxies, while the block runs."""
        with ExitStack() as stack:
            enforce = not emulator.honours_preconditions
            writer = stack.enter_context(FaultProxy(emulator.url, enforce_preconditions=enforce))
            reader = stack.enter_context(FaultProxy(emulator.url))
            source = FUNCTIONS / self.function / "main.py"
            function = stack.enter_context(run_function(source, emulator_url=writer.url))
            call = stack.enter_context(FaultProxy(function.url))
            admin = stack.enter_context(closing(storage_client(emulator.url)))
            yield Parts(function.url, {"writer": writer, "reader": reader, "call": call}, bucket, admin)


class OurPair(Pair):
    """`PipesCloudFunctionClient` and `pipes_function`."""

    function = "chunky"

    def calling_asset(self, parts: Parts, event: dict[str, Any]) -> AssetsDefinition:
        definition: AssetsDefinition = calling_asset(parts.links["call"].url, event)
        return definition

    def resources(self, parts: Parts, key: str) -> dict[str, Any]:
        client = ProxiedClient(
            bucket=parts.bucket,
            key_prefix=key,
            api_endpoint=parts.links["reader"].url,
            function_timeout=20,
            drain_timeout=1,
            max_attempts=3,
            retry_delay=0.4,
        )
        return {"cloud_function": client}


class StockPair(Pair):
    """`PipesGCSMessageReader` and `PipesGCSMessageWriter`, put together as their documentation does it.

    Sources: https://docs.dagster.io/concepts/dagster-pipes/dagster-pipes-details-and-customization and
    https://xebia.com/blog/how-to-use-dagster-to-orchestrate-google-cloud-functions/.
    """

    function = "chunky_stock"

    def calling_asset(self, parts: Parts, event: dict[str, Any]) -> AssetsDefinition:
        client = storage_client(parts.links["reader"].url)

        @asset
        def orders(context: AssetExecutionContext) -> MaterializeResult:
            with open_pipes_session(
                context=context,
                context_injector=PipesEnvContextInjector(),
                message_reader=PipesGCSMessageReader(bucket=parts.bucket, client=client, interval=STOCK_INTERVAL),
            ) as session:
                response = requests.post(parts.links["call"].url, json={**event, **session.get_bootstrap_env_vars()})
                response.raise_for_status()
            return PipesClientCompletedInvocation(session).get_materialize_result()

        return orders


class ProxiedClient(PipesCloudFunctionClient):
    """Reaches its bucket through a proxy."""

    api_endpoint: str

    def get_storage_client(self) -> storage.Client:
        return storage_client(self.api_endpoint)


def storage_client(url: str) -> storage.Client:
    """Return a client of the emulator, or of a proxy before it."""
    credentials = AnonymousCredentials()
    return storage.Client("local", credentials, client_options={"api_endpoint": url})


OURS: Final = OurPair()
STOCK: Final = StockPair()
