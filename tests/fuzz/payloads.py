"""Strategies for requests: from noise to calls with a single fault in them."""

import base64
import json
import zlib
from collections.abc import Callable
from copy import deepcopy
from typing import Any, Final

from gcf_pipes._shared.protocol import BOOTSTRAP_KEYS
from hypothesis import strategies as st

from tests.fuzz.oracle import ALLOWED_BUCKET, ALLOWED_PREFIX, TIMEOUT_HEADER, Request
from tests.json_strategies import any_text, json_values_of

CONTEXT_KEY, MESSAGES_KEY = BOOTSTRAP_KEYS

numbers = st.one_of(
    st.integers(-5, 5),
    st.sampled_from([-(2**63), 2**64, 10**4000, -(10**4000)]),
    st.floats(),  # json.dumps writes NaN and Infinity, and json.loads reads them
)
json_values = json_values_of(any_text, numbers)

buckets = st.sampled_from(
    [
        "another-bucket",
        ALLOWED_BUCKET + "x",
        ALLOWED_BUCKET[:-1],
        ALLOWED_BUCKET.upper(),
        f"{ALLOWED_BUCKET}/",
        f" {ALLOWED_BUCKET}",
        f"{ALLOWED_BUCKET}\0",
        f"gs://{ALLOWED_BUCKET}",
        f"../{ALLOWED_BUCKET}",
        "",
    ]
)
keys = st.sampled_from(
    [
        "other/x",
        "",
        "/",
        ALLOWED_PREFIX,
        f"{ALLOWED_PREFIX}/",
        f"{ALLOWED_PREFIX}//",
        f"{ALLOWED_PREFIX}x/y",
        f"/{ALLOWED_PREFIX}/x",
        f"{ALLOWED_PREFIX}/../x",
        f"{ALLOWED_PREFIX}/./x",
        f"{ALLOWED_PREFIX}/x/..",
        f"./{ALLOWED_PREFIX}/x",
        f"{ALLOWED_PREFIX}\\x",
        f"{ALLOWED_PREFIX}%2fx",
        f"{ALLOWED_PREFIX}/\0",
        f"{ALLOWED_PREFIX}/x\n",
        f"{ALLOWED_PREFIX}/\u202e",
        f"{ALLOWED_PREFIX}/\ud800",
        f"{ALLOWED_PREFIX}/{'x' * 1001}",
        f"{ALLOWED_PREFIX}/{'é' * 501}",
        f"{ALLOWED_PREFIX}/é",
        f"{ALLOWED_PREFIX}//x",
        f"{ALLOWED_PREFIX}/x//y",
        f"{ALLOWED_PREFIX}/x/",
        f"{ALLOWED_PREFIX}/?#%2e%2e/x",
    ]
)
"""Keys outside the prefix, keys that look like that, and odd ones below it."""

values = st.one_of(json_values, buckets, keys)

_NESTED: Final = [b"[" * depth + b"]" * depth for depth in (10, 500, 100_000)]
_BOMBS: Final = [
    zlib.compress(content)
    for content in (
        b" " * 4_000_000,
        b"[" * 4_000_000,
        b'{"bucket":' * 100_000,
        b'"' + b"x" * 4_000_000 + b'"',
        b"9" * 4_000_000,
        zlib.compress(b" " * 4_000_000),
        b" " * 33_600_000,
        b'{"a":[' + b'{"":1},' * 500_000 + b"0]}",
    )
]
_ODD_BODIES: Final = [
    *(b"", b"\xef\xbb\xbf{}", b"{}{}", b'{"a": ' + b"9" * 5000 + b"}", b'{"a": 1e999999}', b'{"a": "\xed\xa0\x80"}'),
    *_NESTED,
    *_BOMBS,
]


def call(prefix: str = f"{ALLOWED_PREFIX}/session") -> dict[str, Any]:
    """Return the two params of a call that runs, not encoded."""
    data: dict[str, Any] = {
        "asset_keys": ["orders", "customers"],
        "code_version_by_asset_key": {"orders": None, "customers": "v1"},
        "provenance_by_asset_key": {
            "orders": None,
            "customers": {"code_version": "v1", "input_data_versions": {"raw": "7f"}, "is_user_provided": False},
        },
        "partition_key": "2024-01-01",
        "partition_key_range": {"start": "2024-01-01", "end": "2024-01-01"},
        "partition_time_window": {"start": "2024-01-01T00:00:00+00:00", "end": "2024-01-02T00:00:00+00:00"},
        "run_id": "some-run",
        "job_name": None,
        "retry_number": 0,
        "extras": {},
    }
    return {CONTEXT_KEY: {"data": data}, MESSAGES_KEY: {"bucket": ALLOWED_BUCKET, "key_prefix": prefix}}


def encode(params: Any) -> str:
    """Encode a value as Dagster encodes the params."""
    return base64.b64encode(zlib.compress(json.dumps(params).encode("ascii"))).decode("ascii")


