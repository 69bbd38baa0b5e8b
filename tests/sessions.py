"""Pipes sessions without Dagster: the keys of a request body, and the messages that a bucket holds."""

import json
import uuid
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

import requests
from dagster_pipes import PipesContextData, encode_param
from google.cloud import storage


def bootstrap(
    bucket: str, prefix: str, *, run_id: str = "some-run", include_stdio: bool = False, **context_fields: Any
) -> dict[str, str]:
    """Return the Pipes keys of a request body, as a Dagster op sends them."""
    context: PipesContextData = {
        "asset_keys": None,
        "code_version_by_asset_key": None,
        "provenance_by_asset_key": None,
        "partition_key": None,
        "partition_key_range": None,
        "partition_time_window": None,
        "run_id": run_id,
        "job_name": None,
        "retry_number": 0,
        "extras": {},
    }
    messages = {"bucket": bucket, "key_prefix": prefix, "include_stdio_in_messages": include_stdio}
    return {
        "DAGSTER_PIPES_CONTEXT": encode_param({"data": {**context, **context_fields}}),
        "DAGSTER_PIPES_MESSAGES": encode_param(messages),
    }


def call(
    url: str,
    bucket: str,
    event: Mapping[str, Any],
    *,
    prefix: str | None = None,
    headers: Mapping[str, str] | None = None,
    **fields: Any,
) -> requests.Response:
    """Call a function as Dagster does, in a new session unless a prefix is given."""
    keys = bootstrap(bucket, f"prefix/{uuid.uuid4().hex}" if prefix is None else prefix, **fields)
    return requests.post(url, json={**keys, **event}, headers=headers, timeout=90)


def stored_sessions(storage_client: storage.Client, bucket: str) -> dict[str, list[dict[str, Any]]]:
    """Return the messages of each session in a bucket, by session prefix and in order."""
    chunks = [PurePosixPath(blob.name) for blob in storage_client.list_blobs(bucket) if blob.name.endswith(".json")]
    sessions: dict[str, list[dict[str, Any]]] = {}
    for chunk in sorted(chunks, key=lambda chunk: int(chunk.stem)):
        content = storage_client.bucket(bucket).blob(str(chunk)).download_as_bytes()
        sessions.setdefault(str(chunk.parent), []).extend(map(json.loads, filter(None, content.splitlines())))
    return sessions


def summarize(messages: list[dict[str, Any]]) -> list[str]:
    """Return the text of each log line; of other messages, the method and the exception's name."""
    summary = []
    for message in messages:
        params = message["params"] or {}
        exception = params.get("exception")
        text = params["message"] if message["method"] == "log" else message["method"]
        summary.append(f"{text} with {exception['name']}" if exception else text)
    return summary
