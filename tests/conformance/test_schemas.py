"""The JSON Schemas beside docs/protocol.md fit what both sides really send, and refuse what is wrong."""

import base64
import json
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any

import flask
import pytest
import requests
from dagster import AssetExecutionContext, AssetKey, DailyPartitionsDefinition, StaticPartitionsDefinition, asset
from google.cloud import storage
from jsonschema import Draft202012Validator
from referencing import Registry, Resource

from dagster_gcf_pipes import PipesCloudFunctionClient
from dagster_gcf_pipes.local import Emulator, FunctionServer, run_function
from tests.conftest import FUNCTIONS
from tests.dagster_runs import calling_asset, run
from tests.serving import serving
from tests.sessions import bootstrap, call, stored_sessions

PROTOCOL = Path(__file__).parents[2] / "docs/protocol.md"
SCHEMAS = {path.name.partition(".")[0]: json.loads(path.read_text()) for path in PROTOCOL.with_suffix("").iterdir()}
REGISTRY: Any = Registry().with_resources(
    [(schema["$id"], Resource.from_contents(schema)) for schema in SCHEMAS.values()]
)
JSON = {"Content-Type": "application/json"}
TASKS: list[dict[str, Any]] = [
    {"task": "report"},
    {"task": "echo", "print": "a line"},
    {"task": "fail"},
    {"task": "sleep", "seconds": 0},
    {"task": "burst", "lines": 3, "size": 10},
    {"task": "status", "status": 418, "body": "no coffee"},
]


def errors(name: str, value: Any) -> list[str]:
    validator = Draft202012Validator(SCHEMAS[name], registry=REGISTRY)
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(value)]


def decoded(encoded: str) -> Any:
    return json.loads(zlib.decompress(base64.b64decode(encoded)))


@contextmanager
def recording(url: str, bodies: list[dict[str, Any]]) -> Iterator[str]:
    """Pass requests on to a function, and keep their bodies; yield the URL."""
    app = flask.Flask("recording")

    @app.post("/")
    def pass_on() -> flask.Response:
        headers = {name: value for name, value in flask.request.headers.items() if name.startswith("Dagster-")}
        bodies.append(flask.request.get_json())
        response = requests.post(url, data=flask.request.get_data(), headers={**JSON, **headers}, timeout=60)
        kept = {name: value for name, value in response.headers.items() if name.startswith("Dagster-")}
        return flask.Response(response.content, response.status_code, kept, content_type="application/json")

    with serving(app) as port:
        yield f"http://127.0.0.1:{port}/"


def calling_many(url: str, event: dict[str, Any]) -> Any:
    """Return an asset that calls a function several times, of which here there is one."""

    @asset
    def many(context: AssetExecutionContext, cloud_function: PipesCloudFunctionClient) -> None:
        cloud_function.run_many(context=context, function_url=url, events={"one": event})

    return many


@pytest.fixture(scope="module")
def tasks(emulator: Emulator) -> Iterator[FunctionServer]:
    with run_function(FUNCTIONS / "conformance" / "main.py", emulator_url=emulator.url) as server:
        yield server


@pytest.mark.parametrize("name", SCHEMAS)
def test_each_schema_is_one(name: str) -> None:
    Draft202012Validator.check_schema(SCHEMAS[name])
    assert SCHEMAS[name]["$id"].endswith(f"/{name}.schema.json")
    assert f"source:docs/protocol/{name}.schema.json" in PROTOCOL.read_text()


def test_the_messages_of_gcf_pipes_fit(tasks: FunctionServer, bucket: str, storage_client: storage.Client) -> None:
    for event in TASKS:
        headers = {"Dagster-Pipes-Timeout": "60"}
        call(tasks.url, bucket, event, headers=headers, include_stdio=True, asset_keys=["sales/orders"])
    messages = [message for each in stored_sessions(storage_client, bucket).values() for message in each]
    assert {message["method"] for message in messages} == set(SCHEMAS["message"]["properties"]["method"]["enum"])
    assert [(message, errors("message", message)) for message in messages if errors("message", message)] == []
    extras = [message["params"]["extras"] for message in messages if message["method"] == "opened"]
    assert all(set(each) <= set(SCHEMAS["opened-extras"]["properties"]) for each in extras)


