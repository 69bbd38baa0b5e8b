"""A call from its input to its end: what a step passes from one part of the client to the next."""

from base64 import b64decode
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import requests
from dagster import AssetKey, PipesSession
from dagster_pipes import PipesExtras

from dagster_gcf_pipes._adoption import Launch
from dagster_gcf_pipes._attempts import CallRecord
from dagster_gcf_pipes._cleanup import Leftover, leftovers_of
from dagster_gcf_pipes._contexts import CallingContext, selection
from dagster_gcf_pipes._functions import redacted
from dagster_gcf_pipes._messages.record import SessionRecord
from dagster_gcf_pipes._outcome import Outcome
from dagster_gcf_pipes._reattach import NextStep
from dagster_gcf_pipes._responses import make_response
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
        by_partition: The assets whose partitions the function has reported one by one.
    """

    launch: Launch
    session: PipesSession
    record: CallRecord
    messages: SessionRecord
    outcome: Outcome
    keys: Sequence[str]
    by_partition: Collection[AssetKey] = ()

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
        if step is None or handle is None:
            return ()
        return leftovers_of(step, handle.attempt, handle.session.uri, self.keys)

    @property
    def _closed_response(self) -> requests.Response | None:
        """The response as `closed` has it: it did not arrive, or an earlier attempt of the step made the call."""
        response = self.messages.response
        if response is None:
            return None
        request = requests.Request("POST", redacted(self.launch.call.target.url)).prepare()
        headers = {"Content-Type": response["content_type"]} if response["content_type"] else {}
        body = b64decode(response["body"]) if response.get("base64") else response["body"].encode()
        return make_response(request, response["status"], body, headers)

    def results(self) -> PipesCloudFunctionCompletedInvocation:
        """Return what the caller of a successful call gets."""
        return PipesCloudFunctionCompletedInvocation(
            self.session,
            response=self.record.own_response(self.messages) or self._closed_response,
            metadata=self.outcome.metadata,
            revision=self.messages.opened_extras.get("revision"),
            by_partition=self.by_partition,
        )
