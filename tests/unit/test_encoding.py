"""Messages become lines that Dagster accepts."""

import json
import logging
from typing import Any

import pytest
from dagster_pipes import DagsterPipesError
from gcf_pipes._encoding import encode_message, make_message
from gcf_pipes._shared.log_levels import standard_level_of
from gcf_pipes._shared.protocol import MAX_EXCEPTION_CHAIN, MAX_EXCEPTION_CHARACTERS, MAX_JSON_DEPTH

from tests.quotes import Quote


def encoded(method: str, params: dict[str, Any]) -> Any:
    return json.loads(encode_message(make_message(method, params)))["params"]


def nested(levels: int, *, objects: bool) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = {"in": value} if objects else [value]
    return value


@pytest.mark.parametrize("objects", [False, True])
def test_json_may_be_nested_as_deep_as_dagster_stores_it(objects: bool) -> None:
    deepest = {"payload": nested(MAX_JSON_DEPTH - 2, objects=objects)}  # the message and its params are levels too
    assert encoded("report_custom_message", deepest) == deepest
    with pytest.raises(DagsterPipesError, match="`report_custom_message` to be nested at most 100 levels deep"):
        encoded("report_custom_message", {"payload": deepest})


def test_a_value_that_contains_itself_is_refused(quote: Quote) -> None:
    value: list[Any] = []
    value.append(value)
    with pytest.raises(DagsterPipesError) as caught:
        encoded("report_custom_message", {"payload": value})
    quote("message_nested_too_deep", str(caught.value))


def test_a_value_that_is_not_json_is_refused(quote: Quote) -> None:
    with pytest.raises(DagsterPipesError) as caught:
        encoded("report_custom_message", {"payload": object()})
    quote("message_not_json", str(caught.value))


@pytest.mark.parametrize(
    ("name", "standard"),
    [
        *((name, name) for name in ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")),
        ("WARN", "WARNING"),
        ("FATAL", "CRITICAL"),
        ("Level 25", "INFO"),
        ("Level 0", "DEBUG"),
        ("Level -5", "DEBUG"),
        ("Level 99", "CRITICAL"),
        ("TRACE_5", "DEBUG"),
        ("unknown", "INFO"),
        ("", "INFO"),
    ],
)
def test_a_level_is_sent_as_the_standard_one_at_or_below_it(name: str, standard: str) -> None:
    logging.addLevelName(5, "TRACE_5")
    assert standard_level_of(name) == standard


def test_a_description_by_other_code_is_bounded_too() -> None:
    """`open_dagster_pipes` describes exceptions itself."""
    exception: dict[str, Any] | None = None
    for number in range(300):
        exception = {
            "message": f"{number}\n",
            "stack": ["s" * 300] * 300,
            "name": "E",
            "cause": exception,
            "context": None,
        }
    sent = encoded("closed", {"exception": exception})["exception"]
    assert encoded("closed", {"exception": sent}) == {"exception": sent}
    messages = []
    while sent:
        assert len("".join(sent["stack"])) <= MAX_EXCEPTION_CHARACTERS
        messages.append(sent["message"])
        sent = sent["cause"]
    assert len(messages) == MAX_EXCEPTION_CHAIN
    assert messages[:2] == ["299\n", "298\n"]
    assert messages[-1] == "280\n280 earlier exceptions left out. See the function's log.\n"
