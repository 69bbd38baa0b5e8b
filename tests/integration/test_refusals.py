"""A call that Dagster did not make, or made wrongly, gets a clear error, and no code runs."""

import base64
import json
import uuid
import zlib
from typing import Any

import pytest
import requests
from dagster_pipes import encode_param
from gcf_pipes._shared.protocol import MAX_INLINE_CONTEXT_BYTES
from google.cloud import storage

from dagster_gcf_pipes.local import Emulator, FunctionServer, run_function
from dagster_gcf_pipes.local._processes import ProcessError
from tests.conftest import FUNCTIONS
from tests.quotes import Quote
from tests.sessions import call


@pytest.mark.parametrize(
    ("body", "name"),
    [
        (b"", "body_not_json"),
        (b"table=orders", "body_not_json"),
        (b"[1, 2]", "body_not_an_object"),
        (b'{"mode": "ok"}', "body_without_pipes_keys"),
        (b'{"DAGSTER_PIPES_MESSAGES": 1}', "pipes_key_not_a_string"),
        (b'{"DAGSTER_PIPES_MESSAGES": "x"}', "pipes_key_not_decodable"),
    ],
)
def test_a_call_without_a_bootstrap_payload_gets_a_clear_400(
    function: FunctionServer, body: bytes, name: str, quote: Quote
) -> None:
    response = requests.post(function.url, data=body, timeout=30)
    assert response.status_code == 400
    assert response.headers["Dagster-Pipes-Error"] == "bad_request"
    error = response.json()["error"]
    assert error["code"] == "bad_request"
    quote(name, error["message"])
    function.child.wait_for_output(error["message"].partition("\n")[0])


def test_a_get_gets_a_clear_400(function: FunctionServer, quote: Quote) -> None:
    response = requests.get(function.url, timeout=30)
    assert response.status_code == 400
    quote("not_a_post", response.json()["error"]["message"])


@pytest.mark.parametrize(
    ("key", "params", "name"),
    [
        ("DAGSTER_PIPES_MESSAGES", {"bucket": 1}, "bucket_param_not_a_string"),
        ("DAGSTER_PIPES_MESSAGES", {}, "bucket_param_missing"),
        ("DAGSTER_PIPES_MESSAGES", {"bucket": "b", "key_prefix": []}, "key_prefix_param_not_a_string"),
        ("DAGSTER_PIPES_MESSAGES", [], "params_not_an_object"),
        ("DAGSTER_PIPES_CONTEXT", {"data": 1}, "context_not_an_object"),
        ("DAGSTER_PIPES_CONTEXT", {"data": {"run_id": "r"}}, "context_without_a_field"),
        ("DAGSTER_PIPES_CONTEXT", {"path": "/etc/passwd"}, "context_params_without_a_bucket"),
    ],
)
def test_a_parameter_of_the_wrong_type_is_named(
    function: FunctionServer, bucket: str, key: str, params: Any, name: str, quote: Quote
) -> None:
    response = call(function.url, bucket, {"mode": "ok", key: encode_param(params)})
    assert response.status_code == 400
    quote(name, response.json()["error"]["message"])


@pytest.mark.every_emulator
def test_a_context_object_that_is_missing_is_named(function: FunctionServer, bucket: str, quote: Quote) -> None:
    context = encode_param({"bucket": bucket, "key": "gone/context.json"})
    response = call(function.url, bucket, {"mode": "ok", "DAGSTER_PIPES_CONTEXT": context})
    assert response.status_code == 400
    quote("context_object_missing", response.json()["error"]["message"])


def test_a_second_delivery_of_a_call_runs_nothing_and_gets_409(
    emulator: Emulator, function: FunctionServer, bucket: str, quote: Quote
) -> None:
    if not emulator.honours_preconditions:
        pytest.skip(f"{emulator.name} ignores `if_generation_match`, on which the claim rests")
    key = uuid.uuid4().hex
    event = {"mode": "counted", "key": key}
    first, second = (call(function.url, bucket, event, prefix=key) for _ in range(2))
    assert (first.status_code, first.json()) == (200, {"executions": 1})
    assert (second.status_code, second.headers["Dagster-Pipes-Error"]) == (409, "duplicate_call")
    quote("duplicate_call", second.json()["error"]["message"])
    assert call(function.url, bucket, event).json() == {"executions": 2}


@pytest.mark.every_emulator
def test_chunks_are_numbered_from_1_and_hold_one_message_a_line(
    function: FunctionServer, bucket: str, storage_client: storage.Client
) -> None:
    response = call(function.url, bucket, {"mode": "ok"}, prefix="some/prefix")
    names = sorted(blob.name for blob in storage_client.list_blobs(bucket))
    assert names == ["some/prefix/1.json", "some/prefix/2.json"]
    assert response.headers["Dagster-Pipes-Chunk-Count"] == "2"
    chunks = [storage_client.bucket(bucket).blob(name).download_as_bytes() for name in names]
    methods = [json.loads(line)["method"] for chunk in chunks for line in chunk.splitlines()]
    assert methods == ["opened", "log", "closed"]


@pytest.mark.every_emulator
def test_a_prefix_in_the_root_of_the_bucket_works(
    function: FunctionServer, bucket: str, storage_client: storage.Client
) -> None:
    call(function.url, bucket, {"mode": "ok"}, prefix="").raise_for_status()
    assert sorted(blob.name for blob in storage_client.list_blobs(bucket)) == ["1.json", "2.json"]


def test_a_function_accepts_only_its_buckets_and_prefix(
    emulator: Emulator, bucket: str, storage_client: storage.Client
) -> None:
    env = {"GCF_PIPES_BUCKETS": bucket, "GCF_PIPES_KEY_PREFIX": "dagster-pipes"}
    with run_function(FUNCTIONS / "behaviors" / "main.py", emulator_url=emulator.url, env=env) as function:
        for name, prefix in (("another", "dagster-pipes/x"), (bucket, "other/x"), (bucket, "dagster-pipes/../x")):
            response = call(function.url, name, {"mode": "ok"}, prefix=prefix)
            assert response.status_code == 400
            assert response.json()["error"]["code"] == "bad_request"
        assert list(storage_client.list_blobs(bucket)) == []
        assert call(function.url, bucket, {"mode": "ok"}, prefix="dagster-pipes/x").json() == {"ok": True}


@pytest.mark.parametrize(("variable", "value"), [("GCF_PIPES_BUCKETS", ","), ("GCF_PIPES_KEY_PREFIX", "/")])
def test_a_function_with_an_empty_configuration_does_not_start(emulator: Emulator, variable: str, value: str) -> None:
    main = FUNCTIONS / "behaviors" / "main.py"
    with (
        pytest.raises(ProcessError, match=f"Expected {variable} to be "),
        run_function(main, emulator_url=emulator.url, env={variable: value}),
    ):
        pass


def test_a_function_that_is_not_configured_says_so_in_its_log(function: FunctionServer) -> None:
    function.child.wait_for_output("GCF_PIPES_BUCKETS is not set: calls may name any bucket")


def test_a_context_that_is_too_large_when_decompressed_is_refused(
    function: FunctionServer, bucket: str, quote: Quote
) -> None:
    bomb = base64.b64encode(zlib.compress(b" " * (MAX_INLINE_CONTEXT_BYTES + 1))).decode("ascii")
    response = call(function.url, bucket, {"mode": "ok", "DAGSTER_PIPES_CONTEXT": bomb})
    assert response.status_code == 400
    quote("context_too_large_when_decompressed", response.json()["error"]["message"])