def body_of(params: dict[str, Any]) -> bytes:
    """Return the body that carries these params."""
    return json.dumps({key: encode(value) for key, value in params.items()}).encode("ascii")


@st.composite
def near_calls(draw: st.DrawFn) -> bytes:
    """A call with one to three mutations, at any level."""
    params = call()
    encodings: dict[str, Any] = {}
    damage: Callable[[bytes], bytes] = bytes
    for _ in range(draw(st.sampled_from([1, 1, 1, 2, 3]))):  # more faults could hide one that is not refused
        level = draw(st.sampled_from(["data", "data", "data", "context", "messages", "event", "encoding", "body"]))
        if level == "data":
            _mutate_field(draw, params.get(CONTEXT_KEY, {}), "data")
        elif level == "context":
            params[CONTEXT_KEY] = draw(_contexts | _versions.map(lambda version: {**call()[CONTEXT_KEY], **version}))
        elif level == "messages":
            params[MESSAGES_KEY] = draw(_messages | _versions.map(lambda version: {**call()[MESSAGES_KEY], **version}))
        elif level == "encoding":
            encodings[draw(st.sampled_from(BOOTSTRAP_KEYS))] = draw(_encoders)
        elif level == "event":
            encodings[draw(st.sampled_from(BOOTSTRAP_KEYS))] = draw(_replacements)
        else:
            damage = draw(_damages)
    event = {key: encodings.get(key, encode)(value) for key, value in params.items()}
    return damage(json.dumps({key: value for key, value in event.items() if value is not _ABSENT}).encode("ascii"))


_ABSENT: Final = object()


def _mutate_field(draw: st.DrawFn, context: Any, name: str) -> None:
    """Remove, replace or add something in the context, at any depth."""
    target = context.get(name) if isinstance(context, dict) else None
    if not isinstance(target, dict) or not target:
        return
    key = draw(st.sampled_from(sorted(target)))
    while isinstance(target[key], dict) and target[key] and draw(st.booleans()):
        target = target[key]
        key = draw(st.sampled_from(sorted(target)))
    change = draw(st.sampled_from(["remove", "replace", "replace", "add"]))
    if change == "remove":
        del target[key]
    elif isinstance(target[key], list) and draw(st.booleans()):
        target[key] = [*target[key], draw(values)]
    else:
        target[draw(any_text) if change == "add" else key] = draw(values | _shapes.map(deepcopy))


def _constant(value: Any) -> Callable[[Any], Any]:
    return lambda _: value


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _packed(params: Any) -> bytes:
    return zlib.compress(json.dumps(params).encode("ascii"))


def _cut(data: bytes, share: float) -> bytes:
    return data[: int(len(data) * share)]


def _flipped(data: bytes, share: float) -> bytes:
    position = int(len(data) * share)
    return data[:position] + bytes(255 - byte for byte in data[position : position + 1]) + data[position + 1 :]