def test_what_dagster_sends_fits(tasks: FunctionServer, bucket: str) -> None:
    """A plain step, steps with a partition, one whose context goes through the bucket, and one of many calls."""
    client = PipesCloudFunctionClient(bucket=bucket, forward_logs=True)
    small = PipesCloudFunctionClient(bucket=bucket, inline_context_limit=100)
    days = DailyPartitionsDefinition("2024-01-01", end_date="2024-01-09")
    bodies: list[dict[str, Any]] = []
    with recording(tasks.url, bodies) as url:
        event = {"task": "echo"}
        results = [
            run(calling_asset(url, event, extras={"nested": {"list": [1, None]}}, code_version="v1"), client),
            run(calling_asset(url, event, partitions_def=days), client, partition_key="2024-01-03"),
            run(calling_asset(url, event, partitions_def=StaticPartitionsDefinition(["a"])), client, partition_key="a"),
            run(calling_asset(url, event), small),
            run(calling_many(url, event), client),
        ]
    assert [result.success for result, _ in results] == [True] * len(results)
    assert len(bodies) == len(results)
    for body in bodies:
        assert errors("request", body) == []
        assert errors("messages-params", decoded(body["DAGSTER_PIPES_MESSAGES"])) == []
        assert errors("context-params", decoded(body["DAGSTER_PIPES_CONTEXT"])) == []
    context = decoded(bodies[1]["DAGSTER_PIPES_CONTEXT"])["data"]
    assert set(context) == set(SCHEMAS["context"]["properties"])
    assert context["asset_keys"] == [AssetKey("orders").to_user_string()]
    assert set(decoded(bodies[3]["DAGSTER_PIPES_CONTEXT"])) == {"bucket", "key"}
    assert "shared_prefix" in decoded(bodies[4]["DAGSTER_PIPES_MESSAGES"])


def test_the_messages_on_the_page_fit() -> None:
    """Each JSON block that is a message, and those that are params."""
    blocks = [block.partition("```")[0] for block in PROTOCOL.read_text().split("```json\n")[1:]]
    values = [json.loads(block) for block in blocks]
    messages = [value for value in values if "method" in value]
    assert {message["method"] for message in messages} == set(SCHEMAS["message"]["properties"]["method"]["enum"])
    assert [errors("message", message) for message in messages] == [[] for _ in messages]
    params = [(name, value) for name, key in PARAMS.items() for value in values if key in value]
    assert {name for name, _ in params} == set(PARAMS)
    assert [errors(name, value) for name, value in params] == [[] for _ in params]


PARAMS = {"messages-params": "include_stdio_in_messages", "context-params": "data"}
MESSAGE = {"__dagster_pipes_version": "0.1", "method": "log", "params": {"message": "3 rows", "level": "INFO"}}
CHECK = {"asset_key": "orders", "check_name": "fresh", "passed": True, "severity": "WARN", "metadata": None}
EXCEPTION: dict[str, Any] = {"name": "E", "message": "", "stack": [], "cause": None, "context": None}
PARTITION = {"asset_key": "orders", "partition": "2024-01-03", "metadata": None, "data_version": "v1"}
CONTEXT = {"run_id": "run", "retry_number": 0, "extras": {}}


def message(method: str, params: Mapping[str, Any] | None) -> dict[str, Any]:
    return {**MESSAGE, "method": method, "params": params}


def metadata(type_: str, raw_value: Any) -> dict[str, Any]:
    value = {"raw_value": raw_value, "type": type_}
    params = {"asset_key": "orders", "data_version": None, "metadata": {"name": value}}
    return message("report_asset_materialization", params)


RIGHT: list[tuple[str, Any]] = [
    ("request", {**bootstrap("lake", "prefix"), "event": 1}),
    ("messages-params", {"bucket": "lake", "key_prefix": None}),
    ("messages-params", {"bucket": "lake", "shared_prefix": "a/b", "partition_materializations": True, "new": 1}),
    ("messages-params", {"channel": "response"}),
    ("messages-params", {"channel": "logging", "session": "0" * 32}),
    ("context-params", {"bucket": "lake", "key": "a/context.json"}),
    ("context-params", {"data": CONTEXT}),
    ("context", {**CONTEXT, "extras": None, "of_a_later_version": 1}),
    ("message", message("closed", None)),
    ("message", message("report_asset_check", CHECK)),
    ("message", message("report_custom_message", {"payload": None})),
    ("message", message("report_custom_message", {"payload": {"gcf_pipes/partition_materialization": PARTITION}})),
    ("message", metadata("table", {"records": [{"rows": 3}], "schema": [{"name": "rows", "type": "int"}]})),
    ("opened-extras", {"of_a_later_version": {}}),
    ("closed-params", {"exception": {**EXCEPTION, "cause": EXCEPTION}}),
]

