"""Plans the calls that a step makes together: each in a session of its own, or in that of an earlier attempt."""

import json
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from itertools import chain
from typing import Any, Final

from dagster import StepExecutionContext
from gcf_pipes import PipesStorageError
from gcf_pipes._shared.protocol import SessionPrefix
from gcf_pipes._shared.storage import ObjectStore

from dagster_gcf_pipes._adoption import Launch
from dagster_gcf_pipes._call import Call
from dagster_gcf_pipes._cleanup import Leftover, leftovers_of
from dagster_gcf_pipes._contexts import CallingContext
from dagster_gcf_pipes._functions import redacted
from dagster_gcf_pipes._launches import is_adopted, launches_of, record_launch, step_of
from dagster_gcf_pipes._messages.cancel_marker import CancelMarker
from dagster_gcf_pipes._messages.inspection import read_facts
from dagster_gcf_pipes._reattach import (
    NEXT_STEPS,
    CallIdentity,
    CallsHandle,
    LaunchHandle,
    NextStep,
    state_of,
)

MANIFEST: Final = "calls.json"
MAX_MANIFEST_BYTES: Final = 64 * 1024 * 1024
TIMEOUT: Final = 60.0
"""Seconds that a list of all objects, or the manifest, may take with its retries."""
PARALLEL_STOPS: Final = 16


def session_of_call(root: SessionPrefix, number: int) -> SessionPrefix:
    """Return the prefix of the session of a call; the first call is 1. Their names sort like their numbers."""
    return SessionPrefix(root.bucket, f"{root.path}/{number:07}")


@dataclass(frozen=True)
class _Session:
    """A session of an earlier attempt, as a list of the bucket shows it."""

    prefix: SessionPrefix
    over: bool
    chunk_count: int = 0
    claimed_at: datetime | None = None
    cancelled: bool = False


@dataclass(frozen=True)
class _EarlierCalls:
    """The calls that an earlier attempt made together.

    Attributes:
        handle: What it has recorded of them.
        sessions: Their sessions, by what tells the calls apart.
    """

    handle: CallsHandle
    sessions: Mapping[str, _Session]


