"""Calls the function as Dagster does, and reads what it wrote."""

import json
import time
import uuid
import zlib
from base64 import b64encode
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from logging import getLogger
from threading import Event, Lock, Thread
from types import MappingProxyType
from typing import Any, Final, TypeVar

from dagster_pipes import DAGSTER_PIPES_CONTEXT_ENV_VAR, DAGSTER_PIPES_MESSAGES_ENV_VAR, encode_param
from gcf_pipes import PipesObjectExistsError
from gcf_pipes._shared.halves import Half
from gcf_pipes._shared.protocol import (
    BUCKET_PARAM,
    CLOUD,
    EMULATOR,
    KEY_PREFIX_PARAM,
    MAX_CHUNK_BYTES,
    STORAGE_HEADER,
    TIMEOUT_HEADER,
    SessionPrefix,
)
from gcf_pipes._shared.storage import ObjectStore, uses_emulator

from dagster_gcf_pipes._auth import FunctionAuth
from dagster_gcf_pipes._conformance.sessions import Answer, Session
from dagster_gcf_pipes._credentials import Identity
from dagster_gcf_pipes._errors import PipesCloudFunctionCallError
from dagster_gcf_pipes._http import AnsweredBy, Attempt, create_http_session, fetch, post
from dagster_gcf_pipes._messages.parser import read_opened_extras
from dagster_gcf_pipes._request_body import encode_body

STORAGE_TIMEOUT: Final = 30.0
"""Seconds of one operation in the bucket, with its retries."""
POLL_INTERVAL: Final = 0.1
"""Seconds between two polls for an object."""
CONNECT_TIMEOUT: Final = 10.0
_NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})
_CONTEXT: Final[Mapping[str, Any]] = MappingProxyType(
    {
        "asset_keys": ["conformance/orders"],
        "code_version_by_asset_key": {"conformance/orders": "code 1"},
        "provenance_by_asset_key": {"conformance/orders": None},
        "partition_key": None,
        "partition_key_range": None,
        "partition_time_window": None,
        "job_name": "conformance",
        "retry_number": 0,
        "extras": {},
    }
)
_log: Final = getLogger(__name__)
_Result = TypeVar("_Result")


class UnreachableError(Exception):
    """No call reaches the function. The text says why, and what to do."""


@dataclass(frozen=True)
class Delivery:
    """A call that can be delivered, once or several times.

    Attributes:
        prefix: The session's prefix.
        body: The body of the request.
        headers: Its headers.
    """

    prefix: SessionPrefix
    body: bytes
    headers: Mapping[str, str]


