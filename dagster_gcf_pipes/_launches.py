"""The calls that the attempts of a step make, in Dagster's event log.

Before it makes a call, an attempt records a launch handle as an engine event of its step. A later attempt finds the
handles there: a retry of the step or of its run, a re-execution from failure, a run that Dagster resumes.
"""

import hashlib
import json
import uuid
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, dropwhile
from threading import Lock
from typing import Any, Final, TypeAlias, TypeVar
from weakref import WeakKeyDictionary

from dagster import (
    AssetCheckKey,
    AssetKey,
    AssetMaterialization,
    DagsterError,
    DagsterEvent,
    DagsterEventType,
    DagsterInstance,
    DagsterRun,
    MetadataValue,
    StepExecutionContext,
    TextMetadataValue,
)
from dagster._core.events import EngineEventData

from dagster_gcf_pipes._contexts import CallingContext
from dagster_gcf_pipes._reattach import HANDLE_METADATA_KEY, CallIdentity, CallsHandle, LaunchHandle

URL_METADATA_KEY: Final = "external run url"
"""Source: dagster/_core/pipes/reattach.py, `EXTERNAL_RUN_URL_METADATA_KEY`."""
MAX_RUNS: Final = 64
"""How many runs, each a retry of the one before, are searched."""
PAGE: Final = 200
"""Events that are fetched at once."""
_FROM_FAILURE_TAGS: Final = ("dagster/is_resume_retry", "dagster/is_asset_resume_retry")
"""Source: dagster/_core/storage/tags.py, `RESUME_RETRY_TAG` and `ASSET_RESUME_RETRY_TAG`."""
_ENDS: Final = frozenset({DagsterEventType.RUN_FAILURE, DagsterEventType.RUN_CANCELED})
_OUTCOMES: Final = frozenset({DagsterEventType.STEP_SUCCESS, DagsterEventType.STEP_FAILURE})


Handle: TypeAlias = LaunchHandle | CallsHandle
_H = TypeVar("_H", LaunchHandle, CallsHandle)


@dataclass(frozen=True)
class EarlierLaunches:
    """The handles of the earlier attempts of a step, the newest of each session, newest first.

    Attributes:
        continued: Those of the attempts with which this one goes on.
        repeated: Those of a run that this run repeats from its start.
        continued_calls: As `continued`, of calls that were made together.
        repeated_calls: As `repeated`, of calls that were made together.
    """

    continued: Sequence[LaunchHandle] = ()
    repeated: Sequence[LaunchHandle] = ()
    continued_calls: Sequence[CallsHandle] = ()
    repeated_calls: Sequence[CallsHandle] = ()


class StepLaunches:
    """The calls that one attempt of a step makes. Thread-safe.

    Attributes:
        attempt: Identifies the attempt.
    """

    def __init__(self) -> None:
        self.attempt = uuid.uuid4().hex
        self._lock = Lock()
        self._ordinals = count()
        self._repetitions: Counter[tuple[str, str]] = Counter()
        self._earlier: EarlierLaunches | None = None

    def next_call(self, function: str, asked: Mapping[str, Any]) -> tuple[int, CallIdentity]:
        """Return the ordinal and the identity of the attempt's next call.

        Args:
            function: The function's URL, without a query.
            asked: What the call asks for, as JSON.
        """
        digest = hashlib.sha256(json.dumps(asked, sort_keys=True).encode()).hexdigest()
        with self._lock:
            repetition = self._repetitions[function, digest]
            self._repetitions[function, digest] += 1
            return next(self._ordinals), CallIdentity(function, digest, repetition)

    def earlier(self, step: StepExecutionContext) -> EarlierLaunches:
        """Return what earlier attempts have launched. It is looked up once, before this attempt records anything."""
        with self._lock:
            if self._earlier is None:
                self._earlier = _find_earlier(step)
            return self._earlier


_LAUNCHES: WeakKeyDictionary[StepExecutionContext, StepLaunches] = WeakKeyDictionary()
_LAUNCHES_LOCK: Final = Lock()


