"""A stand-in of the Cloud Logging API v2 (REST): `entries:list`, with the pages, quota and errors of the real one.

Entries become visible one by one, some time after they were written. `logging_filter` evaluates the filters,
`logging_agent` writes entries as Cloud Run's agent does, and `logging_tail` serves live tailing.

Sources: https://cloud.google.com/logging/docs/reference/v2/rest/v2/entries/list and
https://cloud.google.com/logging/quotas.
"""

import base64
import json
import socket
import time
from collections import deque
from collections.abc import Callable, Container
from datetime import datetime, timezone
from threading import Condition, Event
from typing import Any, Final, TypeAlias

import flask

from dagster_gcf_pipes._log_query import rfc3339
from tests.google.functions_api import TOKEN, error_body, quota_exceeded
from tests.google.logging_filter import Entry, moment, parse_filter

HOST: Final = "logging.googleapis.com"
MAX_PAGE: Final = 1000
DEFAULT_PAGE: Final = 50
MAX_RESOURCES: Final = 100
MAX_ENTRY: Final = 256 * 1024
READS_PER_MINUTE: Final = 60
_ORDERS: Final = ("timestamp asc", "timestamp desc")
_HIDDEN: Final = frozenset({"visible_at", "visible_from"})

Response: TypeAlias = tuple[Any, int]
Fault: TypeAlias = tuple[int, Any] | Callable[[], Response]


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


def reset() -> Response:
    """Close the connection instead of a response."""
    connection: socket.socket = flask.request.environ["werkzeug.socket"]
    connection.shutdown(socket.SHUT_RDWR)
    return "", 200


