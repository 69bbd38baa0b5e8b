"""Many calls from one run, in each way that a user has. Runs in a worker process."""

import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

import requests
from dagster import (
    AssetExecutionContext,
    DagsterInstance,
    DynamicOut,
    DynamicOutput,
    JobDefinition,
    MaterializeResult,
    OpExecutionContext,
    asset,
    execute_job,
    job,
    materialize,
    multiprocess_executor,
    op,
    reconstructable,
)
from dagster_pipes import DAGSTER_PIPES_CONTEXT_ENV_VAR, DAGSTER_PIPES_MESSAGES_ENV_VAR, encode_param

from benchmarks._stack import bucket_of
from benchmarks._stock import stock_asset
from dagster_gcf_pipes import PipesCloudFunctionClient
from tests.memory import memory

BUCKET: Final = bucket_of("ours")
STEPS_AT_ONCE: Final = 2


@dataclass(frozen=True)
class FanOutRun:
    """What was measured of a run of many calls.

    Attributes:
        succeeded: How many calls succeeded.
        seconds: How long all calls took, without the run around them.
        peak_memory: The peak memory of the process, in bytes.
        peak_threads: How many threads it had at most.
    """

    succeeded: int
    seconds: float
    peak_memory: int
    peak_threads: int = 0


def call_plainly(url: str, count: int, seconds: float) -> float:
    """Make so many plain POSTs at once, and return how long they took: what the server and `requests` need."""
    context = encode_param({"data": {"run_id": "plain", "retry_number": 0, "extras": {}}})

    def post(number: int) -> None:
        params = encode_param({"bucket": BUCKET, "key_prefix": f"dagster-pipes/plain/{number}"})
        bootstrap = {DAGSTER_PIPES_CONTEXT_ENV_VAR: context, DAGSTER_PIPES_MESSAGES_ENV_VAR: params}
        event = {"key": f"k{number}", "seconds": seconds}
        requests.post(url, json={**event, **bootstrap}, timeout=600).raise_for_status()

    started = time.monotonic()
    with ThreadPoolExecutor(count) as threads:
        list(threads.map(post, range(count)))
    return time.monotonic() - started


def call_many(url: str, count: int, seconds: float, max_concurrency: int | None = None) -> FanOutRun:
    """Make the calls with `run_many`, all at once unless `max_concurrency` says how many."""
    most = max_concurrency or count

    def calls(context: AssetExecutionContext, client: PipesCloudFunctionClient) -> int:
        events = {f"k{number}": {"key": f"k{number}", "seconds": seconds} for number in range(count)}
        made = client.run_many(context=context, function_url=url, events=events, max_concurrency=most)
        return len([call.response.json() for call in made.succeeded.values()])

    return _measure(calls)


def call_in_a_loop(url: str, count: int, seconds: float) -> FanOutRun:
    """Make the calls with `run`, one after another."""

    def calls(context: AssetExecutionContext, client: PipesCloudFunctionClient) -> int:
        for number in range(count):
            client.run(context=context, function_url=url, event={"key": f"k{number}", "seconds": seconds})
        return count

    return _measure(calls)


def call_stock(url: str, count: int, seconds: float) -> FanOutRun:
    """Make the calls with Dagster's own parts, an asset for each, in one process."""
    from dagster_gcp.pipes import PipesGCSMessageReader
    from google.cloud.storage import Client

    assets = [stock_asset(url, {"key": f"k{number}", "seconds": seconds}, name=f"k{number}") for number in range(count)]
    started = time.monotonic()
    with DagsterInstance.ephemeral() as instance:
        reader = PipesGCSMessageReader(bucket=BUCKET, client=Client())
        result = materialize(assets, instance=instance, resources={"message_reader": reader}, raise_on_error=False)
    ended = len(result.get_asset_materialization_events())
    return FanOutRun(ended, time.monotonic() - started, memory("VmHWM"))


def call_with_dynamic_steps(url: str, count: int, seconds: float) -> FanOutRun:
    """Make the calls with a dynamic step for each, in processes of their own."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as home, DagsterInstance.local_temp(home) as instance:
        config: dict[str, Any] = {"ops": {"list_pieces": {"config": {"url": url, "count": count, "seconds": seconds}}}}
        with execute_job(reconstructable(dynamic_job), instance, run_config=config) as result:
            ended = [each for each in result.all_events if each.is_step_success and "call_piece" in str(each.step_key)]
    return FanOutRun(len(ended), time.monotonic() - started, 0)


@op(out=DynamicOut(), config_schema={"url": str, "count": int, "seconds": float})
def list_pieces(context: OpExecutionContext) -> Iterator[DynamicOutput[Any]]:
    """Yield what each call gets."""
    for number in range(context.op_config["count"]):
        event = {"key": f"k{number}", "seconds": context.op_config["seconds"]}
        yield DynamicOutput((context.op_config["url"], event), mapping_key=str(number))


@op
def call_piece(context: OpExecutionContext, piece: tuple[str, dict[str, Any]]) -> None:
    """Make one call."""
    client = PipesCloudFunctionClient(bucket=BUCKET)
    client.run(context=context, function_url=piece[0], event=piece[1])


def dynamic_job() -> JobDefinition:
    """Return the job with a step for each call."""

    @job(executor_def=multiprocess_executor.configured({"max_concurrent": STEPS_AT_ONCE}))
    def call_each() -> None:
        list_pieces().map(call_piece)

    return call_each


def _measure(calls: Callable[[AssetExecutionContext, PipesCloudFunctionClient], int]) -> FanOutRun:
    measured: list[FanOutRun] = []

    @asset
    def pages(context: AssetExecutionContext, cloud_function: PipesCloudFunctionClient) -> MaterializeResult[None]:
        peak, done = 0, threading.Event()

        def watch() -> None:
            nonlocal peak
            while not done.wait(0.1):
                peak = max(peak, threading.active_count())

        threading.Thread(target=watch, daemon=True).start()
        started = time.monotonic()
        succeeded = calls(context, cloud_function)
        seconds = time.monotonic() - started
        done.set()
        measured.append(FanOutRun(succeeded, seconds, memory("VmHWM"), peak))
        return MaterializeResult()

    with DagsterInstance.ephemeral() as instance:
        materialize([pages], instance=instance, resources={"cloud_function": PipesCloudFunctionClient(bucket=BUCKET)})
    return measured[0]
