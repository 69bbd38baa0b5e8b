"""Strategies for forged chunks: from noise to messages with a single fault in them."""

import json
from typing import Any, Final, get_args

from dagster_pipes import Method, PipesMetadataType
from hypothesis import strategies as st

from tests.fuzz.payloads import json_values
from tests.json_strategies import any_text

METHODS: Final = get_args(Method)
_NESTED: Final = [
    opening * depth + closing * depth for opening, closing in (("[", "]"), ('{"a":', "}")) for depth in (400, 100_000)
]


def line(method: Any, params: Any, *, version: Any = "0.1") -> bytes:
    """Return a message as a line of a chunk."""
    return json.dumps({"__dagster_pipes_version": version, "method": method, "params": params}).encode("ascii")


def exception(**fields: Any) -> dict[str, Any]:
    """Return an exception of `closed`, with some fields replaced."""
    return {
        "message": "ValueError: boom\n",
        "stack": ["  File\n"],
        "name": "ValueError",
        "cause": None,
        "context": None,
        **fields,
    }


def chain(length: int, link: str) -> dict[str, Any]:
    """Return an exception with so many earlier ones."""
    earliest = exception(message="the earliest")
    for _ in range(length):
        earliest = exception(**{link: earliest})
    return earliest


_exceptions = st.one_of(
    json_values,
    st.just(exception()),
    st.builds(chain, st.sampled_from([1, 30, 100, 150, 200, 240, 300, 400]), st.sampled_from(["cause", "context"])),
    st.tuples(st.sampled_from(sorted(exception())), json_values | st.just(exception())).map(
        lambda field: exception(**{field[0]: field[1]})
    ),
    st.sampled_from(sorted(exception())).map(
        lambda name: {key: value for key, value in exception().items() if key != name}
    ),
)
_metadata_types = st.sampled_from([*get_args(PipesMetadataType), "unknown", "", "__class__"])
_raw_values = json_values | st.sampled_from(
    [
        "../../etc/passwd",
        "file:///etc/passwd",
        "javascript:alert(1)",
        {"records": [{"a": 1}], "schema": [{"name": "a", "type": "int"}]},
        {"records": [{"a": []}], "schema": [{"name": 1, "type": {}}]},
        {"columns": [{"name": "a", "type": "int", "constraints": {"nullable": "x", "extra": 1}}]},
        {"deps_by_column": {"a": [{"asset_key": "b", "column_name": 1}]}},
        1e308,
        -1,
    ]
)
_metadata = json_values | st.dictionaries(
    any_text,
    json_values | st.fixed_dictionaries({"type": _metadata_types | json_values, "raw_value": _raw_values}),
    max_size=3,
)
_asset_keys = json_values | st.sampled_from(["orders", "another/asset", "", "/", "\\", "a\\/b", "x" * 10_000, "\ud800"])
_data_versions = json_values | st.sampled_from([None, "v1", "", "x" * 10_000, "\n", "\ud800"])


def _params(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Params with all of these fields, without some, or with an unknown one."""
    return st.one_of(
        st.fixed_dictionaries(fields),
        st.fixed_dictionaries(fields),
        st.fixed_dictionaries({}, optional=fields),
        st.fixed_dictionaries({**fields, "unknown": json_values}),
    )


_messages = st.one_of(
    st.builds(line, st.sampled_from(METHODS), json_values),
    st.builds(
        line,
        st.just("log"),
        _params(
            message=any_text | json_values,
            level=st.sampled_from(["INFO", "debug", "critical", "loud", "", "0", "__class__"]) | json_values,
        ),
    ),
    st.builds(
        line,
        st.just("report_asset_materialization"),
        _params(asset_key=_asset_keys, data_version=_data_versions, metadata=_metadata),
    ),
    st.builds(
        line,
        st.just("report_asset_check"),
        _params(
            asset_key=_asset_keys,
            check_name=any_text | json_values,
            passed=st.booleans() | json_values,
            severity=st.sampled_from(["WARN", "ERROR", "FATAL"]) | json_values,
            metadata=_metadata,
        ),
    ),
    st.builds(line, st.just("report_custom_message"), _params(payload=json_values)),
    st.builds(
        line,
        st.just("log_external_stream"),
        _params(stream=st.sampled_from(["stdout", "stderr", "stdin"]), text=json_values, extras=json_values),
    ),
    st.builds(line, st.just("closed"), _params(exception=_exceptions)),
    st.builds(line, st.just("closed"), _params(exception=_exceptions)),
    st.builds(line, st.just("opened"), _params(extras=json_values)),
    st.builds(line, any_text | json_values, json_values),
    st.builds(line, st.sampled_from(METHODS), st.just({}), version=json_values),
)
_oddities = st.sampled_from(
    [
        b"",
        b"\0",
        b"\xef\xbb\xbf" + line("log", {"message": "with a mark"}),
        line("log", {"message": "wide"}).decode("ascii").encode("utf-16"),
        line("log", {"message": "twice", "level": "INFO"}) * 2,
        b'{"__dagster_pipes_version": "0.1", "method": "log", "method": "closed", "params": {}}',
        b'{"__dagster_pipes_version": "0.1", "method": "log", "params": {"message": "\xed\xa0\x80", "level": "INFO"}}',
        b'{"__dagster_pipes_version": "0.1", "method": "report_custom_message", "params": {"payload": NaN}}',
        b'{"__dagster_pipes_version": "0.1", "method": "report_custom_message", "params": {"payload": '
        + b"9" * 5_000
        + b"}}",
        b'{"__dagster_pipes_version": "0.1", "method": "report_custom_message", "params": {"payload": 1e999999}}',
        *(b'{"__dagster_pipes_version": "0.1", "method": "log", "params": ' + each.encode() + b"}" for each in _NESTED),
        *(
            b'{"__dagster_pipes_version": "0.1", "method": "report_custom_message", "params": {"payload": '
            + each.encode()
            + b"}}"
            for each in _NESTED
        ),
        *(each.encode() for each in _NESTED),
    ]
)
hostile_lines: st.SearchStrategy[bytes] = st.one_of(
    st.binary(max_size=50),
    json_values.map(lambda value: json.dumps(value).encode("ascii")),
    _oddities,
    *[_messages] * 4,
)
"""Every kind of line; most are messages."""
