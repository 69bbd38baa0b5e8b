"""Requests that the function has to refuse before it runs the user's code, and before it writes anything."""

import json
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from dagster_pipes import (
    DAGSTER_PIPES_CONTEXT_ENV_VAR,
    DAGSTER_PIPES_MESSAGES_ENV_VAR,
    PIPES_PROTOCOL_VERSION_FIELD,
    encode_param,
)
from gcf_pipes._shared.protocol import (
    BUCKET_PARAM,
    CLOUD,
    EMULATOR,
    KEY_PREFIX_PARAM,
    MAX_INLINE_CONTEXT_BYTES,
    MAX_MESSAGES_PARAMS_BYTES,
    PROTOCOL,
    PROTOCOL_HEADER,
    STORAGE_HEADER,
)
from gcf_pipes._shared.storage import uses_emulator

from dagster_gcf_pipes._conformance.calls import Caller, Delivery, context_of, dumps, encode, usual_params
from dagster_gcf_pipes._conformance.findings import Check, Checks, NotThereError, expect
from dagster_gcf_pipes._conformance.sessions import Answer
from dagster_gcf_pipes._http import AnsweredBy

BAD_REQUEST: Final = 400
CODE: Final = "bad_request"
_MESSAGES: Final = DAGSTER_PIPES_MESSAGES_ENV_VAR
_CONTEXT: Final = DAGSTER_PIPES_CONTEXT_ENV_VAR


@dataclass(frozen=True)
class Wrong:
    """A wrong request, and what became of it.

    Attributes:
        what: What is wrong with it.
        answer: The response.
        objects: What the function wrote.
    """

    what: str
    answer: Answer
    objects: Sequence[str] = ()

    def check(self) -> None:
        """Check that the function refused it."""
        answer = self.answer
        right = (
            answer.status == BAD_REQUEST
            and answer.headers.get("dagster-pipes-error") == CODE
            and answer.headers.get("dagster-pipes-chunk-count") == "0"
        )
        expected = f"HTTP {BAD_REQUEST}, Dagster-Pipes-Error: {CODE}, Dagster-Pipes-Chunk-Count: 0 for {self.what}"
        expect(right, expected, answer.description)
        expect(not self.objects, f"nothing to be written for {self.what}", ", ".join(self.objects))


def refuse(caller: Caller) -> Checks:
    """Send what is wrong with a request in itself."""
    bomb = (_CONTEXT, MAX_INLINE_CONTEXT_BYTES), (_MESSAGES, MAX_MESSAGES_PARAMS_BYTES)
    return {
        "refuses-get": _refused([Wrong("a GET", caller.get())]),
        "refuses-body": _refused([_body(caller, body) for body in (b"", b"table=orders", b"[1, 2]", b"\xff{}")]),
        "refuses-missing-keys": _refused([_key(caller, key, None) for key in (_MESSAGES, _CONTEXT)]),
        "refuses-encoding": _refused([_key(caller, key, value) for key, value in _not_encoded()]),
        "refuses-params": _refused([_typed(caller, key, value) for key, value in _wrong_types(caller)]),
        "refuses-pipes-version": _refused([_of_another_pipes(caller)]),
        "refuses-bomb": _refused([_padded(caller, key, size) for key, size in bomb]),
    }


def refuse_what_does_not_fit(caller: Caller) -> Checks:
    """Send what another function could do, but perhaps not this one.

    A function that announces its own protocol must look at Dagster's.
    """
    other_storage = CLOUD if uses_emulator() else EMULATOR
    checked = _refused if caller.announces_protocol else _optional
    return {
        "refuses-protocol": checked([_header(caller, PROTOCOL_HEADER, f"{PROTOCOL + 98}")]),
        "refuses-capability": checked([_header(caller, PROTOCOL_HEADER, f"{PROTOCOL} conformance_unknown")]),
        "refuses-storage": _optional([_header(caller, STORAGE_HEADER, other_storage)]),
        "refuses-bucket": _another_bucket(caller),
        "refusal-text": _text(_body(caller, b"[]")),
    }


def _refused(requests: Sequence[Wrong]) -> Check:
    def check() -> str:
        for request in requests:
            request.check()
        return ", ".join(request.what for request in requests)

    return check