@dataclass
class Caller:
    """Calls one function in sessions of its own.

    Args:
        url: The function's URL.
        audience: The audience of the ID token.
        identity: Creates the ID token.
        store: The bucket.
        base: The prefix of all sessions.
        timeout: Seconds that a call may take.
        stop_within: Seconds in which the function must stop after a cancel marker.

    Attributes:
        has_preconditions: Whether the bucket creates an object only once.
        sessions: The sessions that were called in the usual way. Requirements of all sessions are checked in them.
    """

    url: str
    audience: str
    identity: Identity
    store: ObjectStore
    base: str
    timeout: float
    stop_within: float
    sessions: list[Session] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._lock = Lock()
        self.has_preconditions = self._creates_once()

    @property
    def heartbeat_interval(self) -> float | None:
        """The interval that the function announces, or None."""
        return read_opened_extras(self._opened_extras).get("heartbeat_interval")

    @property
    def announces_protocol(self) -> bool:
        """Whether the function says its version of the wire protocol."""
        return "protocol" in self._opened_extras

    @property
    def capabilities(self) -> frozenset[str]:
        """What the function announces."""
        half = Half.parse(self._opened_extras.get("protocol"), self._opened_extras.get("version"))
        return half.capabilities if half else frozenset()

    @property
    def _opened_extras(self) -> Mapping[str, Any]:
        return self.sessions[0].opened_extras if self.sessions else {}

    def new_prefix(self, name: str) -> SessionPrefix:
        """Return the prefix of a new session."""
        return SessionPrefix(self.store.bucket, f"{self.base}/{name}/{uuid.uuid4().hex[:8]}")

    def prepare(
        self,
        task: str,
        *,
        prefix: SessionPrefix | None = None,
        event: Mapping[str, Any] = _NOTHING,
        messages: Mapping[str, Any] = _NOTHING,
        context_params: Mapping[str, Any] | None = None,
        keys: Mapping[str, str | None] = _NOTHING,
        headers: Mapping[str, str] = _NOTHING,
    ) -> Delivery:
        """Return a call of a task, in a new session unless a prefix is given.

        Args:
            task: The task.
            prefix: The session's prefix.
            event: Further keys of the event.
            messages: Messages params, in addition to the usual ones or in their place.
            context_params: The context params. Default: a context of one asset.
            keys: Bootstrap keys as they are, in place of the usual ones. None leaves a key out.
            headers: Headers, in addition to the usual ones or in their place.
        """
        prefix = prefix or self.new_prefix(task)
        params = usual_params(prefix)
        bootstrap = {
            DAGSTER_PIPES_CONTEXT_ENV_VAR: encode_param(context_params or params[DAGSTER_PIPES_CONTEXT_ENV_VAR]),
            DAGSTER_PIPES_MESSAGES_ENV_VAR: encode_param({**params[DAGSTER_PIPES_MESSAGES_ENV_VAR], **messages}),
        }
        merged = {key: value for key, value in {**bootstrap, **keys}.items() if value is not None}
        body = encode_body({"task": task, **event}, merged)
        return Delivery(prefix, body, {**self._headers(), **headers})

    def call(self, task: str, **options: Any) -> Session:
        """Call a task as `prepare` says, and return the session. It becomes one of `sessions`."""
        delivery = self.prepare(task, **options)
        return self.read(delivery.prefix, self.deliver(delivery))

    def deliver(self, delivery: Delivery, *, seconds: float = 0.0) -> Answer:
        """Post a call and wait for the response, for `timeout` and that many seconds."""
        started = time.monotonic()
        with create_http_session() as http:
            timeout = (CONNECT_TIMEOUT, self.timeout + seconds)
            auth, headers = self._auth(), delivery.headers
            attempt, response = post(http, self.url, delivery.body, headers=headers, auth=auth, timeout=timeout)
        taken = time.monotonic() - started
        if response is None:
            return Answer(attempt, seconds=taken)
        return Answer(attempt, _lower(response.headers), response.content, taken)

    def get(self) -> Answer:
        """Send a GET."""
        try:
            fetched = fetch(self.url, auth=self._auth(), timeout=(CONNECT_TIMEOUT, self.timeout))
        except PipesCloudFunctionCallError as error:
            return Answer(Attempt(AnsweredBy.NOBODY, error=str(error.description)))
        attempt = Attempt(AnsweredBy.PLATFORM, status=fetched.status)
        return Answer(attempt, _lower(fetched.headers), fetched.body.encode())

    def read(self, prefix: SessionPrefix, answer: Answer) -> Session:
        """Read a session whose call was answered. It becomes one of `sessions`."""
        session = self.look(prefix, answer)
        with self._lock:
            self.sessions.append(session)
        return session

    def look(self, prefix: SessionPrefix, answer: Answer) -> Session:
        """Read what a session contains now."""
        listed = self.store.list_created(prefix.object_prefix, timeout=STORAGE_TIMEOUT)
        created = {number: at for key, at in listed.items() if (number := prefix.chunk_index(key))}
        chunks = {number: self._read(prefix.chunk_key(number)) for number in sorted(created)}
        return Session(prefix, answer, chunks, created)

    def objects(self, prefix: SessionPrefix) -> list[str]:
        """Return the names of a session's objects."""
        return sorted(self.store.list_keys(prefix.object_prefix, timeout=STORAGE_TIMEOUT))

    def create(self, key: str, data: bytes) -> None:
        """Create an object."""
        self.store.create(key, data, timeout=STORAGE_TIMEOUT)

    def wait_for_claim(self, prefix: SessionPrefix, answer: "Future[Answer]") -> bool:
        """Wait until a session is claimed, and return whether it is before its call is answered or too late."""
        deadline = time.monotonic() + self.timeout
        pause = Event()
        while not answer.done() and time.monotonic() < deadline:
            if self.store.read(prefix.chunk_key(1), max_bytes=MAX_CHUNK_BYTES, timeout=STORAGE_TIMEOUT) is not None:
                return True
            pause.wait(POLL_INTERVAL)
        return False

    def _creates_once(self) -> bool:
        """Return whether the bucket creates an object only once. Some emulators ignore the precondition."""
        key = f"{self.base}/precondition"
        self.create(key, b"first")
        try:
            self.create(key, b"second")
        except PipesObjectExistsError:
            return True
        return False

    def _read(self, key: str) -> bytes:
        return self.store.read(key, max_bytes=MAX_CHUNK_BYTES, timeout=STORAGE_TIMEOUT) or b""

    def _auth(self) -> FunctionAuth:
        return FunctionAuth(self.identity, audience=self.audience, log=_log)

    def _headers(self) -> dict[str, str]:
        storage = EMULATOR if uses_emulator() else CLOUD
        timeout = str(max(1, round(self.timeout * 10)))  # no call of a healthy function comes near it
        return {TIMEOUT_HEADER: timeout, STORAGE_HEADER: storage, **Half.ours().headers}


def _lower(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.lower(): value for name, value in headers.items()}


def usual_params(prefix: SessionPrefix) -> dict[str, dict[str, Any]]:
    """Return the context params and the messages params of a session, by the bootstrap keys."""
    messages = {BUCKET_PARAM: prefix.bucket, KEY_PREFIX_PARAM: prefix.path, "include_stdio_in_messages": False}
    return {
        DAGSTER_PIPES_CONTEXT_ENV_VAR: {"data": context_of(prefix.path)},
        DAGSTER_PIPES_MESSAGES_ENV_VAR: messages,
    }


def context_of(run_id: str, **fields: Any) -> dict[str, Any]:
    """Return a Pipes context."""
    return {**_CONTEXT, "run_id": run_id, **fields}


def encode(data: bytes) -> str:
    """Encode bytes as a bootstrap key: like `encode_param`, but of any bytes."""
    return b64encode(zlib.compress(data)).decode("ascii")


def dumps(value: object) -> str:
    """Return a value as the start of its JSON, for a text."""
    text = json.dumps(value, ensure_ascii=False, default=repr)
    return text if len(text) <= 300 else f"{text[:300]}..."  # noqa: PLR2004


def in_background(function: Callable[[], _Result]) -> "Future[_Result]":
    """Call a function in a daemon thread; return a future of its result."""
    future: Future[_Result] = Future()

    def work() -> None:
        try:
            future.set_result(function())
        except BaseException as error:  # noqa: BLE001 - `result` raises it
            future.set_exception(error)

    Thread(target=work, name="conformance", daemon=True).start()
    return future