def step_of(context: CallingContext) -> StepExecutionContext | None:
    """Return the step of a context, or None in a test that calls an asset or op itself: nothing starts it again."""
    try:
        return context.get_step_execution_context()
    except DagsterError:
        return None


def launches_of(step: StepExecutionContext) -> StepLaunches:
    """Return the calls of the attempt of a step. Dagster makes a context for each attempt."""
    with _LAUNCHES_LOCK:
        return _LAUNCHES.setdefault(step, StepLaunches())


def record_launch(step: StepExecutionContext, handle: Handle, message: str) -> None:
    """Record a handle as an engine event of the step, with a message for its log."""
    metadata = {HANDLE_METADATA_KEY: MetadataValue.text(handle.to_json())}
    url = {URL_METADATA_KEY: MetadataValue.url(handle.url)} if isinstance(handle, LaunchHandle) and handle.url else {}
    DagsterEvent.engine_event(step, message, EngineEventData(metadata={**metadata, **url}))


def is_adopted(step: StepExecutionContext, session: str) -> bool:
    """Whether another attempt of the step has adopted a session of this attempt, in the same run."""
    handles = (_handle_in(event) for event in _events(step.instance, step.run_id, step.step.key))
    newest = next((handle for handle in handles if handle and handle.session.uri == session), None)
    return newest is not None and newest.attempt != launches_of(step).attempt


def deletable_sessions(
    instance: DagsterInstance, run_id: str, step_key: str, sessions: Mapping[str, str]
) -> frozenset[str]:
    """Return the sessions whose messages nobody will read again.

    The step has succeeded, its run neither has failed nor will be resumed, and no other attempt of the step has adopted
    the session since. A run that is resumed may execute all its steps again.

    Args:
        instance: The Dagster instance.
        run_id: The run.
        step_key: The step.
        sessions: The attempts that recorded the sessions, by the URI of the session.
    """
    if instance.run_will_resume(run_id):
        return frozenset()
    newest: dict[str, str] = {}
    succeeded = False
    for event in _events(instance, run_id, step_key):
        if event.event_type in _ENDS:
            return frozenset()
        succeeded |= event.is_step_success
        if (handle := _handle_in(event)) and handle.session.uri in sessions:
            newest.setdefault(handle.session.uri, handle.attempt)
        if len(newest) == len(sessions):
            break
    return frozenset(uri for uri, attempt in newest.items() if succeeded and sessions[uri] == attempt)


def _find_earlier(step: StepExecutionContext) -> EarlierLaunches:
    if not _may_be_a_successor(step):
        return EarlierLaunches()
    continued, repeated = _runs_before(step.instance, step.dagster_run)
    before, copied = _handles_of(step, continued), _handles_of(step, repeated)
    return EarlierLaunches(
        _only(LaunchHandle, before), _only(LaunchHandle, copied), _only(CallsHandle, before), _only(CallsHandle, copied)
    )


def _only(kind: type[_H], handles: Sequence[Handle]) -> list[_H]:
    return [handle for handle in handles if isinstance(handle, kind)]


LoggedPartition: TypeAlias = tuple[AssetKey | AssetCheckKey, str]


def logged_partitions(context: CallingContext) -> frozenset[LoggedPartition]:
    """Return the partitions of assets and checks that earlier attempts of the step have logged in this run.

    Those of an earlier run do not count. This run has planned all its partitions, and Dagster shows a planned partition
    as failed if the run fails without an event of it.
    """
    step = step_of(context)
    return frozenset(_partitions_in(step)) if step and _may_be_a_successor(step) else frozenset()


def _partitions_in(step: StepExecutionContext) -> Iterator[LoggedPartition]:
    types = {DagsterEventType.ASSET_MATERIALIZATION, DagsterEventType.ASSET_CHECK_EVALUATION}
    for event in _events(step.instance, step.run_id, step.step.key, types):
        if event.is_step_materialization:
            materialization = event.step_materialization_data.materialization
            if materialization.partition:
                yield materialization.asset_key, materialization.partition
        else:
            evaluation = event.asset_check_evaluation_data
            if evaluation.partition:
                yield evaluation.asset_check_key, evaluation.partition