WRONG: list[tuple[str, Any]] = [
    ("request", []),
    ("request", {"DAGSTER_PIPES_MESSAGES": bootstrap("lake", "prefix")["DAGSTER_PIPES_MESSAGES"]}),
    ("request", {**bootstrap("lake", "prefix"), "DAGSTER_PIPES_CONTEXT": {"data": {}}}),
    ("request", {**bootstrap("lake", "prefix"), "DAGSTER_PIPES_CONTEXT": "%%%%"}),
    ("messages-params", {"key_prefix": "a"}),
    ("messages-params", {"bucket": "Lake/"}),
    ("messages-params", {"bucket": "lake", "key_prefix": "a/"}),
    ("messages-params", {"bucket": "lake", "key_prefix": ["a"]}),
    ("messages-params", {"bucket": "lake", "__dagster_pipes_version": "999.0"}),
    ("messages-params", {"channel": "pigeon"}),
    ("messages-params", {"channel": "logging"}),
    ("context-params", {}),
    ("context-params", {"path": "/etc/hostname"}),
    ("context-params", {"bucket": "lake"}),
    ("context-params", {"data": 1}),
    ("context", {"run_id": "run", "extras": {}}),
    ("context", {**CONTEXT, "asset_keys": "orders"}),
    ("context", {**CONTEXT, "retry_number": "0"}),
    ("context", {**CONTEXT, "partition_key_range": {"start": "a"}}),
    ("context", {**CONTEXT, "provenance_by_asset_key": {"orders": "v1"}}),
    ("message", {**MESSAGE, "__dagster_pipes_version": "0.2"}),
    ("message", {"method": "log", "params": None}),
    ("message", message("shout", {})),
    ("message", message("log", {"message": "3 rows"})),
    ("message", message("log", {"message": 3, "level": "INFO"})),
    ("message", message("log", {"message": "", "level": "INFO", "more": 1})),
    ("message", message("opened", {})),
    ("message", message("opened", {"extras": {"closes_with_request": "yes"}})),
    ("message", message("closed", {"exception": "it broke"})),
    ("message", message("report_asset_check", {**CHECK, "passed": 1})),
    ("message", message("report_asset_check", {**CHECK, "severity": "INFO"})),
    ("message", message("report_custom_message", {})),
    ("message", message("report_custom_message", {"payload": {"gcf_pipes/partition_materialization": {}}})),
    ("message", message("log_external_stream", {"stream": "stdlog", "text": ""})),
    ("message", metadata("int", 0.5)),
    ("message", metadata("bool", 1)),
    ("message", metadata("text", None)),
    ("message", metadata("json", "text")),
    ("message", metadata("null", 0)),
    ("message", metadata("timestamp", "2024-01-01")),
    ("message", metadata("table", {"records": []})),
    ("message", metadata("table_schema", {"columns": [{"name": "rows"}]})),
    ("message", metadata("table_column_lineage", {"deps_by_column": {"rows": [{"asset_key": "raw"}]}})),
    ("message", metadata("colour", "red")),
    ("opened-extras", {"heartbeat_interval": 0}),
    ("opened-extras", {"protocol": "one"}),
    ("opened-extras", {"cpus": "2"}),
    ("closed-params", {"exception": {**EXCEPTION, "stack": "in main"}}),
    ("closed-params", {"exception": {**EXCEPTION, "cause": {}}}),
    ("closed-params", {"exception": EXCEPTION, "response": {"status": 200, "content_type": "", "body": ""}}),
    ("closed-params", {"response": {"status": 404, "content_type": "", "body": ""}}),
    ("closed-params", {"usage": {"wall_seconds": -1}}),
]


@pytest.mark.parametrize(("name", "value"), RIGHT)
def test_what_is_right_fits(name: str, value: Any) -> None:
    assert errors(name, deepcopy(value)) == []


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_what_is_wrong_does_not_fit(name: str, value: Any) -> None:
    assert errors(name, value)
