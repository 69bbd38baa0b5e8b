"""Objects of the bucket are not trusted: an error names the line, and earlier messages are kept."""

import json
from collections.abc import Mapping
from typing import Any

import pytest
from dagster import (
    AssetExecutionContext,
    DagsterInstance,
    MaterializeResult,
    PipesEnvContextInjector,
    asset,
    materialize,
    open_pipes_session,
)
from google.cloud import storage

from dagster_gcf_pipes import PipesCloudStorageMessageReader
from tests.dagster_runs import failure_text, logged
from tests.quotes import Quote


def message(method: str, params: Mapping[str, Any]) -> str:
    return json.dumps({"__dagster_pipes_version": "0.1", "method": method, "params": params})


def log(text: str) -> str:
    return message("log", {"message": text, "level": "INFO"})


OPENED = message("opened", {"extras": {}})
CLOSED = message("closed", {})


def read(storage_client: storage.Client, bucket: str, chunks: Mapping[int, list[str]]) -> tuple[list[str], str]:
    """Let Dagster read chunks of these lines; return its log and the step's error."""

    @asset(name="orders")
    def reads(context: AssetExecutionContext) -> MaterializeResult:
        reader = PipesCloudStorageMessageReader(bucket=bucket, drain_timeout=0.1)
        with open_pipes_session(
            context=context, context_injector=PipesEnvContextInjector(), message_reader=reader
        ) as session:
            prefix = session.message_reader_params["key_prefix"]
            for number, lines in chunks.items():
                storage_client.bucket(bucket).blob(f"{prefix}/{number}.json").upload_from_string("\n".join(lines))
        return MaterializeResult()

    with DagsterInstance.ephemeral() as instance:
        result = materialize([reads], instance=instance, raise_on_error=False)
        return logged(instance, result.run_id), "" if result.success else failure_text(result)


@pytest.mark.parametrize(
    ("chunks", "kept", "name"),
    [
        pytest.param({1: [OPENED, log("a"), "{not json"]}, ["a"], "line_not_json", id="not JSON"),
        pytest.param({1: [OPENED, log("a"), log("b")[:-9]]}, ["a"], "line_truncated", id="a truncated line"),
        pytest.param({1: [OPENED], 2: [log("a"), "[]"]}, ["a"], "line_not_an_object", id="no object"),
        pytest.param({1: [OPENED, log("a"), message("explode", {})]}, ["a"], "unknown_method", id="an unknown method"),
        pytest.param(
            {1: [OPENED, log("a"), message("log", {"message": 7, "level": "INFO"})]},
            ["a"],
            "message_that_dagster_cannot_handle",
            id="a param of the wrong type",
        ),
        pytest.param(
            {1: [OPENED, log("a"), CLOSED, log("late")]},
            ["a"],
            "message_after_closed",
            id="after closed",
        ),
        pytest.param(
            {1: [OPENED, log("a")], 2: [OPENED, log("theirs")]},
            ["a"],
            "two_sessions",
            id="another session",
        ),
        pytest.param({1: [log("theirs"), OPENED]}, [], "message_before_opened", id="before opened"),
        pytest.param(
            {1: [OPENED], 2: [log("a")], 4: [log("d")], 7: [CLOSED]},
            ["a"],
            "chunks_missing",
            id="a gap, chunk by chunk",
        ),
    ],
)
def test_an_invalid_chunk_fails_the_step(
    storage_client: storage.Client, bucket: str, chunks: dict[int, list[str]], kept: list[str], name: str, quote: Quote
) -> None:
    lines, failure = read(storage_client, bucket, chunks)
    assert [line for line in lines if len(line) == 1] == kept
    assert "theirs" not in lines
    assert "late" not in lines
    quote(name, failure)


@pytest.mark.parametrize("usage", ["much", 7, [], {"peak_memory_bytes": "NaN"}, {"wall_seconds": -(10**400)}])
def test_an_invalid_usage_in_closed_is_ignored(storage_client: storage.Client, bucket: str, usage: object) -> None:
    chunks = {1: [OPENED, log("a")], 2: [log("b"), message("closed", {"usage": usage, "unknown": usage})]}
    lines, failure = read(storage_client, bucket, chunks)
    assert [line for line in lines if len(line) == 1] == ["a", "b"]
    assert failure == ""
