"""A stand-in of live tailing in the Cloud Logging API v2 (gRPC): `TailLogEntries`.

A stream gets the entries that become visible after it began. Each waits for the buffer window, in which others may
overtake it; then those that waited come in the order of their timestamps. A project has at most ten streams.

Sources: https://cloud.google.com/logging/docs/reference/v2/rpc/google.logging.v2#loggingservicev2 and
https://cloud.google.com/logging/quotas ("Number of open live-tailing sessions").
"""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Lock
from typing import Any, Final

import grpc
from google.cloud.logging_v2.types import TailLogEntriesRequest, TailLogEntriesResponse
from google.protobuf.json_format import ParseDict

from tests.google.logging_api import LoggingApi
from tests.google.logging_filter import Entry, Predicate, moment, parse_filter

MAX_STREAMS: Final = 10
MAX_WINDOW: Final = 60.0
_SERVICE: Final = "google.logging.v2.LoggingServiceV2"
_CHECK_INTERVAL: Final = 0.02
_NOT_CONSUMED: Final = 2
_FIELDS: Final = ("insertId", "jsonPayload", "labels", "logName", "receiveTimestamp", "severity", "textPayload")


class LoggingTail:
    """The streams of a `LoggingApi`.

    Args:
        api: The API that has the entries.

    Attributes:
        refusal: The status with which every new stream ends at once, or None.
        ends_after: The number of entries after which a stream ends with `ending`, or None.
        ending: The status of that end. OK is an end without an error.
        suppressed: Whether an entry is left out. The stream then says how many it lacks.
        streams: How many streams are open.
        opened: How many streams began.
        filters: The filter of each.
    """

    def __init__(self, api: LoggingApi) -> None:
        self._api = api
        self._lock = Lock()
        self.streams = 0
        self.refusal: grpc.StatusCode | None = None
        self.ends_after: int | None = None
        self.ending = grpc.StatusCode.UNAVAILABLE
        self.suppressed: Callable[[Entry], bool] = lambda _: False
        self.opened = 0
        self.filters: list[str] = []

    @contextmanager
    def serving(self) -> Iterator[str]:
        """Serve while the block runs, and yield the address."""
        server = grpc.server(ThreadPoolExecutor(2 * MAX_STREAMS, thread_name_prefix="stand-in tail"))
        method = grpc.stream_stream_rpc_method_handler(
            self._tail,
            request_deserializer=TailLogEntriesRequest.pb().FromString,
            response_serializer=TailLogEntriesResponse.pb().SerializeToString,
        )
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_SERVICE, {"TailLogEntries": method}),))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            yield f"127.0.0.1:{port}"
        finally:
            server.stop(grace=None).wait()

    def _tail(self, requests: Iterator[Any], context: grpc.ServicerContext) -> Iterator[Any]:
        request, began = next(requests), time.monotonic()
        with self._counted(request, context):
            try:
                matches = parse_filter(request.filter)
            except ValueError as error:
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
            window = request.buffer_window.ToTimedelta().total_seconds() if request.HasField("buffer_window") else 2.0
            if not 0 <= window <= MAX_WINDOW:
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, "buffer_window must be between 0 and 60000 ms.")
            yield from self._responses(list(request.resource_names), matches, window, began, context)

    @contextmanager
    def _counted(self, request: Any, context: grpc.ServicerContext) -> Iterator[None]:
        with self._lock:
            self.opened += 1
            self.filters.append(request.filter)
            too_many = self.streams >= MAX_STREAMS
            self.streams += not too_many
        try:
            if self.refusal:
                context.abort(self.refusal, "The stand-in refuses it.")
            if too_many:
                context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "Too many open live-tailing sessions.")
            yield
        finally:
            with self._lock:
                self.streams -= not too_many

    def _responses(
        self,
        names: list[str],
        matches: Predicate,
        window: float,
        began: float,
        context: grpc.ServicerContext,
    ) -> Iterator[Any]:
        sent, known = 0, set[int]()
        while context.is_active():
            found = [entry for entry in self._visible(names, began, window) if id(entry) not in known]
            known.update(map(id, found))
            due = [entry for entry in found if matches(entry)]
            kept = [entry for entry in due if not self.suppressed(entry)]
            if self.ends_after is not None:
                kept = kept[: self.ends_after - sent]
            if due:
                yield _response(kept, suppressed=len(due) - len(kept))
            sent += len(kept)
            if self.ends_after is not None and sent >= self.ends_after:
                if self.ending is not grpc.StatusCode.OK:
                    context.abort(self.ending, "The stand-in ends it.")
                return
            with self._api.changed:
                self._api.changed.wait(_CHECK_INTERVAL)

    def _visible(self, names: list[str], began: float, window: float) -> list[Entry]:
        now = time.monotonic()
        with self._api.changed:
            there = [entry for name in names for entry in self._api.entries.get(name.removeprefix("projects/"), [])]
        new = [entry for entry in there if began <= entry.get("visible_from", 0.0) <= now - window]
        return sorted(new, key=lambda entry: moment(entry["timestamp"]))


def _response(entries: list[Entry], *, suppressed: int) -> Any:
    response = TailLogEntriesResponse.pb()()
    for entry in entries:
        fields = {name: entry[name] for name in ("timestamp", *_FIELDS) if name in entry}
        ParseDict(fields, response.entries.add())
    if suppressed:
        response.suppression_info.add(reason=_NOT_CONSUMED, suppressed_count=suppressed)
    return response
