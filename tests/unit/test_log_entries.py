"""Log lines become one entry while more of them wait; nothing is lost, and nothing changes its place."""

import logging
import re
from collections.abc import Mapping
from itertools import groupby
from typing import Any

import pytest
from dagster_pipes import Method, PipesMessage
from hypothesis import given
from hypothesis import strategies as st

from dagster_gcf_pipes._messages.log_entries import LEVELS, MAX_ENTRY_CHARACTERS, LogEntries, MessageHandlingError
from tests.json_strategies import json_texts

HALF = "x" * (MAX_ENTRY_CHARACTERS // 2)


def message(method: Method, params: Mapping[str, Any] | None) -> PipesMessage:
    return {"__dagster_pipes_version": "0.1", "method": method, "params": params}


def log(text: str, level: str = "INFO") -> PipesMessage:
    return message("log", {"message": text, "level": level})


def custom(payload: object) -> PipesMessage:
    return message("report_custom_message", {"payload": payload})


def handled(messages: list[PipesMessage], *, more_wait: bool = True, **options: Any) -> list[PipesMessage]:
    """Return what Dagster gets."""
    found: list[PipesMessage] = []
    entries = LogEntries(found.append, **{"lines_per_entry": 3, **options})
    for each in messages:
        entries.add(each, "", more_wait=more_wait)
    entries.flush()
    return found


@pytest.mark.parametrize(
    ("given_messages", "expected"),
    [
        ([log("1"), log("2"), log("3")], [log("1\n2\n3")]),
        ([log("1"), log("2"), log("3"), log("4")], [log("1\n2\n3"), log("4")]),
        ([log("1"), log("2", "ERROR"), log("3", "ERROR")], [log("1"), log("2\n3", "ERROR")]),
        ([log("1"), log("2", "ERROR"), log("3")], [log("1"), log("2", "ERROR"), log("3")]),
        ([log("1"), log("2"), custom(3), log("4")], [log("1\n2"), custom(3), log("4")]),
        ([log("1"), message("closed", {})], [log("1"), message("closed", {})]),
        ([log("a\nb"), log(""), log("c\n")], [log("a\nb\n\nc\n")]),
        ([log("1"), message("log", {"message": "2"})], [log("1\n2")]),
        ([message("log", {"message": "1"}), log("2")], [message("log", {"message": "1\n2"})]),
    ],
)
def test_consecutive_lines_of_one_level_are_joined_while_more_wait(
    given_messages: list[PipesMessage], expected: list[PipesMessage]
) -> None:
    assert handled(given_messages) == expected


@pytest.mark.parametrize("options", [{"more_wait": False}, {"lines_per_entry": 1}])
def test_nothing_is_changed_if_nothing_waits_or_no_line_may_be_joined(options: dict[str, Any]) -> None:
    messages = [message("opened", {}), log("1"), log("2"), custom(3), log("4\n5", "ERROR"), message("closed", None)]
    assert handled(messages, **options) == messages


@pytest.mark.parametrize("lines_per_entry", [1, 2])
def test_a_full_entry_waits_for_nothing(lines_per_entry: int) -> None:
    found: list[PipesMessage] = []
    entries = LogEntries(found.append, lines_per_entry=lines_per_entry)
    for number in range(lines_per_entry):
        entries.add(log(str(number)), "", more_wait=True)
    assert len(found) == 1


@pytest.mark.parametrize(
    ("texts", "sizes"),
    [
        ([HALF, HALF[1:]], [MAX_ENTRY_CHARACTERS]),
        ([HALF, HALF, "x"], [len(HALF), len(HALF) + 2]),
        (["x", 3 * HALF, "x"], [1, 3 * len(HALF), 1]),
    ],
)
def test_an_entry_of_several_lines_has_a_bounded_size(texts: list[str], sizes: list[int]) -> None:
    found = handled([log(text) for text in texts])
    assert [len((each["params"] or {})["message"]) for each in found] == sizes


@pytest.mark.parametrize(
    "params",
    [
        None,
        {},
        {"level": "INFO"},
        {"message": 1, "level": "INFO"},
        {"message": "text", "level": 20},
        {"message": "text", "level": None},
        {"message": "text", "level": "NOTICE"},
        {"message": "text", "level": "INFO", "source": "a"},
    ],
)
def test_a_line_of_another_form_is_left_to_dagster(params: dict[str, Any] | None) -> None:
    messages = [log("1"), message("log", params), log("2")]
    assert handled(messages) == messages
    assert messages[1] in handled(messages, event_log_level="critical")


def test_lower_levels_go_to_stdout_with_level_and_time() -> None:
    messages = [log("1"), log("100 %s", "DEBUG"), log("a\nb", "DEBUG"), log("2"), log("3", "ERROR")]
    *output, info, error = handled(messages, event_log_level="info")
    assert [info, error] == [log("1\n2"), log("3", "ERROR")]
    assert [(each["method"], (each["params"] or {})["stream"]) for each in output] == [
        ("log_external_stream", "stdout")
    ] * 2
    time = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [+-]\d{4}"
    assert re.fullmatch(
        rf"{time} - DEBUG - 100 %s\n{time} - DEBUG - a\nb\n", "".join((each["params"] or {})["text"] for each in output)
    )


@pytest.mark.parametrize("name", ["warning", "WARNING"])
def test_the_lowest_level_of_the_event_log_gets_there_itself(name: str) -> None:
    methods = [each["method"] for each in handled([log("", level) for level in LEVELS], event_log_level=name)]
    assert methods == ["log_external_stream"] * 2 + ["log"] * 3


def test_the_levels_are_in_the_order_of_their_numbers() -> None:
    assert sorted(LEVELS, key=lambda level: getattr(logging, level)) == list(LEVELS)


def test_an_unknown_level_is_refused() -> None:
    with pytest.raises(ValueError, match=r"Expected `event_log_level` to be one of .*'CRITICAL'\), got 'notice'"):
        LogEntries(print, event_log_level="notice")


@pytest.mark.parametrize(
    ("messages", "text"),
    [
        ([log("1"), log("2"), log("3")], "the `log` in line 1 to line 3: disk full"),
        ([log("1"), log("2"), custom(3)], "the `log` in line 1 to line 2: disk full"),
        ([log("1"), log("2", "ERROR")], "the `log` in line 1: disk full"),
        ([custom(1)], "the `report_custom_message` in line 1: disk full"),
    ],
)
def test_an_error_names_the_lines_that_dagster_could_not_handle(messages: list[PipesMessage], text: str) -> None:
    def fail(_: PipesMessage) -> None:
        raise OSError("disk full")

    entries = LogEntries(fail, lines_per_entry=3)

    def add_all() -> None:
        for number, each in enumerate(messages, start=1):
            entries.add(each, f"line {number}", more_wait=True)

    with pytest.raises(MessageHandlingError, match=re.escape(f"Dagster cannot handle {text}")):
        add_all()
    entries.flush()  # hands nothing over twice


PRINTED = message("log_external_stream", {"stream": "stdout", "text": "printed"})
texts = json_texts | st.sampled_from([HALF, HALF * 3])
lines = st.builds(log, texts, st.sampled_from(LEVELS))
steps = st.tuples(lines | st.sampled_from([custom(1), PRINTED]), st.booleans())


@given(steps=st.lists(steps, max_size=40), lines_per_entry=st.integers(1, 8), lowest=st.sampled_from(LEVELS))
def test_any_messages_keep_order_level_and_completeness(
    steps: list[tuple[PipesMessage, bool]], lines_per_entry: int, lowest: str
) -> None:
    """Each step is a message, and whether more of them wait."""
    found: list[PipesMessage] = []
    entries = LogEntries(found.append, lines_per_entry=lines_per_entry, event_log_level=lowest)
    sent: list[PipesMessage] = []
    for each, more_wait in steps:
        entries.add(each, "", more_wait=more_wait)
        sent.append(each)
        if not more_wait and not is_below(each, lowest):
            assert in_event_log(found, lowest) == in_event_log(sent, lowest)
    entries.flush()
    assert in_event_log(found, lowest) == in_event_log(sent, lowest)
    below = [each["params"] or {} for each in sent if is_below(each, lowest)]
    output = [(each["params"] or {})["text"] for each in found if is_output_of_a_line(each)]
    assert all(
        text.endswith(f" - {line['level']} - {line['message']}\n") for text, line in zip(output, below, strict=True)
    )
    assert all(each in sent for each in found if len((each["params"] or {}).get("message", "")) > MAX_ENTRY_CHARACTERS)


def is_below(each: PipesMessage, lowest: str) -> bool:
    return each["method"] == "log" and LEVELS.index((each["params"] or {})["level"]) < LEVELS.index(lowest)


def is_output_of_a_line(each: PipesMessage) -> bool:
    return each["method"] == "log_external_stream" and each != PRINTED


def in_event_log(messages: list[PipesMessage], lowest: str) -> list[tuple[str, Any]]:
    """Return what the event log has of messages, whether or not their lines are joined."""
    kept = [each for each in messages if not is_below(each, lowest) and not is_output_of_a_line(each)]
    groups = groupby(kept, lambda each: (each["method"], (each["params"] or {}).get("level")))
    return [
        (str(key), "\n".join((each["params"] or {})["message"] for each in group) if key[0] == "log" else [*group])
        for key, group in groups
    ]