class LoggingApi:
    """The API, with the entries that it holds.

    Args:
        tokens: The valid access tokens.
        reads_per_minute: How many lists a project may make in a minute.
        minute: The length of that minute, in seconds.

    Attributes:
        entries: The entries of every project, by the project's ID, and of every view, by its name. "visible_at" is the
            first request that finds one, and "visible_from" the time (`time.monotonic`).
        faults: Responses to the next requests, one each: a status and a body, JSON or text, or what returns them.
        answering: While it is cleared, requests wait.
        asked: The body of each request, in order.
        refused: How many requests were above the quota.
        changed: Notified when an entry was written.
        app: The WSGI application.
    """

    def __init__(
        self, tokens: Container[str] = (TOKEN,), *, reads_per_minute: int = READS_PER_MINUTE, minute: float = 60.0
    ) -> None:
        self._tokens = tokens
        self._reads_per_minute = reads_per_minute
        self._minute = minute
        self._reads: dict[str, deque[float]] = {}
        self.entries: dict[str, list[Entry]] = {}
        self.faults: deque[Fault] = deque()
        self.asked: list[dict[str, Any]] = []
        self.refused = 0
        self.answering = Event()
        self.answering.set()
        self.changed = Condition()
        self.app = flask.Flask("logging_api")
        self.app.add_url_rule("/v2/entries:list", view_func=self._list, methods=["POST"])

    def accepts(self, authorization: str) -> bool:
        """Whether the value of an `Authorization` header is valid."""
        return authorization.removeprefix("Bearer ") in self._tokens

    def write(self, project: str, entry: Entry, *, delay: float = 0.0) -> None:
        """Take an entry, which becomes visible after some seconds.

        Raises:
            ValueError: It is too large. Source: https://github.com/googleapis/nodejs-logging/issues/520.
        """
        size = len(json.dumps(entry, ensure_ascii=False).encode("utf-8", errors="surrogatepass"))
        if size > MAX_ENTRY:
            raise ValueError(f"Log entry with size {size / 1024:.1f}K exceeds maximum size of 256.0K")
        with self.changed:
            self.entries.setdefault(project, []).append({**entry, "visible_from": time.monotonic() + delay})
            self.changed.notify_all()

    def _list(self) -> Response:
        query = flask.request.get_json()
        self.asked.append(query)
        self.answering.wait()
        if self.faults:
            fault = self.faults.popleft()
            if callable(fault):
                return fault()
            status, body = fault
            return body, status
        if not self.accepts(flask.request.headers.get("Authorization", "")):
            return error_body(401, "UNAUTHENTICATED", "Request had invalid authentication credentials."), 401
        try:
            page = self._page(query)
        except ValueError as error:
            return error_body(400, "INVALID_ARGUMENT", str(error)), 400
        if any(map(self._is_above_quota, _projects(query))):
            self.refused += 1
            status, body = quota_exceeded(HOST)
            return body, status
        return page, 200

    def _is_above_quota(self, project: str) -> bool:
        now = time.monotonic()
        reads = self._reads.setdefault(project, deque())
        while reads and reads[0] <= now - self._minute:
            reads.popleft()
        if len(reads) >= self._reads_per_minute:
            return True
        reads.append(now)
        return False

    def _page(self, query: dict[str, Any]) -> dict[str, Any]:
        size, order = query.get("pageSize") or DEFAULT_PAGE, query.get("orderBy") or _ORDERS[0]
        if not 0 < size <= MAX_PAGE:
            raise ValueError(f"page_size must be between 0 and {MAX_PAGE}, got {size}.")
        if order not in _ORDERS:
            raise ValueError(f"Invalid order_by: '{order}'.")
        if len(query["resourceNames"]) > MAX_RESOURCES:
            raise ValueError(f"At most {MAX_RESOURCES} resources may be specified.")
        found = sorted(
            self._find(query["resourceNames"], query.get("filter", "")), key=_position, reverse=order == _ORDERS[1]
        )
        if token := query.get("pageToken"):
            last = _last_position(token, query)
            found = [entry for entry in found if (_position(entry) > last) == (order == _ORDERS[0])]
            found = [entry for entry in found if _position(entry) != last]
        page = found[:size]
        more = {"nextPageToken": _page_token(page[-1], query)} if size < len(found) else {}
        return {"entries": [_public(entry) for entry in page], **more}

    def _find(self, resource_names: list[str], text: str) -> list[Entry]:
        """Return the visible entries. Of those with the same insertId and timestamp, a result has one.

        Source: https://cloud.google.com/logging/docs/reference/v2/rest/v2/LogEntry (`insertId`).
        """
        matches, now = parse_filter(text), time.monotonic()
        with self.changed:
            there = [entry for name in resource_names for entry in self.entries.get(name.removeprefix("projects/"), [])]
        visible = [
            entry
            for entry in there
            if entry.get("visible_at", 1) <= len(self.asked) and entry.get("visible_from", now) <= now
        ]
        return list(
            {
                (*_position(entry), entry.get("insertId") or id(entry)): entry for entry in visible if matches(entry)
            }.values()
        )


def _projects(query: dict[str, Any]) -> set[str]:
    return {"/".join(name.split("/")[:2]) for name in query["resourceNames"]}


def _public(entry: Entry) -> Entry:
    return {name: value for name, value in entry.items() if name not in _HIDDEN}


def _position(entry: Entry) -> tuple[datetime, str]:
    return moment(entry["timestamp"]), entry.get("insertId", "")


def _page_token(last: Entry, query: dict[str, Any]) -> str:
    fields = [last["timestamp"], last.get("insertId", ""), _identity(query)]
    return base64.urlsafe_b64encode(json.dumps(fields).encode()).decode()


def _last_position(token: str, query: dict[str, Any]) -> tuple[datetime, str]:
    timestamp, insert_id, identity = json.loads(base64.urlsafe_b64decode(token))
    if identity != _identity(query):
        raise ValueError("page_token doesn't match arguments from the request")
    return moment(timestamp), insert_id


def _identity(query: dict[str, Any]) -> list[Any]:
    return [query["resourceNames"], query.get("filter", ""), query.get("orderBy", "")]
