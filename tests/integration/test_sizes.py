"""The sizes of calls: a hostile call is refused with little memory, and a large honest one is served."""

import base64
import json
import uuid
import zlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest
import requests
from dagster_pipes import PipesContextData, decode_param, encode_param
from gcf_pipes._shared.json_validation import has_more_marks, parse_json
from gcf_pipes._shared.protocol import (
    MAX_CONTEXT_BYTES,
    MAX_CONTEXT_MARKS,
    MAX_INLINE_CONTEXT_BYTES,
    MAX_MESSAGES_PARAMS_BYTES,
)
from google.cloud import storage
from hypothesis import given
from hypothesis import strategies as st

from dagster_gcf_pipes import (
    PipesCloudFunctionClient,
    PipesCloudFunctionEventContextInjector,
)
from dagster_gcf_pipes.local import Emulator, FunctionServer, run_function
from tests.conftest import FUNCTIONS
from tests.dagster_runs import calling_asset, failure_text, run, step_error
from tests.json_strategies import json_values_of
from tests.memory import memory_of_workers
from tests.quotes import Quote
from tests.sessions import bootstrap, call

MIB = 1024 * 1024
WORST = b"[[[[[]]]]],"
"""The JSON that takes the most memory for its size."""
AT_ONCE = 4
JSON = {"Content-Type": "application/json"}


def packed(data: bytes) -> str:
    return base64.b64encode(zlib.compress(data)).decode("ascii")