_shares = st.floats(0, 1, exclude_max=True)
_shapes = st.sampled_from(
    [
        {"start": "2024-01-01", "end": "2024-01-02"},
        {"start": "2024-01-01"},
        {"start": 1, "end": None},
        {"orders": None},
        {"orders": "v1"},
        {"orders": {"code_version": "v1", "input_data_versions": {"raw": "7f"}, "is_user_provided": False}},
        {"orders": {"code_version": "v1", "input_data_versions": {"raw": 7}, "is_user_provided": 1}},
        ["orders", "customers"],
        ["orders", None],
        [],
        -1,
        True,
    ]
)
"""Valid for one field of the context, and invalid for another."""
_replacements = st.one_of(st.just(_constant(_ABSENT)), values.map(_constant))
_encoders: st.SearchStrategy[Callable[[Any], Any]] = st.one_of(
    st.integers(1, 6).map(lambda count: lambda params: _base64(_packed(params)[:-count])),  # the checksum has 4 bytes
    _shares.map(lambda share: lambda params: _base64(_cut(_packed(params), share))),
    _shares.map(lambda share: lambda params: _base64(_flipped(_packed(params), share))),
    _shares.map(lambda share: lambda params: encode(params)[: int(len(encode(params)) * share)]),
    st.binary(max_size=20).map(lambda tail: lambda params: _base64(_packed(params) + tail)),
    st.binary(max_size=20).map(lambda data: _constant(_base64(data))),
    st.binary(max_size=20).map(lambda data: _constant(_base64(zlib.compress(data)))),
    any_text.map(lambda text: lambda params: encode(params) + text),
    st.sampled_from(_BOMBS).map(lambda bomb: _constant(_base64(bomb))),
    st.sampled_from(_NESTED).map(lambda nested: _constant(_base64(zlib.compress(nested)))),
    st.sampled_from(
        [
            lambda params: params,  # not encoded
            json.dumps,
            lambda params: _base64(json.dumps(params).encode("ascii")),
            lambda params: encode(encode(params)),
            lambda params: _base64(zlib.compress(_packed(params))),
            lambda params: [encode(params)],
            lambda params: encode(params).replace("=", "\n"),
            lambda params: _base64(zlib.compress(json.dumps(params).encode("utf-16"))),
            lambda params: _base64(
                zlib.compress(json.dumps(params, ensure_ascii=False).encode("utf-8", "surrogatepass"))
            ),
        ]
    ),
)
_versions = (st.sampled_from(["0.1", "0.2", "", "9" * 10_000, 0.1]) | values).map(
    lambda version: {"__dagster_pipes_version": version}
)
_contexts = st.one_of(
    values,
    st.fixed_dictionaries({"data": values}),
    st.fixed_dictionaries({}, optional={"bucket": values, "key": values, "path": values}),
    st.fixed_dictionaries({"bucket": buckets | st.just(ALLOWED_BUCKET), "key": keys}),
)
_messages = st.one_of(
    values,
    st.fixed_dictionaries({}, optional={"bucket": values, "key_prefix": values, "path": values}),
    st.fixed_dictionaries({"bucket": st.just(ALLOWED_BUCKET), "key_prefix": keys}),
    st.fixed_dictionaries({"bucket": st.just(ALLOWED_BUCKET), "key_prefix": values}),
    st.fixed_dictionaries({"bucket": buckets, "key_prefix": st.just(f"{ALLOWED_PREFIX}/session")}),
    st.fixed_dictionaries(
        {
            "bucket": st.just(ALLOWED_BUCKET),
            "key_prefix": st.just(f"{ALLOWED_PREFIX}/session"),
            "include_stdio_in_messages": values,
        }
    ),
)
_damages: st.SearchStrategy[Callable[[bytes], bytes]] = st.one_of(
    _shares.map(lambda share: lambda body: _cut(body, share)),
    _shares.map(lambda share: lambda body: _flipped(body, share)),
    st.binary(max_size=8).map(lambda tail: lambda body: body + tail),
    st.binary(max_size=8).map(lambda head: lambda body: head + body),
    st.sampled_from(
        [
            lambda body: b"[" + body + b"]",
            lambda body: json.dumps(body.decode("ascii")).encode("ascii"),
            lambda body: body.decode("ascii").encode("utf-16"),
            lambda body: body.decode("ascii").encode("utf-32-le"),
            lambda body: b"\xef\xbb\xbf" + body,
            lambda body: body[:-1] + b', "' + CONTEXT_KEY.encode("ascii") + b'": null}',
        ]
    ),
)

_bodies: st.SearchStrategy[bytes] = st.one_of(
    st.binary(max_size=100),
    json_values.map(lambda value: json.dumps(value).encode("ascii")),
    json_values.map(lambda value: json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")),
    st.sampled_from(_ODD_BODIES),
    near_calls(),
    near_calls(),
    near_calls(),
    near_calls(),
)

latin_text = st.text(st.characters(max_codepoint=255, exclude_characters="\r\n"), max_size=30)
"""Values of headers: a server refuses line ends, and reads each byte as a character of Latin-1."""
_seconds = st.one_of(
    st.integers(5, 999_999).map(str),
    st.sampled_from(["0", "00", "007", "-1", "+5", "5.0", "1e3", "0x10", "1_0", "5,5", "inf", "NaN", "²"]),
    st.sampled_from(["", " 5", "5 ", "\xa05"]),
    st.sampled_from(["1000000", "9" * 5_000, "5;" * 10_000]),
    latin_text,
)
_content_types = st.one_of(
    st.sampled_from(
        [
            "application/json; charset=utf-16",
            "application/x-www-form-urlencoded",
            "multipart/form-data",
            "multipart/form-data; boundary=x",
            "text/plain",
            "*/*",
            ";" * 1_000,
            "",
        ]
    ),
    latin_text,
)
_other_names = st.sampled_from(
    [
        "Authorization",
        "Content-Encoding",
        "Cookie",
        "Dagster-Pipes-Chunk-Count",
        "Dagster-Pipes-Error",
        "Expect",
        "Function-Execution-Id",
        "Traceparent",
        "X-Cloud-Trace-Context",
        "X-Http-Method-Override",
    ]
)
_headers = st.one_of(
    st.tuples(st.just(TIMEOUT_HEADER), _seconds),
    st.tuples(st.just("Content-Type"), _content_types),
    st.tuples(_other_names, latin_text | st.sampled_from(["gzip", "100-continue", "GET", "x" * 10_000])),
)
_methods = st.sampled_from(["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW", "POSTED", "G" * 1_000])

requests: st.SearchStrategy[Request] = st.one_of(
    _bodies.map(Request),
    _bodies.map(Request),
    _bodies.map(Request),
    st.builds(Request, st.builds(lambda: body_of(call())), headers=st.lists(_headers, max_size=3).map(tuple)),
    st.builds(Request, _bodies, st.just("POST") | _methods, st.lists(_headers, max_size=3).map(tuple)),
)
"""Every kind of request; about half have a call for a body, with a few mutations."""
