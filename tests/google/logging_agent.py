"""Cloud Run's logging agent: makes log entries of the lines that a function prints.

A line that is a JSON object becomes `jsonPayload`. Its special fields move to the entry. Any other line becomes
`textPayload`, an empty one too. A line that is too large for an entry becomes several texts, of which none is JSON any
more.

Sources: https://cloud.google.com/run/docs/logging#using-json,
https://cloud.google.com/logging/docs/structured-logging#structured_logging_special_fields and, of large lines,
https://github.com/googleapis/python-logging/issues/53.
"""

import json
import random
import uuid
from collections.abc import Container, Iterable
from datetime import datetime, timezone
from typing import IO, Any, Final

from tests.google.logging_api import MAX_ENTRY, LoggingApi
from tests.google.logging_filter import Entry

MAX_TEXT: Final = MAX_ENTRY - 8 * 1024
"""Bytes of a line that fit an entry, with the agent's own fields."""
_PREFIX: Final = "logging.googleapis.com/"
_SPECIAL: Final = {
    f"{_PREFIX}insertId": "insertId",
    f"{_PREFIX}labels": "labels",
    f"{_PREFIX}operation": "operation",
    f"{_PREFIX}sourceLocation": "sourceLocation",
    f"{_PREFIX}spanId": "spanId",
    f"{_PREFIX}trace": "trace",
    f"{_PREFIX}trace_sampled": "traceSampled",
    "httpRequest": "httpRequest",
    "severity": "severity",
    "timestamp": "timestamp",
    "time": "timestamp",
}


class Agent:
    """The agent of one instance.

    Args:
        api: Where it writes the entries.
        project: The project's ID.
        delay: The shortest and the longest time until an entry is visible, in seconds. Each has its own.
        duplicates: The share of the entries that are written twice. Every second copy has another insertId.
        lost: The numbers of the lines that do not arrive, from 1 on. Lines without text do not count.
        seed: Of the random delays and duplicates.
        service: The Cloud Run service.
    """

    def __init__(
        self,
        api: LoggingApi,
        project: str,
        *,
        delay: tuple[float, float] = (0.0, 0.0),
        duplicates: float = 0.0,
        lost: Container[int] = (),
        seed: int = 0,
        service: str = "orders",
    ) -> None:
        self._api = api
        self._project = project
        self._delay = delay
        self._duplicates = duplicates
        self._random = random.Random(seed)
        self._lost = lost
        self._lines = 0
        self._service = service

    def collect(self, output: IO[bytes]) -> None:
        """Write entries of what a process prints, until it ends."""
        self.take(iter(output.readline, b""))

    def take(self, lines: Iterable[bytes]) -> None:
        """Write entries of lines."""
        for line in lines:
            self._lines += bool(line.strip())
            if line.strip() and self._lines in self._lost:
                continue
            for entry in self._entries(line.rstrip(b"\r\n")):
                self._write(entry)
                if self._random.random() < self._duplicates:
                    again = {} if self._random.random() < 0.5 else {"insertId": _insert_id()}
                    self._write({**entry, **again})

    def _write(self, entry: Entry) -> None:
        self._api.write(self._project, entry, delay=self._random.uniform(*self._delay))

    def _entries(self, line: bytes) -> list[Entry]:
        texts = [line[start : start + MAX_TEXT] for start in range(0, len(line), MAX_TEXT)] or [b""]
        return [self._entry(text) for text in texts]

    def _entry(self, line: bytes) -> Entry:
        text = line.decode("utf-8", errors="replace")
        now = datetime.now(timezone.utc).isoformat().replace("+00:00", "Z")
        return {
            "insertId": _insert_id(),
            "timestamp": now,
            "receiveTimestamp": now,
            "logName": f"projects/{self._project}/logs/run.googleapis.com%2Fstdout",
            "resource": {
                "type": "cloud_run_revision",
                "labels": {
                    "project_id": self._project,
                    "service_name": self._service,
                    "revision_name": f"{self._service}-00001-abc",
                    "location": "europe-west1",
                    "configuration_name": self._service,
                },
            },
            **_payload(text),
        }


def _payload(text: str) -> dict[str, Any]:
    fields = _json_object(text)
    if fields is None:
        return {"textPayload": text}
    moved = {_SPECIAL[name]: fields.pop(name) for name in [*fields] if name in _SPECIAL}
    return {**moved, "jsonPayload": fields}


def _json_object(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def _insert_id() -> str:
    return uuid.uuid4().hex[:24]