class CallsPlan:
    """Finds out how a step gets the results of many calls of a function.

    Args:
        store: The bucket.
        context: The context of the step.
        url: The function's URL.
        root: The prefix that the sessions of this attempt share.
        asked: What each call asks for, as JSON, in the order of the calls.
        longest: How long a function may run after its call, in seconds.
        reattach: Whether the step may adopt calls.
    """

    def __init__(
        self,
        store: ObjectStore,
        context: CallingContext,
        *,
        url: str,
        root: SessionPrefix,
        asked: Sequence[Mapping[str, Any]],
        longest: float,
        reattach: bool,
    ) -> None:
        self._store = store
        self._log = context.log
        self._root = root
        self._function = redacted(url)
        self._longest = longest
        self._step = step_of(context)
        self._identities: list[CallIdentity] = []
        self._earlier: list[_EarlierCalls] = []
        self._handle: CallsHandle | None = None
        self._count = len(asked)
        if self._step:
            self._prepare(self._step, asked, reattach=reattach)

    @property
    def roots(self) -> Sequence[SessionPrefix]:
        """The prefixes of all sessions that may be read: of this attempt, and of the earlier ones."""
        return [self._root, *(earlier.handle.session for earlier in self._earlier)]

    @property
    def step(self) -> StepExecutionContext | None:
        """The step, or None in a test that calls an asset or op itself."""
        return self._step

    def record(self) -> None:
        """Record the calls before the first one is made, and which ones of an earlier attempt this one adopts."""
        message = (
            f"[pipes] calling {self._function} {self._count:,} times; the messages arrive through {self._root.uri}"
        )
        if not (self._step and self._handle):
            self._log.info(message)
            return
        manifest = json.dumps([_name(identity) for identity in self._identities]).encode()
        self._store.create(f"{self._root.object_prefix}{MANIFEST}", manifest, timeout=TIMEOUT)
        for earlier in self._earlier:
            adopting = (
                f"[pipes] adopting what an earlier attempt of this step has called: of {earlier.handle.count:,} calls, "
                f"{sum(session.chunk_count > 0 for session in earlier.sessions.values()):,} have started. Their "
                f"messages follow from the first, through {earlier.handle.session.uri}"
            )
            record_launch(self._step, replace(earlier.handle, attempt=self._handle.attempt), adopting)
        record_launch(self._step, self._handle, message)

    def record_over(self, sessions: Sequence[SessionPrefix]) -> None:
        """Record that no later attempt of the step can use these sessions, unless one does already."""
        handles = [handle for handle in (self._handle, *(each.handle for each in self._earlier)) if handle]
        for handle in handles:
            numbers = [_number(session) for session in sessions if _root_of(session) == handle.session.path]
            if self._step and self._handle and numbers and not is_adopted(self._step, handle.session.uri):
                over = tuple(sorted({*handle.over, *numbers}))
                message = f"[pipes] no later attempt of this step adopts {len(over):,} calls in {handle.session.uri}"
                record_launch(self._step, replace(handle, over=over, attempt=self._handle.attempt), message)

    def leftovers(self, keys: Sequence[str]) -> Sequence[Leftover]:
        """Return what to delete when the step has succeeded."""
        step, handle = self._step, self._handle
        if step is None or handle is None:
            return ()
        of_root = ((root, [key for key in keys if key.startswith(root.object_prefix)]) for root in self.roots)
        left = (leftovers_of(step, handle.attempt, root.uri, keys) for root, keys in of_root)
        return [*chain.from_iterable(left)]

    def new(self, number: int, call: Call) -> Launch:
        """Return the launch of a call in a session of this attempt."""
        call = replace(call, prefix=session_of_call(self._root, number), started=datetime.now(timezone.utc))
        return Launch(call, step=self._step, handle=self._handle_of(number, call.prefix, call.started))

    def adopted_or_new(self, number: int, call: Call) -> Launch:
        """Return the launch that adopts the same call of an earlier attempt of the step, or else a new one.

        Of several sessions, the first counts that is of any use: each was made because those before it were not.

        Raises:
            PipesStorageError: The session of an earlier attempt could not be read.
        """
        for earlier in reversed(self._earlier):
            session = earlier.sessions.get(_name(self._identities[number - 1]))
            if session is None:
                continue
            started = session.claimed_at or datetime.now(timezone.utc)
            handle = self._handle_of(number, session.prefix, started, over=session.over)
            facts = read_facts(self._store, session.prefix, session.chunk_count, cancelled=session.cancelled)
            next_step = NEXT_STEPS[state_of(handle, facts, time.time())] if handle else NextStep.CALL_ANEW
            if next_step is NextStep.POST_AGAIN:
                return Launch(replace(call, prefix=session.prefix), next_step, self._step, handle)
            if next_step is not NextStep.CALL_ANEW:
                adopted = replace(call, prefix=session.prefix, started=started, adopted_from=earlier.handle.run_id)
                return Launch(adopted, next_step, self._step, handle, facts.chunk_count)
        return self.new(number, call)

    def _prepare(self, step: StepExecutionContext, asked: Sequence[Mapping[str, Any]], *, reattach: bool) -> None:
        launches = launches_of(step)
        before = launches.earlier(step)
        ordinals_and_identities = [launches.next_call(self._function, each) for each in asked]
        self._identities = [identity for _, identity in ordinals_and_identities]
        self._handle = CallsHandle(
            function=self._function,
            count=self._count,
            session=self._root,
            longest=self._longest,
            launched_at=time.time(),
            run_id=step.run_id,
            attempt=launches.attempt,
            step_key=step.step.key,
            retry_number=step.previous_attempt_count,
        )
        same = [handle for handle in before.continued_calls if handle.function == self._function]
        found = [calls for handle in same if (calls := self._look_up(handle))]
        names = {_name(identity) for identity in self._identities}
        continued = [calls for calls in found if not names.isdisjoint(calls.sessions)]
        is_first = any(ordinal == 0 for ordinal, _ in ordinals_and_identities)
        if not continued and is_first and _one_per_attempt(same):
            continued = found  # all events have changed
        self._earlier = continued if reattach else []
        for earlier in continued:
            self._stop_others(earlier, names if reattach else set())
        for handle in before.repeated_calls:
            if handle.function == self._function and handle.session.bucket == self._store.bucket:
                reason = "this run does not adopt the calls of the run that it repeats"
                CancelMarker(self._store, handle.session, self._log).write(reason)

    def _look_up(self, handle: CallsHandle) -> _EarlierCalls | None:
        """Return the calls of an earlier attempt, or None if it has made none."""
        root = handle.session
        if root.bucket != self._store.bucket:
            return None
        manifest_key = f"{root.object_prefix}{MANIFEST}"
        manifest = self._store.read(manifest_key, max_bytes=MAX_MANIFEST_BYTES, timeout=TIMEOUT)
        if manifest is None:
            return None
        created = self._store.list_created(root.object_prefix, timeout=TIMEOUT)
        all_cancelled_at = created.get(root.cancel_key)
        chunks: dict[int, dict[int, datetime]] = {}
        for key, time_created in created.items():
            if (number := _number_in(key, root)) and (index := session_of_call(root, number).chunk_index(key)):
                chunks.setdefault(number, {})[index] = time_created
        sessions = {}
        for number, name in enumerate(json.loads(manifest), start=1):
            prefix, of_session = session_of_call(root, number), chunks.get(number, {})
            last = max(of_session, default=0)
            was_open = all_cancelled_at is not None and (not last or of_session[last] >= all_cancelled_at)
            cancelled = prefix.cancel_key in created or was_open
            sessions[name] = _Session(prefix, number in handle.over, last, of_session.get(1), cancelled)
        return _EarlierCalls(handle, sessions)

    def _stop_others(self, earlier: _EarlierCalls, names: set[str]) -> None:
        """Stop the functions of calls that this attempt does not make. Nobody will read what they report."""
        others = [session for name, session in earlier.sessions.items() if name not in names and not session.cancelled]
        with ThreadPoolExecutor(PARALLEL_STOPS) as threads:
            stopped = sum(threads.map(self._stop, others))
        if stopped:
            self._log.warning(
                f"[pipes] telling the functions of {stopped:,} earlier calls to stop, if they run: this attempt of the "
                "step does not adopt them"
            )

    def _stop(self, session: _Session) -> bool:
        """Stop a function that may run; return whether it may."""
        marker = CancelMarker(self._store, session.prefix, self._log)
        try:
            facts = read_facts(self._store, session.prefix, session.chunk_count, cancelled=False)
            if not facts.chunk_count:
                marker.claim_session()
            elif facts.opened and not facts.closed:
                marker.create()
                return True
        except PipesStorageError as error:
            self._log.warning(f"[pipes] a function that nobody waits for may still run: {error}")
        return False

    def _handle_of(
        self, number: int, session: SessionPrefix, started: datetime, *, over: bool = False
    ) -> LaunchHandle | None:
        if self._handle is None:
            return None
        return LaunchHandle(
            call=self._identities[number - 1],
            ordinal=number,
            session=session,
            deadline=started.timestamp() + self._longest,
            launched_at=started.timestamp(),
            run_id=self._handle.run_id,
            attempt=self._handle.attempt,
            step_key=self._handle.step_key,
            retry_number=self._handle.retry_number,
            over=over,
        )


def _one_per_attempt(handles: Sequence[CallsHandle]) -> bool:
    """Whether no attempt made two sets of calls. Otherwise nobody knows yet which of them this attempt still makes."""
    return len({(handle.run_id, handle.retry_number) for handle in handles}) == len(handles)


def _name(identity: CallIdentity) -> str:
    return f"{identity.digest[:32]}-{identity.repetition}"


def _number(session: SessionPrefix) -> int:
    return int(session.path.rpartition("/")[2])


def _root_of(session: SessionPrefix) -> str:
    return session.path.rpartition("/")[0]


def _number_in(key: str, root: SessionPrefix) -> int | None:
    """Return the number of the call to which an object below a root belongs, or None."""
    number, separator, _ = key.removeprefix(root.object_prefix).partition("/")
    return int(number) if separator and number.isdecimal() else None
