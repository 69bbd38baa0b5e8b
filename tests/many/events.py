"""What a call of the simulated function, or of the real one in `tests/functions/many`, does: its event chooses.

It is written once for both. It yields the seconds to wait, because a thousand waiting threads are too many.
"""

import time
from collections.abc import Generator
from typing import Any, Literal, TypedDict

from dagster_pipes import PipesContext


class Event(TypedDict, total=False):
    """The event of a call.

    Attributes:
        key: Names the call in log lines and in the figures. Default: the partition, or "call".
        seconds: How long the call runs. Default 0.
        lines: How many lines it logs, spread over its time. Default 0.
        line_times: When it logs each line, in seconds from its start, in place of `lines`.
        prints: How many lines it prints. Dagster sees them with `forward_logs`. Default 0.
        custom_message: A custom message to report.
        materialization: The metadata of each asset of the step. A partition's also has its key as `partition`.
        data_version: The data version of each asset. Default of a partition: `version of` its key.
        checks: The arguments of `report_asset_check`, for each check.
        ending: How it ends. `raises`: with an exception. `dies`: its instance is killed. `freezes`: its instance stops,
            and nothing responds. `hangs`: its code never returns, and heartbeats go on. Default `returns`.
        failures: How many executions of this key raise an exception, from the first one on. Default 0.
        failing_keys: The keys to which `failures` applies. Default: all.
        response: The JSON of the response. Default: the key.
        status: The status of the response. Default 200.
        platform: The statuses with which the platform answers the first deliveries of the call. They run nothing.
    """

    key: str
    seconds: float
    lines: int
    line_times: list[float]
    prints: int
    custom_message: Any
    materialization: dict[str, Any]
    data_version: str
    checks: list[dict[str, Any]]
    ending: Literal["returns", "raises", "dies", "freezes", "hangs"]
    failures: int
    failing_keys: list[str]
    response: Any
    status: int
    platform: list[int]


class InstanceDiedError(Exception):
    """The instance is killed now."""


class InstanceFrozenError(Exception):
    """The instance stops now: no heartbeat, no response."""


Steps = Generator[float, None, tuple[Any, int]]
"""Yields seconds to wait. Returns the response and its status."""

LINES_AT_ONCE = 1000


def key_of(event: Event, pipes: PipesContext) -> str:
    """Return the name of a call."""
    partition = pipes.partition_key_range["start"] if pipes.is_partition_step else "call"
    return event.get("key", partition)


def run(event: Event, pipes: PipesContext, execution: int) -> Steps:
    """Run a call.

    Args:
        event: The event.
        pipes: The Pipes context of the call.
        execution: How often the code has been started for this key, with this time.
    """
    key, seconds, started = key_of(event, pipes), event.get("seconds", 0.0), time.monotonic()
    count = event.get("lines", 0)
    times = event.get("line_times") or [seconds * number / count for number in range(count)]
    for number, moment in enumerate([*times, seconds]):
        pause = started + moment - time.monotonic()
        if pause > 0 or number % LINES_AT_ONCE == LINES_AT_ONCE - 1:
            yield max(pause, 0)
        if number < len(times):
            pipes.log.info(f"{key} line {number}")
    for number in range(event.get("prints", 0)):
        print(f"{key} print {number}")
    _report(event, pipes)
    yield from _end(event, key, execution)
    return event.get("response", {"key": key}), event.get("status", 200)


def _report(event: Event, pipes: PipesContext) -> None:
    if "custom_message" in event:
        pipes.report_custom_message(event["custom_message"])
    if "materialization" in event:
        partition = pipes.partition_key if pipes.is_partition_step else None
        for asset_key in pipes.asset_keys:
            pipes.report_asset_materialization(
                asset_key=asset_key,
                metadata={**event["materialization"], **({"partition": partition} if partition else {})},
                data_version=event.get("data_version", f"version of {partition}" if partition else None),
            )
    for check in event.get("checks", []):
        pipes.report_asset_check(**check)


def _end(event: Event, key: str, execution: int) -> Generator[float, None, None]:
    ending = event.get("ending", "returns")
    failures = event.get("failures", 0) if key in event.get("failing_keys", [key]) else 0
    if ending == "raises" or execution <= failures:
        raise ValueError(f"{key} failed")
    if ending == "dies":
        raise InstanceDiedError
    if ending == "freezes":
        raise InstanceFrozenError
    while ending == "hangs":
        yield 3600.0
