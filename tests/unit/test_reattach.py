"""The decision about a session of an earlier attempt, as a table, and the handle in Dagster's form."""

import json
from dataclasses import replace
from itertools import product
from typing import Any

import pytest
from gcf_pipes._shared.protocol import SessionPrefix

from dagster_gcf_pipes._messages.inspection import SessionFacts
from dagster_gcf_pipes._reattach import (
    MAY_RUN,
    NEXT_STEPS,
    CallIdentity,
    LaunchHandle,
    NextStep,
    SessionState,
    find_replaced_call,
    find_same_call,
    state_of,
)

NOW = 1_000.5
CALL = CallIdentity("https://orders", "digest", 0)
HANDLE = LaunchHandle(
    call=CALL,
    ordinal=0,
    session=SessionPrefix("bucket", "prefix/session"),
    deadline=NOW + 1,
    launched_at=NOW - 60,
    run_id="run",
    attempt="attempt",
    step_key="orders",
    retry_number=0,
    url="https://console.cloud.google.com/logs",
)
OPENED = SessionFacts(opened=True, closes_with_request=True, chunk_count=2)
CLOSED = replace(OPENED, closed=True)
TABLE: list[tuple[str, LaunchHandle, SessionFacts, SessionState, NextStep]] = [
    ("empty", HANDLE, SessionFacts(), SessionState.NOT_STARTED, NextStep.POST_AGAIN),
    ("empty, late", replace(HANDLE, deadline=1.0), SessionFacts(), SessionState.NOT_STARTED, NextStep.POST_AGAIN),
    ("runs", HANDLE, OPENED, SessionState.RUNNING, NextStep.FOLLOW),
    ("late", replace(HANDLE, deadline=NOW - 1), OPENED, SessionState.EXPIRED, NextStep.CALL_ANEW),
    ("succeeded", HANDLE, CLOSED, SessionState.SUCCEEDED, NextStep.READ),
    ("succeeded, late", replace(HANDLE, deadline=1.0), CLOSED, SessionState.SUCCEEDED, NextStep.READ),
    ("raised", HANDLE, replace(CLOSED, raised=True), SessionState.FAILED, NextStep.CALL_ANEW),
    ("told to stop", HANDLE, replace(OPENED, cancelled=True), SessionState.CANCELLED, NextStep.CALL_ANEW),
    ("stopped early", HANDLE, replace(CLOSED, cancelled=True), SessionState.CANCELLED, NextStep.CALL_ANEW),
    ("never started", HANDLE, SessionFacts(cancelled=True), SessionState.CANCELLED, NextStep.CALL_ANEW),
    ("claimed", HANDLE, SessionFacts(chunk_count=1), SessionState.CANCELLED, NextStep.CALL_ANEW),
    ("plain", HANDLE, replace(OPENED, closes_with_request=False), SessionState.UNKNOWN, NextStep.CALL_ANEW),
    ("plain, closed", HANDLE, replace(CLOSED, closes_with_request=False), SessionState.UNKNOWN, NextStep.CALL_ANEW),
    ("over", replace(HANDLE, over=True), CLOSED, SessionState.OVER, NextStep.CALL_ANEW),
    ("over, empty", replace(HANDLE, over=True), SessionFacts(), SessionState.OVER, NextStep.CALL_ANEW),
]


@pytest.mark.parametrize(
    ("handle", "facts", "state", "step"), [case[1:] for case in TABLE], ids=[case[0] for case in TABLE]
)
def test_the_table(handle: LaunchHandle, facts: SessionFacts, state: SessionState, step: NextStep) -> None:
    assert state_of(handle, facts, NOW) is state
    assert NEXT_STEPS[state] is step


def test_only_what_certainly_succeeded_is_read_and_only_what_may_run_is_followed_or_called() -> None:
    either = (False, True)
    for opened, ours, closed, raised, cancelled, count in product(either, either, either, either, either, (0, 2)):
        facts = SessionFacts(opened, ours, closed, raised, cancelled, count)
        step = NEXT_STEPS[state_of(HANDLE, facts, NOW)]
        if step is NextStep.CALL_ANEW:
            continue
        assert not facts.cancelled
        if step is NextStep.POST_AGAIN:
            assert not facts.chunk_count
        else:
            assert facts.opened
            assert facts.closes_with_request
            assert facts.closed == (step is NextStep.READ)
            assert not (facts.closed and facts.raised)


def test_each_state_has_a_next_step() -> None:
    assert set(SessionState) == NEXT_STEPS.keys()
    assert set(SessionState) > MAY_RUN


def test_a_handle_survives_the_event_log() -> None:
    assert LaunchHandle.from_json(HANDLE.to_json()) == HANDLE
    assert LaunchHandle.from_json(replace(HANDLE, over=True, url=None).to_json()) == replace(
        HANDLE, over=True, url=None
    )


def changed(**values: Any) -> str:
    return json.dumps({**json.loads(HANDLE.to_json()), **values})


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "null",
        "{",
        "{}",
        "[" * 200_000,
        changed(client_name="PipesDatabricksClient"),
        changed(__class__="OtherHandle"),
        changed(extras={}),
        changed(extras=None),
        changed(retry_number="0"),
        changed(extras={**json.loads(HANDLE.to_json())["extras"], "deadline": None}),
    ],
)
def test_a_handle_of_another_client_or_version_is_ignored(text: str) -> None:
    assert LaunchHandle.from_json(text) is None


def test_dagster_reads_and_writes_the_same_form() -> None:
    reattach = pytest.importorskip("dagster._core.pipes.reattach")
    serdes = pytest.importorskip("dagster._serdes")
    handle = serdes.deserialize_value(HANDLE.to_json(), reattach.PipesLaunchHandle)
    assert json.loads(serdes.serialize_value(handle)) == json.loads(HANDLE.to_json())
    assert reattach.PIPES_LAUNCH_HANDLE_METADATA_KEY == "dagster_pipes/launch_handle"
    assert reattach.EXTERNAL_RUN_URL_METADATA_KEY == "external run url"


def test_a_call_is_the_same_if_it_asks_the_same_function_for_the_same_the_same_time() -> None:
    others = [replace(CALL, function="https://other"), replace(CALL, digest="other"), replace(CALL, repetition=1)]
    handles = [replace(HANDLE, call=call) for call in others]
    assert find_same_call(handles, CALL) is None
    newest, oldest = replace(HANDLE, ordinal=5), replace(HANDLE, ordinal=3)
    assert find_same_call([*handles, newest, oldest], CALL) is newest


def test_a_call_replaces_the_one_in_its_place() -> None:
    other = replace(CALL, digest="other")
    assert find_replaced_call([HANDLE], other, 0) is HANDLE
    assert find_replaced_call([HANDLE, replace(HANDLE, over=True)], other, 0) is HANDLE
    assert find_replaced_call([HANDLE], other, 1) is None
    assert find_replaced_call([HANDLE], replace(other, function="https://other"), 0) is None
    assert find_replaced_call([HANDLE, replace(HANDLE, call=replace(CALL, digest="second"))], other, 0) is None
    assert find_replaced_call([], other, 0) is None
