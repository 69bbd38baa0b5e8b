"""Every fault at every place where it can strike: nothing lost, doubled, wrongly green, or left behind.

Three proxies stand between the parts: the function and its bucket, Dagster and its bucket, Dagster and the function.
The function writes `opened`, four lines and `closed`, each as a chunk of its own.
"""

import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from typing import Literal

import pytest
import requests
from dagster import DagsterInstance, materialize
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

from dagster_gcf_pipes import PipesCloudFunctionClient
from local_stack.emulators import available_emulators, run_emulator
from local_stack.functions import run_function
from tests.conftest import FUNCTIONS
from tests.faults import (
    CALL,
    DELETE,
    EVERY,
    INSTANCE_DIED,
    NO_INSTANCE_429,
    NO_INSTANCE_500,
    NOT_INVOKER,
    PLATFORM_TIMEOUT,
    READ,
    STORAGE_RATE_LIMITED,
    STORAGE_UNAVAILABLE,
    UNAUTHENTICATED,
    UPLOAD,
    Action,
    Away,
    Delay,
    Duplicate,
    Fault,
    FaultProxy,
    Match,
    ResetAfter,
    ResetBefore,
    Stall,
    StatusAfter,
    Truncate,
    storage_error,
    storage_forbidden,
)
from tests.helpers import bootstrap, calling_asset, logged, step_error

LINES = [f"line {number}" for number in range(4)]
FIRST_CHUNK, MIDDLE_CHUNK, LAST_CHUNK = 1, 3, 6
PLACES = {"opened": FIRST_CHUNK, "first line": 2, "a middle line": MIDDLE_CHUNK, "closed": LAST_CHUNK}
RUN_BOUND = 60.0
"""Seconds within which every run must have ended."""

Link = Literal["writer", "reader", "call"]


@dataclass(frozen=True)
class Case:
    """A fault, where it strikes, and what must come of it.

    Attributes:
        link: The proxy in which the fault strikes.
        fault: The fault.
        error: A text that the step's error must have, or None if the run must succeed.
        lines: How many of the function's lines must be shown.
        executions: How often the user's code must have run.
        kept: How many objects are left when a run has succeeded.
    """

    link: Link
    fault: Fault
    error: str | None = None
    lines: int = len(LINES)
    executions: int = 1
    kept: int = 0


TRANSIENT_STORAGE: dict[str, Action] = {
    "503": STORAGE_UNAVAILABLE,
    "429": STORAGE_RATE_LIMITED,
    "500": storage_error(500, "internalError", "Internal error."),
    "reset before": ResetBefore(),
    "reset after": ResetAfter(),
    "503 although processed": StatusAfter(503),
    "a stall": Stall(0.3),
    "a delay": Delay(0.3),
    "a bucket that is away": Away(0.6),
}

CALL_NOT_PROCESSED: dict[str, Action] = {
    "429, no instance": NO_INSTANCE_429,
    "500, no instance": NO_INSTANCE_500,
    "503, the instance died": INSTANCE_DIED,
    "504": PLATFORM_TIMEOUT,
    "reset before": ResetBefore(),
    "a stall": Stall(0.3),
    "a delay": Delay(0.3),
    "a function that is away": Away(0.3),
}

CALL_PROCESSED: dict[str, Action] = {
    "502 although processed": StatusAfter(502),
    "503 although processed": StatusAfter(503),
    "504 although processed": StatusAfter(504),
    "reset after": ResetAfter(),
    "a stall although processed": Stall(0.3, processed=True),
    "a truncated response": Truncate(5),
    "delivered twice": Duplicate(),
    "delivered twice, the second answer": Duplicate(answer="second"),
    "delivered twice at once": Duplicate(concurrently=True),
    "delivered twice at once, the second answer": Duplicate(concurrently=True, answer="second"),
}


def chunk(match: Match, number: int) -> Match:
    return match.of(rf"/{number}\.json$")


