"""Evaluates the part of Cloud Logging's query language that the package uses.

That is comparisons with `=`, `:`, `>=` and `<=`, `log_id()`, parentheses, OR, which binds tighter than AND, and AND,
which may be omitted. Texts are compared without regard to case, numbers as numbers. Everything else is refused.

Source: https://cloud.google.com/logging/docs/view/logging-query-language.
"""

import json
import operator
import re
from collections import deque
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final, TypeAlias
from urllib.parse import unquote

Entry: TypeAlias = dict[str, Any]
Predicate: TypeAlias = Callable[[Entry], bool]

MAX_FILTER: Final = 20_000
"""Characters of a filter. Source: https://cloud.google.com/logging/quotas."""
_FIELDS: Final = (
    "httpRequest", "insertId", "jsonPayload", "labels", "logName", "operation", "protoPayload", "receiveTimestamp",
    "resource", "severity", "sourceLocation", "spanId", "textPayload", "timestamp", "trace",
)  # fmt: skip
_TIMES: Final = ("timestamp", "receiveTimestamp")
_OPERATORS: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "=": operator.eq,
    ">=": operator.ge,
    "<=": operator.le,
}
_SEVERITIES: Final = (
    "DEFAULT", "DEBUG", "INFO", "NOTICE", "WARNING", "ERROR", "CRITICAL", "ALERT", "EMERGENCY",
)  # fmt: skip
_TOKEN: Final = re.compile(r'\s*("(?:\\.|[^"\\])*"|>=|<=|[=:()]|-?[0-9]+(?:\.[0-9]+)?|[A-Za-z_][\w.]*)')


def parse_filter(text: str) -> Predicate:
    """Return a predicate of entries that evaluates a filter.

    Raises:
        ValueError: It cannot be parsed.
    """
    if len(text) > MAX_FILTER:
        raise ValueError(f"The filter is too long: {len(text)} characters, the maximum is {MAX_FILTER}.")
    tokens = deque(_tokens(text))
    predicate = _conjunction(tokens)
    if tokens:
        raise ValueError(f"Unparseable filter: syntax error at token '{tokens[0]}'")
    return predicate


def moment(text: str) -> datetime:
    """Return the time that an entry or a filter names."""
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


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


def _comparison(field: str, sign: str, value: str) -> Predicate:
    if field.partition(".")[0] not in _FIELDS:
        raise ValueError(f"Field not found: '{field}'.")
    if sign not in (":", *_OPERATORS):
        raise ValueError(f"Unparseable filter: expected a comparison after '{field}', got '{sign}'")

    def matches(entry: Entry) -> bool:
        found: Any = entry
        for name in field.split("."):
            found = found.get(name) if isinstance(found, dict) else None
        if field == "severity":
            found = found or "DEFAULT"
        if sign == ":":
            return isinstance(found, str) and value.lower() in found.lower()
        return _holds(field, found, sign, value)

    return matches


def _holds(field: str, found: object, sign: str, value: str) -> bool:
    compare = _OPERATORS[sign]
    if isinstance(found, int | float):
        return bool(compare(found, number)) if (number := _number(value)) is not None else False
    if not isinstance(found, str):
        return False
    if field == "severity":
        return bool(compare(_SEVERITIES.index(found), _SEVERITIES.index(value.upper())))
    if field in _TIMES:
        return bool(compare(moment(found), moment(value)))
    return bool(compare(found.lower(), value.lower()))


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
