"""A stand-in of the Cloud Logging API v2 (REST): `entries:list`, with the error bodies of the real one.

It evaluates the parts of the query language that the package uses: comparisons with `=`, `:`, `>=` and `<=`,
`log_id()`, parentheses, OR, which binds tighter than AND, and AND, which may be omitted.

Sources: https://cloud.google.com/logging/docs/reference/v2/rest/v2/entries/list and
https://cloud.google.com/logging/docs/view/logging-query-language.
"""

import json
import re
from collections import deque
from collections.abc import Callable, Container
from datetime import datetime, timezone
from threading import Event
from typing import Any, Final, TypeAlias
from urllib.parse import unquote

import flask

from dagster_gcf_pipes._log_query import rfc3339
from tests.google.functions_api import TOKEN, error_body

HOST: Final = "logging.googleapis.com"
_SEVERITIES: Final = (
    "DEFAULT", "DEBUG", "INFO", "NOTICE", "WARNING", "ERROR", "CRITICAL", "ALERT", "EMERGENCY",
)  # fmt: skip
_TOKEN: Final = re.compile(r'\s*("(?:\\.|[^"\\])*"|>=|<=|[=:()]|[A-Za-z_][\w.]*)')

Entry: TypeAlias = dict[str, Any]
Predicate: TypeAlias = Callable[[Entry], bool]


OUT_OF_MEMORY: Final = "Memory limit of 256 MiB exceeded with 260 MiB used."


def terminated(
    project: str, service: str, text: str = OUT_OF_MEMORY, *, revision: str = "", instance: str = ""
) -> Entry:
    """Return the platform's log entry of an instance that it terminates now."""
    return {
        "logName": f"projects/{project}/logs/run.googleapis.com%2Fvarlog%2Fsystem",
        "resource": {
            "type": "cloud_run_revision",
            "labels": {"service_name": service, "revision_name": revision},
        },
        "timestamp": rfc3339(datetime.now(timezone.utc)),
        "labels": {"instanceId": instance},
        "insertId": "1",
        "severity": "ERROR",
        "textPayload": text,
    }


class LoggingApi:
    """The API, with the entries that it holds.

    Args:
        tokens: The valid access tokens.

    Attributes:
        entries: The entries of every project, by the project's ID; "visible_at" is the first request that finds one.
        faults: Responses to the next requests, one each: a status and a body, JSON or text.
        answering: While it is cleared, requests wait.
        asked: The body of each request, in order.
        app: The WSGI application.
    """

    def __init__(self, tokens: Container[str] = (TOKEN,)) -> None:
        self._tokens = tokens
        self.entries: dict[str, list[Entry]] = {}
        self.faults: deque[tuple[int, Any]] = deque()
        self.asked: list[dict[str, Any]] = []
        self.answering = Event()
        self.answering.set()
        self.app = flask.Flask("logging_api")
        self.app.add_url_rule("/v2/entries:list", view_func=self._list, methods=["POST"])

    def _list(self) -> tuple[Any, int]:
        query = flask.request.get_json()
        self.asked.append(query)
        self.answering.wait()
        if self.faults:
            status, body = self.faults.popleft()
            return body, status
        if flask.request.headers.get("Authorization", "").removeprefix("Bearer ") not in self._tokens:
            return error_body(401, "UNAUTHENTICATED", "Request had invalid authentication credentials."), 401
        try:
            return self._page(query), 200
        except ValueError as error:
            return error_body(400, "INVALID_ARGUMENT", str(error)), 400

    def _page(self, query: dict[str, Any]) -> dict[str, Any]:
        found = self._find(query["resourceNames"], query.get("filter", ""))
        found.sort(key=lambda entry: _moment(entry["timestamp"]), reverse=query.get("orderBy") == "timestamp desc")
        size = query.get("pageSize", 50)
        return {"entries": found[:size], **({"nextPageToken": "more"} if size < len(found) else {})}

    def _find(self, resource_names: list[str], text: str) -> list[Entry]:
        matches = parse_filter(text)
        there = [entry for name in resource_names for entry in self.entries.get(name.removeprefix("projects/"), [])]
        visible = [entry for entry in there if entry.get("visible_at", 1) <= len(self.asked)]
        return [{**entry, "visible_at": None} for entry in visible if matches(entry)]


def parse_filter(text: str) -> Predicate:
    """Return a predicate of entries that evaluates a filter.

    Raises:
        ValueError: It cannot be parsed.
    """
    tokens = deque(_tokens(text))
    predicate = _conjunction(tokens)
    if tokens:
        raise ValueError(f"Unparseable filter: syntax error at token '{tokens[0]}'")
    return predicate


def _tokens(text: str) -> list[str]:
    tokens, position = [], 0
    while text[position:].strip():
        match = _TOKEN.match(text, position)
        if not match:
            raise ValueError(f"Unparseable filter: syntax error at column {position + 1}")
        tokens.append(match[1])
        position = match.end()
    return tokens


def _conjunction(tokens: deque[str]) -> Predicate:
    parts: list[Predicate] = []
    while tokens and tokens[0] != ")":
        if parts and tokens[0] == "AND":
            tokens.popleft()
        parts.append(_disjunction(tokens))
    return lambda entry: all(part(entry) for part in parts)


def _disjunction(tokens: deque[str]) -> Predicate:
    parts = [_primary(tokens)]
    while tokens and tokens[0] == "OR":
        tokens.popleft()
        parts.append(_primary(tokens))
    return lambda entry: any(part(entry) for part in parts)


def _primary(tokens: deque[str]) -> Predicate:
    first = _take(tokens)
    if first == "(":
        inner = _conjunction(tokens)
        _take(tokens, ")")
        return inner
    if first == "log_id":
        _take(tokens, "(")
        log_id = _value(_take(tokens))
        _take(tokens, ")")
        return lambda entry: unquote(entry["logName"].partition("/logs/")[2]) == log_id
    return _comparison(first, _take(tokens), _value(_take(tokens)))


def _take(tokens: deque[str], expected: str | None = None) -> str:
    if not tokens or expected not in (None, tokens[0]):
        raise ValueError(f"Unparseable filter: expected '{expected}', got '{tokens[0] if tokens else 'the end'}'")
    return tokens.popleft()


def _value(token: str) -> str:
    return str(json.loads(token)) if token.startswith('"') else token


def _comparison(field: str, operator: str, value: str) -> Predicate:
    if operator not in ("=", ":", ">=", "<="):
        raise ValueError(f"Unparseable filter: expected a comparison after '{field}', got '{operator}'")

    def matches(entry: Entry) -> bool:
        found: Any = entry
        for name in field.split("."):
            found = found.get(name, {}) if isinstance(found, dict) else {}
        if field == "severity":
            found = found or "DEFAULT"
        if not isinstance(found, str):
            return False
        if operator == ":":
            return value.lower() in found.lower()
        if operator == "=":
            return found == value
        found, limit = _ordered(field, found), _ordered(field, value)
        return bool(found >= limit if operator == ">=" else found <= limit)

    return matches


def _ordered(field: str, value: str) -> Any:
    return _SEVERITIES.index(value) if field == "severity" else _moment(value)


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))
