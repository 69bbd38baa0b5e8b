"""The chunks of one session, with a heartbeat: docs/protocol.md by hand, and what is wrong with it on request."""

import json
import time
import uuid
from collections.abc import Collection, Mapping
from contextlib import suppress
from threading import Event, RLock, Thread
from typing import Any

from tests.conformance import bucket

HEARTBEAT_INTERVAL = 0.5
FULL_CHUNK = 1024 * 1024
POLL_INTERVAL = 0.05
AFTER_RESPONSE = 1.5
"""Seconds after the response when a writer that is not sealed writes once more."""


class StoppedError(Exception):
    """Dagster has cancelled the call, or its time is up."""


def encode(method: str, params: Mapping[str, Any] | None) -> bytes:
    message = {"__dagster_pipes_version": "0.1", "method": method, "params": params}
    return f"{json.dumps(message, ensure_ascii=False)}\n".encode()


class Session:
    """Writes the messages of one session.

    Args:
        params: The messages params.
        until: When the call has to stop (`time.monotonic`).
        defects: What is wrong.
    """

    def __init__(self, params: Mapping[str, Any], until: float, defects: Collection[str]) -> None:
        self.params = params
        self.chunk_count = 0
        self._until = until
        self._defects = defects
        self._lock = RLock()
        self._buffer = bytearray()
        self._number = 0
        self._written_at = time.monotonic()
        self._ended = Event()
        self._heart = Thread(target=self._beat, name="heartbeat", daemon=True)

    def claim(self, extras: Mapping[str, Any]) -> None:
        """Write `opened` as chunk 1."""
        identity = {} if "claims_alike" in self._defects else {"delivery_id": uuid.uuid4().hex}
        opened = encode("opened", {"extras": {**extras, **identity}})
        self._create(opened * 2 if "opens_twice" in self._defects else opened)
        self._heart.start()

    def send(self, method: str, params: Mapping[str, Any] | None) -> None:
        """Write a message. It reaches the bucket with a full chunk, or with the end."""
        with self._lock:
            self._buffer += encode(method, params)
            if len(self._buffer) >= FULL_CHUNK and "one_chunk" not in self._defects:
                self.flush()

    def flush(self) -> None:
        with self._lock:
            if self._buffer:
                self._create(bytes(self._buffer))
                self._buffer.clear()

    def close(self, params: Mapping[str, Any]) -> None:
        """Write `closed` as the last line, and nothing more."""
        self._ended.set()
        self._heart.join()
        with self._lock:
            if "never_closes" not in self._defects:
                self.send("closed", params)
            if "writes_after_closed" in self._defects:
                self.send("log_external_stream", {"stream": "stdout", "text": "after closed"})
            if "no_newline" in self._defects:
                del self._buffer[-1]
            if "no_message" in self._defects:
                self._buffer += b"not JSON\n"
            self.flush()
        if "writes_after_response" in self._defects:
            Thread(target=self._write_late, daemon=True).start()

    def check(self) -> None:
        """Raise if the call has to stop."""
        prefixes = [] if "ignores_marker" in self._defects else [self.params["key_prefix"]]
        if (shared := self.params.get("shared_prefix")) and "ignores_shared_marker" not in self._defects:
            prefixes.append(shared)
        if any(bucket.read(self.params["bucket"], f"{prefix}/cancel") is not None for prefix in prefixes):
            raise StoppedError("cancelled")
        if time.monotonic() > self._until:
            raise StoppedError("out of time")

    def _create(self, data: bytes) -> None:
        number = self._number + 1
        if "skips_a_number" in self._defects and number == 2:
            number += 1
        once = not {("claims_twice", True), ("overwrites", False)} & {(name, number == 1) for name in self._defects}
        try:
            bucket.create(self.params["bucket"], f"{self.params['key_prefix']}/{number}.json", data, once=once)
        except bucket.ExistsError:
            if number == 1 or "loses_chunks" not in self._defects:
                raise
        self._number = number
        self.chunk_count += 1
        self._written_at = time.monotonic()

    def _beat(self) -> None:
        while not self._ended.wait(POLL_INTERVAL):
            with self._lock:
                if time.monotonic() - self._written_at > HEARTBEAT_INTERVAL and "never_beats" not in self._defects:
                    with suppress(bucket.ExistsError):  # of a second writer, with defects
                        self._create(b"\n")

    def _write_late(self) -> None:
        Event().wait(AFTER_RESPONSE)
        self._create(b"\n")
