"""The task `echo`: what the user's code sees of the context and of the event."""

import json
from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from gcf_pipes._shared.halves import Half
from gcf_pipes._shared.protocol import BUCKET_PARAM, CONTEXT_KEY_PARAM, FORWARD_LOGS

from dagster_gcf_pipes._conformance.calls import Caller, context_of, dumps, in_background
from dagster_gcf_pipes._conformance.findings import Checks, NotThereError, expect
from dagster_gcf_pipes._conformance.sessions import Session

FIELDS: Final = (
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
MIB: Final = 1024 * 1024
CALLS_AT_ONCE: Final = 8
TEXTS: Final = {
    "Grüße": "Straße, naïve, Ω",
    "注文": "東京都 \u2028 \u2029",
    "\U0001f680": "\U0001f469\u200d\U0001f680 \ufeff \U0010ffff",
    "עברית": "\u202e\u0634\u0643\u0631",
    "control": 'tab \t, newline \n, quote ", backslash \\, bell \x07',
    "": "empty key",
}
_PROVENANCE: Final = {
    "code_version": "code 0",
    "input_data_versions": {"raw/orders": "d41d8", "raw/rates": "98f00"},
    "is_user_provided": False,
}
_PARTITION: Final[Mapping[str, Any]] = {
    "asset_keys": ["sales/orders", "sales/rates"],
    "code_version_by_asset_key": {"sales/orders": "code 1", "sales/rates": None},
    "provenance_by_asset_key": {"sales/orders": _PROVENANCE, "sales/rates": None},
    "partition_key": "2024-01-03",
    "partition_key_range": {"start": "2024-01-03", "end": "2024-01-03"},
    "partition_time_window": {"start": "2024-01-03T00:00:00+00:00", "end": "2024-01-04T00:00:00+00:00"},
    "retry_number": 2,
    "extras": {"nested": {"list": [1, 2.5, True, None, "text"]}, "empty": {}},
}
_RANGE: Final[Mapping[str, Any]] = {
    "partition_key": None,
    "partition_key_range": {"start": "2024-01-03", "end": "2024-01-05"},
    "partition_time_window": {"start": "2024-01-03T00:00:00+00:00", "end": "2024-01-06T00:00:00+00:00"},
    "asset_keys": None,
    "code_version_by_asset_key": None,
    "provenance_by_asset_key": None,
    "job_name": None,
}
_EVENT: Final[Mapping[str, Any]] = {
    "table": "orders",
    "numbers": [1, -2, 0.5],
    "nothing": None,
    "yes": True,
    "deep": {"a": [{"b": []}]},
}


def echo_fields(caller: Caller) -> Checks:
    """Call the task with contexts that have every field."""
    cases = [(f"run-{number}", fields) for number, fields in enumerate([_PARTITION, _RANGE])]
    sessions = [_echo(caller, context_of(run_id, **fields), _EVENT) for run_id, fields in cases]

    def check() -> str:
        for (run_id, fields), session in zip(cases, sessions, strict=True):
            _check_echo(session, context_of(run_id, **fields), _EVENT)
        return f"{len(FIELDS)} fields of {len(cases)} contexts"

    return {"context-fields": check}


def echo_missing(caller: Caller) -> Checks:
    """Call the task with a context that has only the required fields."""
    context = {"run_id": "run", "retry_number": 0, "extras": {}}
    session = _echo(caller, context, {})
    return {"context-missing": lambda: _checked(session, context, {}, "the others are null")}


def echo_unicode(caller: Caller) -> Checks:
    """Call the task with texts that are not ASCII."""
    context = context_of("run", extras=TEXTS)
    session = _echo(caller, context, TEXTS)
    return {"context-unicode": lambda: _checked(session, context, TEXTS, f"{len(TEXTS)} texts")}


def echo_large(caller: Caller) -> Checks:
    """Call the task with 1 MiB of extras in the request."""
    context = context_of("run", extras={"text": "0123456789abcdef" * (MIB // 16)})
    session = _echo(caller, context, {})
    return {"context-large": lambda: _checked(session, context, {}, "extras of 1 MiB")}


def echo_object(caller: Caller) -> Checks:
    """Call the task with the context in the bucket."""
    prefix = caller.new_prefix("echo")
    context = context_of("run", extras={"from": "the bucket"})
    caller.create(prefix.context_key, json.dumps(context).encode())
    params = {BUCKET_PARAM: prefix.bucket, CONTEXT_KEY_PARAM: prefix.context_key}
    session = caller.call("echo", prefix=prefix, context_params=params)
    return {"context-object": lambda: _checked(session, context, {}, prefix.context_key.rpartition("/")[2])}


def echo_at_once(caller: Caller) -> Checks:
    """Call the task several times at the same time, each with another context."""
    cases = [
        (context_of(f"run-{number}", extras={"call": number}), {"call": number}) for number in range(CALLS_AT_ONCE)
    ]
    futures = [in_background(partial(_echo, caller, *case)) for case in cases]
    sessions = [future.result() for future in futures]

    def check() -> str:
        for (context, event), session in zip(cases, sessions, strict=True):
            _check_echo(session, context, event)
        return f"{len(cases)} calls"

    return {"isolation": check}


def forward_output(caller: Caller) -> Checks:
    """Call the task, and ask for the function's output."""
    text = "conformance: printed"
    messages = {"include_stdio_in_messages": True}
    session = caller.call("echo", event={"print": text}, messages=messages)

    def check() -> str:
        function = Half.parse(session.opened_extras.get("protocol"), session.opened_extras.get("version"))
        streams = session.params_of("log_external_stream")
        if not streams and (function is None or FORWARD_LOGS not in function.capabilities):
            raise NotThereError(f"the function does not announce `{FORWARD_LOGS}`: its output stays in its own log")
        wrong = [params for params in streams if params.get("stream") not in {"stdout", "stderr"}]
        expect(not wrong, "the streams stdout and stderr", dumps(wrong), session.uri)
        output = "".join(str(params.get("text")) for params in streams)
        expect(text in output, f"`log_external_stream` with {text!r}, which `echo` prints", dumps(output), session.uri)
        return "the printed text"

    return {"forward-logs": check}


def _echo(caller: Caller, context: Mapping[str, Any], event: Mapping[str, Any]) -> Session:
    return caller.call("echo", event=event, context_params={"data": context})


def _checked(session: Session, context: Mapping[str, Any], event: Mapping[str, Any], text: str) -> str:
    _check_echo(session, context, event)
    return text


def _check_echo(session: Session, context: Mapping[str, Any], event: Mapping[str, Any]) -> None:
    """Compare what the code saw with what it was sent. It says it in a custom message, and in its response."""
    expected = {"event": {"task": "echo", **event}, **{name: context.get(name) for name in FIELDS}}
    messages = session.params_of("report_custom_message")
    expect(len(messages) == 1, "one custom message", f"{len(messages)}; {session.answer.description}", session.uri)
    payload = messages[0].get("payload")
    for place, got in (("the custom message", payload), ("the response", session.answer.json)):
        seen = got if isinstance(got, dict) else {}
        for name, value in expected.items():
            where = f"{place} of {session.uri}"
            expect(
                name in seen and _same(seen[name], value),
                f"{name} to be {dumps(value)}",
                dumps(seen[name]) if name in seen else "nothing",
                where,
            )


def _same(got: Any, expected: Any) -> bool:
    """Whether two JSON values are the same. Python takes true for 1."""
    return bool(json.dumps(got, sort_keys=True) == json.dumps(expected, sort_keys=True))
