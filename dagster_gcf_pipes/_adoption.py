"""Plans a call of a step: in a session of its own, or in the session of an earlier attempt of the step."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from logging import Logger
from typing import Any

from dagster import StepExecutionContext
from gcf_pipes import PipesStorageError
from gcf_pipes._shared.storage import ObjectStore

from dagster_gcf_pipes._call import Call
from dagster_gcf_pipes._contexts import CallingContext
from dagster_gcf_pipes._functions import redacted
from dagster_gcf_pipes._launches import is_adopted, launches_of, record_launch, step_of
from dagster_gcf_pipes._messages.cancel_marker import CancelMarker
from dagster_gcf_pipes._messages.inspection import SessionFacts, inspect_session
from dagster_gcf_pipes._reattach import (
    MAY_RUN,
    NEXT_STEPS,
    LaunchHandle,
    NextStep,
    find_replaced_call,
    find_same_call,
    state_of,
)


@dataclass(frozen=True)
class Launch:
    """A call that a step is about to make, or to adopt.

    Attributes:
        call: The call.
        next_step: What the step does.
        step: The step, or None in a test that calls an asset or op itself.
        handle: What the step records of the call, or None without a step.
        chunk_count: How many chunks an adopted function had written.
    """

    call: Call
    next_step: NextStep = NextStep.CALL_ANEW
    step: StepExecutionContext | None = None
    handle: LaunchHandle | None = None
    chunk_count: int = 0

    @property
    def adopts(self) -> bool:
        """Whether an earlier attempt of the step has called the function."""
        return self.next_step in {NextStep.FOLLOW, NextStep.READ}

    @property
    def seconds_left(self) -> float:
        """Seconds in which an adopted function may still run."""
        return max(0.0, self.handle.deadline - time.time()) if self.handle else 0.0

    def record(self, log: Logger) -> None:
        """Record the launch before the call is made. The record is a line of the step's log."""
        message = self._adoption if self.adopts else self.call.announcement
        if self.step and self.handle:
            record_launch(self.step, self.handle, message)
        else:
            log.info(message)

    def record_over(self) -> None:
        """Record that no later attempt of the step can use the session, unless one does already."""
        if self.step and self.handle and not is_adopted(self.step, self.call.prefix.uri):
            message = f"[pipes] no later attempt of this step adopts the call in {self.call.prefix.uri}"
            record_launch(self.step, replace(self.handle, over=True), message)

    @property
    def _adoption(self) -> str:
        state = "may still run."
        if self.next_step is NextStep.READ:
            state = "has succeeded, so it does not run again. To call it again, launch a new run."
        return (
            f"[pipes] adopting the call that an earlier attempt of this step made in run {self.call.adopted_from} at "
            f"{self.call.started:%H:%M:%S} UTC: the function {state} Its messages follow from the first, "
            f"through {self.call.prefix.uri}"
        )


class LaunchPlan:
    """Finds out how a step gets the results of a call.

    Args:
        call: The call, in a session of its own.
        context: The context of the step.
        asked: What the call asks for, as JSON.
        longest: How long the function may be running after its call has started, in seconds.
    """

    def __init__(self, call: Call, context: CallingContext, asked: Mapping[str, Any], *, longest: float) -> None:
        self._call = call
        self._log = context.log
        self._longest = longest
        self._step = step_of(context)
        if self._step:
            self._launches = launches_of(self._step)
            self._ordinal, self._identity = self._launches.next_call(redacted(call.target.url), asked)

    def new(self) -> Launch:
        """Return the launch of the call in a session of its own."""
        call = replace(self._call, started=datetime.now(timezone.utc))
        return Launch(call, step=self._step, handle=self._handle(self._step, call)) if self._step else Launch(call)

    def _handle(self, step: StepExecutionContext, call: Call) -> LaunchHandle:
        started = call.started.timestamp()
        return LaunchHandle(
            call=self._identity,
            ordinal=self._ordinal,
            session=call.prefix,
            deadline=started + self._longest,
            launched_at=started,
            run_id=step.run_id,
            attempt=self._launches.attempt,
            step_key=step.step.key,
            retry_number=step.previous_attempt_count,
            url=call.logs_url,
        )

    def adopted_or_new(self, store: ObjectStore, *, reattach: bool) -> Launch:
        """Return the launch that adopts the same call of an earlier attempt of the step, or else a new one.

        Args:
            store: The bucket.
            reattach: Whether the step may adopt a call.

        Raises:
            PipesStorageError: The session of an earlier attempt could not be read.
        """
        if self._step is None:
            return self.new()
        earlier = self._launches.earlier(self._step)
        same = find_same_call(earlier.continued, self._identity)
        if same and reattach:
            facts = inspect_session(store, same.session)
            state = state_of(same, facts, time.time())
            if NEXT_STEPS[state] is not NextStep.CALL_ANEW:
                return self._adopted(self._step, same, NEXT_STEPS[state], facts)
            self._log.info(
                f"[pipes] calling anew: the function that an earlier attempt of this step called {state.value}"
            )
        replaced = same or find_replaced_call(earlier.continued, self._identity, self._ordinal)
        for handle in [replaced] if replaced else earlier.repeated if self._ordinal == 0 else ():
            self._stop(handle, store)
        return self.new()

    def _adopted(
        self, step: StepExecutionContext, earlier: LaunchHandle, next_step: NextStep, facts: SessionFacts
    ) -> Launch:
        call = replace(self._call, prefix=earlier.session)
        handle = self._handle(step, call)
        if next_step is NextStep.POST_AGAIN:
            self._log.info("[pipes] the function that an earlier attempt of this step called has not started")
            return Launch(call, next_step, step, handle)
        started = datetime.fromtimestamp(earlier.launched_at, timezone.utc)
        call = replace(call, started=started, adopted_from=earlier.run_id)
        handle = replace(earlier, ordinal=handle.ordinal, attempt=handle.attempt, retry_number=handle.retry_number)
        return Launch(call, next_step, step, handle, facts.chunk_count)

    def _stop(self, replaced: LaunchHandle, store: ObjectStore) -> None:
        """Stop the function of an earlier attempt, if it may run: nobody will read what it reports."""
        if replaced.session.bucket != store.bucket:
            return
        try:
            facts = inspect_session(store, replaced.session)
            if state_of(replaced, facts, time.time()) in MAY_RUN:
                marker = CancelMarker(store, replaced.session, self._log)
                marker.stop(facts, "this attempt of the step does not adopt the call of an earlier one")
        except PipesStorageError as error:
            self._log.warning(f"[pipes] a function that nobody waits for may still run: {error}")