def _optional(requests: Sequence[Wrong]) -> Check:
    def check() -> str:
        if taken := [request.what for request in requests if request.answer.is_from_function]:
            raise NotThereError(f"the function runs the call with {', '.join(taken)}")
        return _refused(requests)()

    return check


def _body(caller: Caller, body: bytes) -> Wrong:
    return _sent(caller, replace(caller.prepare("report"), body=body), f"the body {body!r}")


def _key(caller: Caller, key: str, value: str | None) -> Wrong:
    shown = "a body without" if value is None else f"{value!r} as"
    return _sent(caller, caller.prepare("report", keys={key: value}), f"{shown} {key}")


def _typed(caller: Caller, key: str, value: object) -> Wrong:
    delivery = caller.prepare("report", keys={key: encode_param(value)})
    return _sent(caller, delivery, f"the params {dumps(value)} in {key}")


def _header(caller: Caller, name: str, value: str) -> Wrong:
    return _sent(caller, caller.prepare("report", headers={name: value}), f"the header {name}: {value}")


def _sent(caller: Caller, delivery: Delivery, what: str) -> Wrong:
    answer = caller.deliver(delivery)
    return Wrong(what, answer, caller.objects(delivery.prefix))


def _not_encoded() -> Iterator[tuple[str, str]]:
    for key in (_MESSAGES, _CONTEXT):
        yield key, "%%%"
        yield key, "bm90IHpsaWI="  # base64, but not zlib
        yield key, encode(b'{"bucket": ')
        yield key, encode(b"[]")


def _wrong_types(caller: Caller) -> Iterator[tuple[str, Any]]:
    prefix = caller.new_prefix("report")
    yield _MESSAGES, {BUCKET_PARAM: 1, KEY_PREFIX_PARAM: prefix.path}
    yield _MESSAGES, {KEY_PREFIX_PARAM: prefix.path}
    yield _MESSAGES, {BUCKET_PARAM: prefix.bucket, KEY_PREFIX_PARAM: []}
    yield _CONTEXT, {"data": 1}
    yield _CONTEXT, {"data": {"retry_number": 0, "extras": {}}}
    yield _CONTEXT, {"data": {**context_of("run"), "asset_keys": "orders"}}
    yield _CONTEXT, {"path": "/etc/hostname"}


def _of_another_pipes(caller: Caller) -> Wrong:
    delivery = caller.prepare("report", messages={PIPES_PROTOCOL_VERSION_FIELD: "999.0"})
    return _sent(caller, delivery, f"{PIPES_PROTOCOL_VERSION_FIELD} 999.0 in the messages params")


def _padded(caller: Caller, key: str, size: int) -> Wrong:
    """Send params that are right, and followed by as many spaces: only their size is wrong."""
    prefix = caller.new_prefix("report")
    data = json.dumps(usual_params(prefix)[key]).encode() + b" " * size
    delivery = caller.prepare("report", prefix=prefix, keys={key: encode(data)})
    return _sent(caller, delivery, f"{key} of {len(data):,} bytes when decompressed")


def _another_bucket(caller: Caller) -> Check:
    """Name a bucket that does not exist. A function that restricts its buckets does not even try it."""
    prefix = caller.new_prefix("report")
    params = {BUCKET_PARAM: f"conformance-{uuid.uuid4().hex}", KEY_PREFIX_PARAM: prefix.path}
    answer = caller.deliver(caller.prepare("report", keys={_MESSAGES: encode_param(params)}))

    def check() -> str:
        code = answer.headers.get("dagster-pipes-error")
        if code is not None and code != CODE and answer.attempt.answered_by is AnsweredBy.REFUSAL:
            raise NotThereError(f"the function tried to use the bucket ({code})")
        Wrong("another bucket", answer).check()
        return "a bucket of another name"

    return check


def _text(request: Wrong) -> Check:
    def check() -> str:
        error = request.answer.json.get("error") if isinstance(request.answer.json, dict) else None
        if not isinstance(error, dict):
            raise NotThereError(f"the body of a refusal is {request.answer.body[:200].decode('utf-8', 'replace')!r}")
        code, message = error.get("code"), error.get("message")
        expected = f"the code {CODE!r} and a message in the body"
        expect(code == CODE and isinstance(message, str) and message, expected, request.answer.description)
        return str(message)

    return check
