"""What a caller and a reader see of a call: the same of the simulated function as of the real one."""

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pytest
import requests
from dagster_pipes import encode_param

from tests.many.conftest import Stack, Stacks
from tests.many.events import Event
from tests.sessions import bootstrap
from tests.waiting import in_background, wait_until

HEADERS = ("content-type", "x-google-status", "dagster-pipes-")
"""The headers that a caller reads. The others come from the server."""
IDS = ("delivery_id", "execution_id", "cold_start")
"""What each delivery has of its own in `opened`."""
ASSET = {
    "asset_keys": ["orders"],
    "code_version_by_asset_key": {"orders": None},
    "provenance_by_asset_key": {"orders": None},
}
DAY = {
    "partition_key": "2024-01-01",
    "partition_key_range": {"start": "2024-01-01", "end": "2024-01-01"},
    "partition_time_window": {"start": "2024-01-01T00:00:00+00:00", "end": "2024-01-02T00:00:00+00:00"},
}


class Seen(NamedTuple):
    """What is seen of a call.

    Attributes:
        status: The status of the response.
        headers: Those of its headers that a caller reads.
        body: Its body.
        chunks: The messages of each chunk, without ids and times.
    """

    status: int
    headers: dict[str, str]
    body: str
    chunks: list[list[Any]]


@dataclass(frozen=True)
class Case:
    """A call.

    Attributes:
        event: The event.
        context: Fields of the Pipes context.
        headers: Headers of the request.
        include_stdio: Whether Dagster asks for the output.
        body: The body, in place of the event with its keys.
        method: The HTTP method.
    """

    event: Event = field(default_factory=Event)
    context: Mapping[str, Any] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    include_stdio: bool = False
    body: bytes | None = None
    method: str = "POST"


def see(stack: Stack, case: Case, prefix: str | None = None) -> Seen:
    """Make a call, in a new session unless a prefix is given."""
    prefix = prefix or uuid.uuid4().hex
    keys = bootstrap(stack.bucket, prefix, include_stdio=case.include_stdio, **case.context)
    body = json.dumps({**keys, **case.event}).encode() if case.body is None else case.body
    sent = {"Content-Type": "application/json", **case.headers}
    response = requests.request(case.method, stack.function_url, data=body, headers=sent, timeout=60)
    headers = {name.lower(): value for name, value in response.headers.items()}
    return Seen(
        response.status_code,
        {name: value for name, value in headers.items() if name.startswith(HEADERS)},
        response.text.replace(prefix, "PREFIX"),
        stored_chunks(stack, prefix),
    )


def stored_chunks(stack: Stack, prefix: str) -> list[list[Any]]:
    """Return the messages of each chunk of a session, without ids and times."""
    names = [blob.name for blob in stack.storage.list_blobs(stack.bucket, prefix=f"{prefix}/")]
    chunks = sorted((name for name in names if name.endswith(".json")), key=lambda name: int(name.split("/")[-1][:-5]))
    contents = [stack.storage.bucket(stack.bucket).blob(name).download_as_bytes() for name in chunks]
    return [[_comparable(json.loads(line)) for line in content.splitlines() if line] for content in contents]


def _comparable(message: dict[str, Any]) -> dict[str, Any]:
    params = message["params"] or {}
    if message["method"] == "opened":
        params["extras"] = {name: name if name in IDS else value for name, value in params["extras"].items()}
    if usage := params.get("usage"):
        params["usage"] = sorted(usage.keys() - {"shared"})
    if params.get("stream") == "stderr":
        params["text"] = params["text"].splitlines()[-1]  # of a traceback
    if exception := params.get("exception"):
        exception["stack"] = [line for line in exception["stack"] if "tests/many/events.py" in line]
    return message