def cases() -> dict[str, Case]:
    """Return every fault at every place where it can strike."""
    found: dict[str, Case] = {}
    for place, number in PLACES.items():
        for name, action in TRANSIENT_STORAGE.items():
            found[f"upload of {place}: {name}"] = Case("writer", Fault(chunk(UPLOAD, number), action))
            found[f"read of {place}: {name}"] = Case("reader", Fault(chunk(READ, number), action))
        found[f"upload of {place}: a truncated answer"] = Case("writer", Fault(chunk(UPLOAD, number), Truncate(5)))
        found[f"read of {place}: truncated"] = Case("reader", Fault(chunk(READ, number).answered(200), Truncate(5)))
        lines = max(number - 2, 0)  # those in the chunks before
        found[f"upload of {place}: 403"] = Case(
            "writer",
            Fault(chunk(UPLOAD, number), storage_forbidden(), EVERY),
            error="storage_forbidden" if number == FIRST_CHUNK else "could not be stored",
            lines=lines,
            executions=0 if number == FIRST_CHUNK else 1,
        )
        found[f"read of {place}: 403"] = Case(
            "reader",
            Fault(chunk(READ, number), storage_forbidden("storage.objects.get"), EVERY),
            "permission denied",
            lines,
        )
    for name, action in (CALL_NOT_PROCESSED | CALL_PROCESSED).items():
        found[f"call: {name}"] = Case("call", Fault(CALL, action))
    for name, action in {"401": UNAUTHENTICATED, "403": NOT_INVOKER}.items():
        found[f"call: {name}"] = Case("call", Fault(CALL, action), "did not reach the function", lines=0, executions=0)
    found["call: 429 in every attempt"] = Case(
        "call", Fault(CALL, NO_INSTANCE_429, EVERY, minimum=3), "HTTP 429", lines=0, executions=0
    )
    for name, action in {
        "503": STORAGE_UNAVAILABLE,
        "reset before": ResetBefore(),
        "reset after": ResetAfter(),
    }.items():
        found[f"cleanup: {name}"] = Case("reader", Fault(chunk(DELETE, MIDDLE_CHUNK), action))
    forbidden = storage_forbidden("storage.objects.delete")
    found["cleanup: 403"] = Case("reader", Fault(DELETE, forbidden, EVERY), kept=LAST_CHUNK)
    return found


CASES = cases()


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


class ProxiedClient(PipesCloudFunctionClient):
    """Reaches its bucket through a proxy."""

    api_endpoint: str

    def get_storage_client(self) -> storage.Client:
        return storage_client(self.api_endpoint)


def storage_client(url: str) -> storage.Client:
    credentials = AnonymousCredentials()  # type: ignore[no-untyped-call]  # google-auth leaves it untyped
    return storage.Client("local", credentials, client_options={"api_endpoint": url})


@pytest.fixture(scope="module")
def parts() -> Iterator[Parts]:
    with ExitStack() as stack:
        emulator = stack.enter_context(run_emulator(available_emulators()[0]))
        enforce = not emulator.honours_preconditions
        writer = stack.enter_context(FaultProxy(emulator.url, enforce_preconditions=enforce))
        reader = stack.enter_context(FaultProxy(emulator.url))
        source = FUNCTIONS / "chunky" / "main.py"
        function = stack.enter_context(run_function(source, emulator_url=writer.url))
        call = stack.enter_context(FaultProxy(function.url))
        admin = stack.enter_context(closing(storage_client(emulator.url)))
        admin.create_bucket("bucket-of-faults")
        links: dict[Link, FaultProxy] = {"writer": writer, "reader": reader, "call": call}
        yield Parts(function.url, links, "bucket-of-faults", admin)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_a_fault_leaves_nothing_lost_doubled_wrongly_green_or_behind(parts: Parts, case: Case) -> None:
    key = uuid.uuid4().hex
    client = ProxiedClient(
        bucket=parts.bucket,
        key_prefix=key,
        api_endpoint=parts.links["reader"].url,
        function_timeout=20,
        drain_timeout=1,
        max_attempts=3,
        retry_delay=0.4,
    )
    orders = calling_asset(parts.links["call"].url, {"lines": len(LINES), "key": key})
    started = time.monotonic()
    with DagsterInstance.ephemeral() as instance, parts.links[case.link].planned(case.fault):
        result = materialize([orders], resources={"cloud_function": client}, instance=instance, raise_on_error=False)
        lines = logged(instance, result.run_id)
    assert time.monotonic() - started < RUN_BOUND
    assert [line for line in lines if line.startswith("line ")] == LINES[: case.lines]
    assert result.success == (case.error is None), result.all_events
    if case.error:
        assert case.error in step_error(result)
    else:
        assert len(list(parts.admin.list_blobs(parts.bucket, prefix=key))) == case.kept
    assert executions(parts, key) == case.executions
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("pipes ")] == []


def executions(parts: Parts, key: str) -> int:
    """Ask the function how often its code has run."""
    body = {"lines": 0, "key": key, **bootstrap(parts.bucket, f"asked/{key}")}
    answer: int = requests.post(parts.function_url, json=body, timeout=30).json()["executions"]
    return answer


def test_the_matrix_has_at_least_sixty_cases() -> None:
    assert len(CASES) >= 60
