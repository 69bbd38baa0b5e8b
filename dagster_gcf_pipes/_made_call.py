"""A call from its input to its end: what a step passes from one part of the client to the next."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dagster import PipesSession, in_process_executor
from dagster_pipes import PipesExtras

from dagster_gcf_pipes._adoption import Launch
from dagster_gcf_pipes._attempts import CallRecord
from dagster_gcf_pipes._cleanup import Leftover
from dagster_gcf_pipes._contexts import CallingContext, selection
from dagster_gcf_pipes._messages.session import SessionRecord
from dagster_gcf_pipes._outcome import Outcome
from dagster_gcf_pipes._reattach import NextStep
from dagster_gcf_pipes._results import PipesCloudFunctionCompletedInvocation


@dataclass(frozen=True)
class CallInput:
    """What a call gets.

    Attributes:
        event: The JSON object for the request body.
        extras: The JSON object for `pipes.extras`.
        reattach: Whether the step may adopt the call of an earlier attempt.
        partitions: The partitions in the Pipes context, or None for those of the run.
    """

    event: Mapping[str, Any]
    extras: PipesExtras
    reattach: bool
    partitions: Mapping[str, Any] | None = None

    def asked(self, context: CallingContext, *, url: str, location: str) -> Mapping[str, Any]:
        """Return what tells two calls of a step apart, as JSON.

        Args:
            context: The context of the step, which may have selected other assets and checks than an earlier attempt.
            url: The function's URL, with its query.
            location: Where the messages go.
        """
        return {
            "event": self.event,
            "extras": self.extras,
            "partitions": self.partitions,
            "selection": selection(context),
            "url": url,
            "location": location,
        }


@dataclass(frozen=True)
class MadeCall:
    """A call that has ended.

    Attributes:
        launch: How the step made or adopted it.
        session: The Pipes session.
        record: The attempts, and their responses.
        messages: What the messages said.
        outcome: How it ended.
        keys: The names of the objects to delete.
    """

    launch: Launch
    session: PipesSession
    record: CallRecord
    messages: SessionRecord
    outcome: Outcome
    keys: Sequence[str]

    @property
    def is_gone(self) -> bool:
        """Whether an adopted function has shown no sign of life since it was adopted."""
        silent = self.messages.chunk_count <= self.launch.chunk_count and not self.messages.failure
        return self.launch.next_step is NextStep.FOLLOW and silent and not self.messages.closed

    @property
    def seems_usable(self) -> bool:
        """Whether the bucket alone does not tell a later attempt of the step that the call has failed."""
        return self.messages.opened and self.messages.exception is None

    @property
    def leftovers(self) -> Sequence[Leftover]:
        """What to delete when the step has succeeded."""
        step, handle = self.launch.step, self.launch.handle
        if step is None or handle is None or f"/{step.run_id}/" not in handle.session.uri:
            return ()  # several runs may have adopted the session of another
        has_own_process = step.job_def.executor_def.name != in_process_executor.name
        session = handle.session.uri
        return (
            Leftover(step.instance, step.run_id, step.step.key, handle.attempt, session, self.keys, has_own_process),
        )

    def results(self) -> PipesCloudFunctionCompletedInvocation:
        """Return what the caller of a successful call gets."""
        return PipesCloudFunctionCompletedInvocation(
            self.session,
            response=self.record.own_response(self.messages),
            metadata=self.outcome.metadata,
            revision=self.messages.opened_extras.get("revision"),
        )
