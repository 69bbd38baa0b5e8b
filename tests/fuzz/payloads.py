"""Strategies for what a caller may send: from noise to calls with a single fault in them."""

import base64
import json
import zlib
from collections.abc import Callable
from typing import Any, Final

from gcf_pipes._protocol import BOOTSTRAP_KEYS
from hypothesis import strategies as st

from tests.fuzz import PLACE

CONTEXT_KEY, MESSAGES_KEY = BOOTSTRAP_KEYS

any_text = st.text(st.characters(exclude_categories=()), max_size=20)
"""Text with every code point, lone surrogates among them."""

numbers = st.one_of(
    st.integers(-5, 5),
    st.sampled_from([-(2**63), 2**64, 10**4000, -(10**4000)]),
    st.floats(),  # json.dumps writes NaN and Infinity, and json.loads reads them
)
json_values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | numbers | any_text,
    lambda children: st.lists(children, max_size=3) | st.dictionaries(any_text, children, max_size=3),
    max_leaves=6,
)

buckets = st.sampled_from(
    [
        "another-bucket",
        PLACE.bucket + "x",
        PLACE.bucket[:-1],
        PLACE.bucket.upper(),
        f"{PLACE.bucket}/",
        f" {PLACE.bucket}",
        f"{PLACE.bucket}\0",
        f"gs://{PLACE.bucket}",
        f"../{PLACE.bucket}",
        "",
    ]
)
keys = st.sampled_from(
    [
        "other/x",
        "",
        "/",
        PLACE.key_prefix,
        f"{PLACE.key_prefix}/",
        f"{PLACE.key_prefix}//",
        f"{PLACE.key_prefix}x/y",
        f"/{PLACE.key_prefix}/x",
        f"{PLACE.key_prefix}/../x",
        f"{PLACE.key_prefix}/./x",
        f"{PLACE.key_prefix}/x/..",
        f"./{PLACE.key_prefix}/x",
        f"{PLACE.key_prefix}\\x",
        f"{PLACE.key_prefix}%2fx",
        f"{PLACE.key_prefix}/\0",
        f"{PLACE.key_prefix}/x\n",
        f"{PLACE.key_prefix}/\u202e",
        f"{PLACE.key_prefix}/\ud800",
        f"{PLACE.key_prefix}/{'x' * 1001}",
        f"{PLACE.key_prefix}/{'é' * 501}",
        f"{PLACE.key_prefix}/é",
        f"{PLACE.key_prefix}//x",
        f"{PLACE.key_prefix}/?#%2e%2e/x",
    ]
)
"""Keys that leave the prefix or look as if they did, and some odd ones below it."""

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
    )
]
_ODD_BODIES: Final = [
    b"",
    b"\xef\xbb\xbf{}",
    b"{}" * 2,
    b'{"a": ' + b"9" * 5000 + b"}",
    b'{"a": 1e999999}',
    b'{"a": "\xed\xa0\x80"}',
    *_NESTED,
    *_BOMBS,
]


def call(prefix: str = f"{PLACE.key_prefix}/session") -> dict[str, Any]:
    """Return the two params of a call that runs, not encoded."""
    data: dict[str, Any] = {
        "asset_keys": ["orders"],
        "code_version_by_asset_key": {"orders": None},
        "provenance_by_asset_key": {"orders": None},
        "partition_key": None,
        "partition_key_range": None,
        "partition_time_window": None,
        "run_id": "some-run",
        "job_name": None,
        "retry_number": 0,
        "extras": {},
    }
    return {CONTEXT_KEY: {"data": data}, MESSAGES_KEY: {"bucket": PLACE.bucket, "key_prefix": prefix}}


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
    for _ in range(draw(st.sampled_from([1, 1, 1, 2, 3]))):  # another fault hides the one that is let through
        level = draw(st.sampled_from(["data", "context", "place", "event", "encoding", "body"]))
        if level == "data":
            _mutate_field(draw, params.get(CONTEXT_KEY, {}), "data")
        elif level == "context":
            params[CONTEXT_KEY] = draw(_contexts)
        elif level == "place":
            params[MESSAGES_KEY] = draw(_places)
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
    data = context.get(name) if isinstance(context, dict) else None
    if not isinstance(data, dict) or not data:
        return
    field = draw(st.sampled_from(sorted(data)))
    if draw(st.booleans()):
        del data[field]
    else:
        data[field] = draw(values)


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
_contexts = st.one_of(
    values,
    st.fixed_dictionaries({"data": values}),
    st.fixed_dictionaries({}, optional={"bucket": values, "key": values, "path": values}),
    st.fixed_dictionaries({"bucket": buckets | st.just(PLACE.bucket), "key": keys}),
)
_places = st.one_of(
    values,
    st.fixed_dictionaries({}, optional={"bucket": values, "key_prefix": values, "path": values}),
    st.fixed_dictionaries({"bucket": st.just(PLACE.bucket), "key_prefix": keys}),
    st.fixed_dictionaries({"bucket": st.just(PLACE.bucket), "key_prefix": values}),
    st.fixed_dictionaries({"bucket": buckets, "key_prefix": st.just(f"{PLACE.key_prefix}/session")}),
    st.fixed_dictionaries(
        {
            "bucket": st.just(PLACE.bucket),
            "key_prefix": st.just(f"{PLACE.key_prefix}/session"),
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

payloads: st.SearchStrategy[bytes] = st.one_of(
    st.binary(max_size=100),
    json_values.map(lambda value: json.dumps(value).encode("ascii")),
    json_values.map(lambda value: json.dumps(value, ensure_ascii=False).encode("utf-8", "surrogatepass")),
    st.sampled_from(_ODD_BODIES),
    near_calls(),
    near_calls(),
    near_calls(),
    near_calls(),
)
"""Every kind of payload; half of them are calls with a few mutations."""