def _may_be_a_successor(step: StepExecutionContext) -> bool:
    """Whether an earlier attempt is possible. Most steps have none, and are spared the look-up.

    Dagster counts no retry if it resumes a run, which only run monitoring does.
    """
    resumable = step.instance.run_monitoring_enabled and step.instance.run_monitoring_max_resume_run_attempts > 0
    return step.previous_attempt_count > 0 or step.dagster_run.parent_run_id is not None or resumable


def _runs_before(instance: DagsterInstance, run: DagsterRun) -> tuple[list[DagsterRun], list[DagsterRun]]:
    """Return the runs with whose steps a run goes on, newest first, and the run that it repeats from the start.

    "Re-execute all" starts afresh, on purpose. If the run that it repeats is still in progress, it is left alone.
    """
    runs = [run]
    while len(runs) < MAX_RUNS and (parent_id := runs[-1].parent_run_id):
        parent = instance.get_run_by_id(parent_id)
        if parent is None:
            break
        if not any(runs[-1].tags.get(tag) == "true" for tag in _FROM_FAILURE_TAGS):
            return runs, [parent] if parent.is_finished else []
        runs.append(parent)
    return runs, []


def _handles_of(step: StepExecutionContext, runs: Sequence[DagsterRun]) -> Sequence[Handle]:
    """Return the newest handle of each session of a step, without earlier runs in which the step has succeeded."""
    newest: dict[str, Handle] = {}
    for run in runs:
        events = list(_events(step.instance, run.run_id, step.step.key))
        if run.run_id == step.run_id or not _succeeded_in_time(events):
            handles: Iterator[Handle] = filter(None, map(_handle_in, events))
            for handle in handles:
                newest.setdefault(handle.session.uri, handle)
    return [*newest.values()]


def _succeeded_in_time(events: Sequence[DagsterEvent]) -> bool:
    """Whether a step has succeeded before its run ended, so that another run repeats it on purpose.

    A step may succeed after that, if Dagster took the process of the run for dead. And a step whose process is killed
    after its success has failed after all. The next run executes such a step again, and adopts its calls.

    Args:
        events: The events of the step and the end of its run, newest first.
    """
    outcomes = dropwhile(lambda event: event.event_type not in _ENDS, events)
    last = next((event for event in outcomes if event.is_step_success or event.is_step_failure), None)
    return last is not None and last.is_step_success


def logged_materializations(step: StepExecutionContext) -> Iterator[AssetMaterialization]:
    """Yield what the attempts of a step have materialized in this run, newest first."""
    events = _events(step.instance, step.run_id, step.step.key, (DagsterEventType.ASSET_MATERIALIZATION,))
    return (event.step_materialization_data.materialization for event in events)


def _events(
    instance: DagsterInstance,
    run_id: str,
    step_key: str,
    types: Collection[DagsterEventType] = (DagsterEventType.ENGINE_EVENT, *_OUTCOMES, *_ENDS),
) -> Iterator[DagsterEvent]:
    """Yield events of a step and of its run, newest first.

    Args:
        instance: The Dagster instance.
        run_id: The run.
        step_key: The step.
        types: Which events. Default: the step's engine events, its outcomes, and the failure of its run.
    """
    cursor = None
    while True:
        page = instance.get_records_for_run(run_id, cursor, {*types}, PAGE, ascending=False)
        for record in page.records:
            event = record.event_log_entry.dagster_event
            if event and (record.event_log_entry.step_key == step_key or event.event_type in _ENDS):
                yield event
        if not page.has_more:
            return
        cursor = page.cursor


def _handle_in(event: DagsterEvent) -> Handle | None:
    if event.event_type is not DagsterEventType.ENGINE_EVENT:
        return None
    value = event.engine_event_data.metadata.get(HANDLE_METADATA_KEY)
    if not isinstance(value, TextMetadataValue) or not value.value:
        return None
    return LaunchHandle.from_json(value.value) or CallsHandle.from_json(value.value)
