"""The six tasks, by hand."""

import json
import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.conformance.admission import Request
from tests.conformance.session import Session
from tests.functions.conformance.metadata import METADATA

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
BOOTSTRAP_KEYS = ("DAGSTER_PIPES_CONTEXT", "DAGSTER_PIPES_MESSAGES")
FIELDS = (
    "extras",
    "run_id",
    "job_name",
    "retry_number",
    "asset_keys",
    "partition_key",
    "partition_key_range",
    "partition_time_window",
    "provenance_by_asset_key",
    "code_version_by_asset_key",
)
POLL_INTERVAL = 0.05
first_call = threading.Lock()
calls_seen: dict[int, Any] = {}


@dataclass(frozen=True)
class Reply:
    """The response of the user's code."""

    status: int = 200
    body: bytes = b"{}"
    headers: Mapping[str, str] = field(default_factory=dict)


def report(request: Request, session: Session, defects: Collection[str]) -> Reply:
    levels = LEVELS[1:] if "drops_debug" in defects else LEVELS
    for level in reversed(levels) if "reverses" in defects else levels:
        session.send("log", {"message": f"conformance: {level}", "level": level})
    asset_key = request.context["asset_keys"][0]
    metadata = {name: {"raw_value": value, "type": name} for name, value in METADATA.items()}
    metadata |= {"float": {"raw_value": "much", "type": "float"}} if "reports_wrong_metadata" in defects else {}
    materialization = {"asset_key": asset_key, "metadata": metadata, "data_version": "v1"}
    if "leaves_params_out" in defects:
        del materialization["data_version"]
    session.send("report_asset_materialization", materialization)
    severity = "ERROR" if "is_severe" in defects else "WARN"
    check = {"asset_key": asset_key, "check_name": "conformance", "passed": True, "severity": severity}
    session.send("report_asset_check", {**check, "metadata": {}})
    payload = json.dumps({"conformance": "custom"}) if "sends_texts" in defects else {"conformance": "custom"}
    session.send("report_custom_message", {"payload": payload})
    return Reply(body=b"null" if "wraps_responses" in defects else b'{"task": "report"}')


def echo(request: Request, session: Session, defects: Collection[str]) -> Reply:
    event = {key: value for key, value in request.event.items() if key not in BOOTSTRAP_KEYS}
    context = {name: request.context.get(name) for name in FIELDS}
    if "forgets_ranges" in defects:
        context["partition_key_range"] = None
    if "reads_latin_1" in defects:
        event = json.loads(json.dumps(event, ensure_ascii=False).encode().decode("latin-1"))
    if "mixes_calls" in defects and "call" in event:
        with first_call:
            context["extras"] = calls_seen.setdefault(id(defects), context["extras"])
    if "print" in event and session.params["include_stdio_in_messages"] and "keeps_output" not in defects:
        session.send("log_external_stream", {"stream": "stdout", "text": event["print"], "extras": {}})
    session.send("report_custom_message", {"payload": {"event": event, **context}})
    return Reply(body=json.dumps({"event": event, **context}).encode())


def fail(request: Request, session: Session, defects: Collection[str]) -> Reply:
    session.send("log", {"message": "conformance: before", "level": "INFO"})
    try:
        request.event["conformance cause"]
    except KeyError as cause:
        raise ValueError("conformance failure") from cause
    return Reply()


def sleep(request: Request, session: Session, defects: Collection[str]) -> Reply:
    until = time.monotonic() + request.event["seconds"]
    while time.monotonic() < until:
        session.check()
        threading.Event().wait(POLL_INTERVAL)
    session.send("log", {"message": "conformance: slept", "level": "INFO"})
    return Reply()


def burst(request: Request, session: Session, defects: Collection[str]) -> Reply:
    for number in range(request.event["lines"]):
        if number != 1000 or "loses_lines" not in defects:
            session.send("log", {"message": f"{number} ".ljust(request.event["size"], "x"), "level": "INFO"})
    return Reply()


def status(request: Request, session: Session, defects: Collection[str]) -> Reply:
    session.send("log", {"message": "conformance: status", "level": "INFO"})
    code, body = request.event["status"], request.event["body"].encode()
    is_conflict = code == 409 and "takes_conflicts_for_duplicates" in defects
    return Reply(code, body, {"Dagster-Pipes-Error": "duplicate_call"} if is_conflict else {})


TASKS: Mapping[str, Callable[[Request, Session, Collection[str]], Reply]] = {
    "report": report,
    "echo": echo,
    "fail": fail,
    "sleep": sleep,
    "burst": burst,
    "status": status,
}