def array(size: int) -> bytes:
    return b"[" + WORST * (size // len(WORST)) + b"0]"


def context_of(extras: bytes) -> bytes:
    return b'{"data":{"run_id":"r","retry_number":0,"extras":{"a":' + extras + b"}}}"


EMOJI = '"\U0001f600'.encode() + b"x" * (MAX_INLINE_CONTEXT_BYTES - 1000) + b'"'
HOSTILE: dict[str, tuple[dict[str, str], str]] = {
    "a context of 32 MiB in 82 kB, for another bucket": (
        {**bootstrap("another-bucket", "x"), "DAGSTER_PIPES_CONTEXT": packed(context_of(array(32 * MIB)))},
        "'bucket' in the messages params to be a bucket that this function accepts",
    ),
    "a context of 32 MiB in 82 kB": (
        {"DAGSTER_PIPES_CONTEXT": packed(context_of(array(32 * MIB)))},
        "it is larger than 2,097,152 bytes",
    ),
    "a context of as many bytes as are parsed": (
        {"DAGSTER_PIPES_CONTEXT": packed(context_of(array(MAX_INLINE_CONTEXT_BYTES - 1000)))},
        "it has more than 250,000 opening brackets, commas, colons and strings",
    ),
    "messages params of 32 MiB": (
        {"DAGSTER_PIPES_MESSAGES": packed(b'{"a":' + array(32 * MIB) + b"}")},
        "it is larger than 8,192 bytes",
    ),
    "an event of 31 MiB": ({"event": "HOSTILE"}, "it has more than 1,000,000 opening brackets, commas, colons and"),
    "an event of strings": ({"event": "STRINGS"}, "it has more than 1,000,000 opening brackets, commas, colons and"),
    "the largest text": ({"DAGSTER_PIPES_CONTEXT": packed(context_of(EMOJI))}, ""),
    "the most structure": ({"DAGSTER_PIPES_CONTEXT": packed(context_of(array(MAX_CONTEXT_MARKS)))}, ""),
}


def body_of(keys: dict[str, str], bucket: str) -> bytes:
    event = {"mode": "ok", **bootstrap(bucket, uuid.uuid4().hex), **keys}
    body = json.dumps(event).encode()
    return body.replace(b'"HOSTILE"', array(31 * MIB)).replace(b'"STRINGS"', b"[" + b'"",' * (10 * MIB) + b"0]")


@pytest.fixture(scope="module")
def guarded_bucket(emulator: Emulator) -> str:
    name = f"bucket-{uuid.uuid4().hex}"
    storage.Client(project="local").create_bucket(name)
    return name


@pytest.fixture
def fresh_function(emulator: Emulator, guarded_bucket: str) -> Iterator[FunctionServer]:
    env = {"GCF_PIPES_BUCKETS": guarded_bucket}
    with run_function(FUNCTIONS / "behaviors" / "main.py", emulator_url=emulator.url, env=env) as function:
        call(function.url, guarded_bucket, {"mode": "ok"}).raise_for_status()
        yield function


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_calls_at_once_take_little_memory(
    fresh_function: FunctionServer, guarded_bucket: str, case: str
) -> None:
    """The default function of the Terraform module has 512 MiB; one of 82 kB took 1.5 GiB, and four took 5.3 GiB."""
    keys, text = HOSTILE[case]
    pid = fresh_function.child.process.pid
    before = memory_of_workers("VmHWM", pid)
    bodies = [body_of(keys, guarded_bucket) for _ in range(AT_ONCE)]
    post = partial(requests.post, fresh_function.url, headers=JSON, timeout=60)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        responses = list(pool.map(lambda body: post(data=body), bodies))
    for response in responses:
        assert (response.status_code, text in response.text) == (400 if text else 200, True)
    assert memory_of_workers("VmHWM", pid) - before < AT_ONCE * 45 * MIB + 2 * sum(map(len, bodies))


# ------------------------------------------------------------------------------------------------------ what has marks


def marks(value: Any) -> int:
    if isinstance(value, list):
        return 1 + max(0, len(value) - 1) + sum(map(marks, value))
    if isinstance(value, dict):
        return 1 + max(0, len(value) - 1) + 2 * len(value) + sum(map(marks, value.values()))
    return int(isinstance(value, str))


@given(value=json_values_of(st.text(st.sampled_from('a"\\,:[{]}\n\u20ac\U0001f600'))), ascii_alone=st.booleans())
def test_marks_are_those_outside_of_strings(value: Any, ascii_alone: bool) -> None:
    data = json.dumps(value, ensure_ascii=ascii_alone).encode()
    count = marks(value)
    assert parse_json(data, max_marks=count) == value
    assert not has_more_marks(data, count)
    if count:
        assert has_more_marks(data, count - 1)


@given(st.binary())
def test_any_bytes_are_parsed_or_refused(data: bytes) -> None:
    try:
        parse_json(data, max_marks=10)
    except ValueError:
        return


# ------------------------------------------------------------------------------------------ what Dagster's side sends


def context(**extras: Any) -> PipesContextData:
    data: PipesContextData = decode_param(bootstrap("lake", "x", extras=extras)["DAGSTER_PIPES_CONTEXT"])["data"]
    return data


@pytest.mark.parametrize(
    "extras",
    [{"rows": [0] * MAX_CONTEXT_MARKS}, {"text": "x" * MAX_CONTEXT_BYTES}, {"nested": [[]] * MAX_CONTEXT_MARKS}],
    ids=lambda extras: next(iter(extras)),
)
def test_a_context_that_no_function_takes_is_refused_before_the_call(
    emulator: Emulator, bucket: str, client: PipesCloudFunctionClient, extras: dict[str, Any]
) -> None:
    result, _ = run(calling_asset("http://127.0.0.1:9/", {}, extras=extras), client)
    error = step_error(result)
    assert "The function accepts 33,554,432 bytes with 250,000 opening brackets, commas, colons and strings" in error
    assert "Put large input into a bucket, and pass its URI in `event` or `extras`" in error
    assert "PipesCloudFunctionRequestError" in error


def test_the_error_of_a_context_that_no_function_takes_is_quoted(
    client: PipesCloudFunctionClient, quote: Quote
) -> None:
    extras = {"rows": [0] * MAX_CONTEXT_MARKS}
    result, _ = run(calling_asset("http://127.0.0.1:9/", {}, extras=extras), client)
    quote("context_too_large", failure_text(result))


@pytest.mark.parametrize(
    ("text", "travels"),
    [("x" * 1000, "inline"), ("," * 1_500_000, "inline"), ("x" * 2 * MIB, "bucket"), ('["' * 8 * MIB, "bucket")],
    ids=["small", "commas", "more than 2 MiB", "24 MiB of brackets and quotes"],
)
def test_a_text_of_any_content_travels_inline_or_through_the_bucket(
    function: FunctionServer, client: PipesCloudFunctionClient, bucket: str, text: str, travels: str
) -> None:
    sizes: list[int] = []
    client = PipesCloudFunctionClient(bucket=bucket, cleanup="never")
    asset = calling_asset(
        function.url,
        {"mode": "echo"},
        extras={"text": text},
        on_invocation=lambda invocation: sizes.append(invocation.response.json()["extras_size"]),
    )
    assert run(asset, client)[0].success
    assert sizes == [len(str({"text": text}))]
    names = [blob.name for blob in storage.Client(project="local").list_blobs(bucket)]
    assert any(name.endswith("context.json") for name in names) == (travels == "bucket")


@pytest.mark.parametrize("size", [-1, 0, 1])
def test_the_injector_and_the_loader_agree_on_the_limit(
    emulator: Emulator, function: FunctionServer, bucket: str, size: int
) -> None:
    """At the bound of what travels inline."""
    bare = len(json.dumps({"data": context(text="")}))
    data = context(text="x" * (MAX_INLINE_CONTEXT_BYTES - bare + size))
    injector = PipesCloudFunctionEventContextInjector(bucket=bucket)
    with injector.inject_context(data) as params:
        assert ("data" in params) == (size <= 0)
        event = {"mode": "echo", "DAGSTER_PIPES_CONTEXT": encode_param(params)}
        assert call(function.url, bucket, event).status_code == 200


def test_the_longest_messages_params_fit(emulator: Emulator, function: FunctionServer, bucket: str) -> None:
    prefix = "é" * 500
    keys = bootstrap(bucket, prefix, include_stdio=True)
    assert len(json.dumps(decode_param(keys["DAGSTER_PIPES_MESSAGES"]))) < MAX_MESSAGES_PARAMS_BYTES
    assert requests.post(function.url, json={"mode": "ok", **keys}, timeout=30).status_code == 200