CASES = {
    "an empty event": Case(),
    "lines": Case({"key": "a", "lines": 3}),
    "a line in the middle": Case({"seconds": 1.2, "line_times": [0, 0.6], "key": "a"}),
    "heartbeats": Case({"seconds": 1.3}),
    "a materialization": Case({"materialization": {"rows": 3, "ratio": 0.5, "name": "x"}, "data_version": "v1"}, ASSET),
    "a partition": Case({"lines": 1, "materialization": {"rows": 3}}, {**ASSET, **DAY}),
    "two assets": Case(
        {"materialization": {"rows": 3}},
        {
            "asset_keys": ["a", "b/c"],
            "code_version_by_asset_key": {"a": None, "b/c": "1"},
            "provenance_by_asset_key": {"a": None, "b/c": None},
        },
    ),
    "checks": Case({"checks": [{"check_name": "fresh", "passed": False, "severity": "WARN"}]}, ASSET),
    "an unknown asset": Case({"checks": [{"check_name": "fresh", "passed": True, "asset_key": "other"}]}, ASSET),
    "a materialization without assets": Case({"materialization": {}}),
    "a custom message": Case({"custom_message": {"rows": [1, None, "é"]}}),
    "a message that is too deep": Case({"custom_message": json.loads("[" * 150 + "]" * 150)}),
    "output": Case({"prints": 2, "key": "é"}, include_stdio=True),
    "output that nobody asked for": Case({"prints": 2}),
    "an exception": Case({"ending": "raises", "lines": 1}),
    "an exception with output": Case({"ending": "raises", "prints": 1}, include_stdio=True),
    "a status of its own": Case({"status": 404, "response": {"reason": "none"}}),
    "a server error of its own": Case({"status": 503}),
    "another response": Case({"response": ["a", {"b": None}], "status": 201}),
    "the headers of Dagster": Case(
        headers={
            "Dagster-Pipes-Protocol": "1 forward_logs",
            "Dagster-Pipes-Version": "0.1.0",
            "Dagster-Pipes-Timeout": "60",
            "Dagster-Pipes-Storage": "emulator",
            "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        }
    ),
    "another protocol": Case(headers={"Dagster-Pipes-Protocol": "2"}),
    "a missing capability": Case(headers={"Dagster-Pipes-Protocol": "1 no_such_thing"}),
    "a malformed protocol": Case(headers={"Dagster-Pipes-Protocol": "one"}),
    "a malformed timeout": Case(headers={"Dagster-Pipes-Timeout": "soon"}),
    "another storage": Case(headers={"Dagster-Pipes-Storage": "cloud"}),
    "another method": Case(method="PUT"),
    "no JSON": Case(body=b"nothing"),
    "a JSON array": Case(body=b"[]"),
    "no Pipes keys": Case(body=b'{"key": "a"}'),
    "a messages key that is no text": Case(body=b'{"DAGSTER_PIPES_MESSAGES": 3, "DAGSTER_PIPES_CONTEXT": ""}'),
    "a context of a wrong type": Case(context={"run_id": 3}),
    "a context without a field": Case(context={"extras": None, "job_name": "job"}),
    "a prefix that is not plain": Case(body=json.dumps(bootstrap("some-bucket", "some/../prefix")).encode()),
    "an invalid name of a bucket": Case(body=json.dumps(bootstrap("some/bucket", "prefix")).encode()),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_call_is_seen_as_that_of_the_real_function(stacks: Stacks, case: Case) -> None:
    real, simulated = (see(stack, case) for stack in stacks)
    assert simulated == real


def test_a_second_delivery_of_a_call_runs_nothing(stacks: Stacks) -> None:
    first, second = ([see(stack, Case({"lines": 1}), "some/session") for stack in stacks] for _ in range(2))
    assert first[0] == first[1]
    assert second[0] == second[1]
    assert second[1].status == 409
    assert second[1].chunks == first[1].chunks


def test_a_call_that_names_a_missing_bucket_is_refused(stacks: Stacks) -> None:
    case = Case(body=json.dumps(bootstrap("no-such-bucket", "some/prefix")).encode())
    real, simulated = (see(stack, case) for stack in stacks)
    assert simulated[:2] == real[:2]
    assert json.loads(simulated.body)["error"]["code"] == json.loads(real.body)["error"]["code"] == "bucket_not_found"


def test_a_session_that_dagster_has_claimed_is_not_started(stacks: Stacks) -> None:
    for stack in stacks:
        stack.storage.bucket(stack.bucket).blob("claimed/1.json").upload_from_string("\n")
    real, simulated = (see(stack, Case(), "claimed") for stack in stacks)
    assert real.status == 409
    assert simulated == real


@pytest.mark.parametrize("exists", [True, False])
def test_a_large_context_comes_through_the_bucket(stacks: Stacks, exists: bool) -> None:
    prefix = uuid.uuid4().hex
    context = {"run_id": "r", "retry_number": 0, "extras": {}, **ASSET, **DAY}

    def see_it(stack: Stack) -> Seen:
        blob = stack.storage.bucket(stack.bucket).blob(f"{prefix}/context.json")
        if exists:
            blob.upload_from_string(json.dumps(context))
        params = encode_param({"bucket": stack.bucket, "key": blob.name})
        keys = {**bootstrap(stack.bucket, f"{prefix}/session"), "DAGSTER_PIPES_CONTEXT": params}
        body = json.dumps({**keys, "materialization": {}}).encode()
        return see(stack, Case(body=body), f"{prefix}/session")

    real, simulated = map(see_it, stacks)
    assert real.status == (200 if exists else 400)
    assert simulated == real


def test_the_first_executions_of_a_key_fail(stacks: Stacks) -> None:
    case = Case({"key": uuid.uuid4().hex, "failures": 2})
    for stack in stacks:
        assert [see(stack, case).status for _ in range(3)] == [500, 500, 200]


@pytest.mark.parametrize("marker", ["shared/session/cancel", "shared/cancel"])
@pytest.mark.parametrize("ending", ["returns", "hangs"])
def test_a_cancelled_call_ends_with_an_error(stacks: Stacks, ending: Any, marker: str) -> None:
    event: Event = {"seconds": 60 if ending == "returns" else 0, "line_times": [0], "ending": ending}

    def see_it(stack: Stack) -> Seen:
        bucket = stack.storage.bucket(stack.bucket)
        messages = {"bucket": stack.bucket, "key_prefix": "shared/session", "shared_prefix": "shared"}
        keys = {**bootstrap(stack.bucket, ""), "DAGSTER_PIPES_MESSAGES": encode_param(messages)}
        case = Case(body=json.dumps({**keys, **event}).encode())
        call = in_background(lambda: see(stack, case, "shared/session"))
        wait_until(lambda: bucket.blob("shared/session/2.json").exists())
        bucket.blob(marker).upload_from_string("{}")
        return call.result(timeout=30)

    real, simulated = map(see_it, stacks)
    closed = simulated.chunks[-1][-1]
    assert closed["params"]["exception"]["name"] == "PipesCancelledError"
    assert simulated.status == real.status
    assert simulated.body == real.body
    assert closed == real.chunks[-1][-1]


def test_the_messages_of_a_dead_instance_stop(stacks: Stacks) -> None:
    """The real server closes the connection in place of the platform's 503."""
    case = Case({"seconds": 0.4, "line_times": [0], "ending": "dies"})
    with pytest.raises(requests.ConnectionError):
        see(stacks.real, case, "dead")
    simulated = see(stacks.simulated, case, "dead")
    assert simulated.status == 503
    assert simulated.chunks == stored_chunks(stacks.real, "dead")
    assert [[message["method"] for message in chunk] for chunk in simulated.chunks] == [["opened"], ["log"]]
