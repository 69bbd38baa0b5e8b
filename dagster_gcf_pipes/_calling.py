"""Makes a call with the settings and the connections of a resource: the steps from its first attempt to its verdict."""

import uuid
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from typing import TYPE_CHECKING, Final, TypeAlias

import requests
from dagster import PipesSession
from gcf_pipes._shared.halves import Half, capability_problem
from gcf_pipes._shared.protocol import FORWARD_LOGS, STORAGE_HEADER, TIMEOUT_HEADER, SessionPrefix
from gcf_pipes._shared.storage import ObjectStore, storage_of

from dagster_gcf_pipes._adopters import find_adopter
from dagster_gcf_pipes._adoption import Launch
from dagster_gcf_pipes._attempts import Caller, CallRecord, Post, Posted
from dagster_gcf_pipes._auth import FunctionAuth
from dagster_gcf_pipes._call import Call
from dagster_gcf_pipes._config import CHANNEL_CAPABILITIES, PipesCloudFunctionSettings
from dagster_gcf_pipes._contexts import CallingContext, step_path
from dagster_gcf_pipes._crash_logs import CrashLogs, CrashWatch
from dagster_gcf_pipes._credentials import Identity
from dagster_gcf_pipes._functions_api import Target
from dagster_gcf_pipes._http import post
from dagster_gcf_pipes._keyed_log import Log
from dagster_gcf_pipes._last_peak import describe_last_peak
from dagster_gcf_pipes._made_call import MadeCall
from dagster_gcf_pipes._messages.cancel_marker import CancelMarker
from dagster_gcf_pipes._messages.record import SessionRecord
from dagster_gcf_pipes._messages.response_reader import ResponseReader
from dagster_gcf_pipes._messages.session_reader import SessionReader
from dagster_gcf_pipes._outcome import Outcome, determine_outcome
from dagster_gcf_pipes._steps import Steps, Wait

if TYPE_CHECKING:
    from concurrent.futures import Future

    from google.cloud import storage

READ_TIMEOUT_MARGIN: Final = 30.0
"""Seconds that the platform may take beyond the function's own timeout, for a cold start and the response."""


HttpSession: TypeAlias = Callable[[], AbstractContextManager[requests.Session]]
"""Opens the HTTP session of an attempt, which closes it."""


@dataclass(frozen=True)
class OpenCall:
    """A call whose session is open.

    Attributes:
        launch: How the step makes or adopts it.
        session: The Pipes session.
        reader: Reads its messages.
        marker: Tells the function to stop.
        body: The request body.
        start: Starts an attempt in another thread.
        log: Gets what Dagster's log says of this call.
        keys: The names of the objects that were created for it.
    """

    launch: Launch
    session: PipesSession
    reader: SessionReader
    marker: CancelMarker
    body: bytes
    start: "Callable[[Post], Future[Posted]]"
    log: Log
    keys: tuple[str, ...] = ()


@dataclass(frozen=True)
class Calling:
    """Makes calls.

    Attributes:
        settings: The settings of the resource.
        get_storage_client: Returns the Cloud Storage client.
        identity: The identity that calls.
        http_session: Opens the HTTP session of an attempt; the attempt closes it.
        reattach: Whether a later attempt of the step may adopt a function that still runs.
        logs: The logs of functions that crashed.
    """

    settings: PipesCloudFunctionSettings
    get_storage_client: "Callable[[], storage.Client]"
    identity: Identity
    http_session: HttpSession
    reattach: bool
    logs: CrashLogs

    @cached_property
    def store(self) -> ObjectStore:
        """The bucket."""
        return ObjectStore(self.settings.bucket, self.get_storage_client())

    def new_prefix(self, context: CallingContext) -> SessionPrefix:
        """Return a prefix that no session has."""
        settings = self.settings
        return SessionPrefix(settings.bucket, f"{settings.key_prefix}/{step_path(context)}/{uuid.uuid4().hex}")

    def new_call(self, target: Target, prefix: SessionPrefix) -> Call:
        """Return a call of a function."""
        stay = self.settings.cleanup != "always"
        return Call(target, prefix, messages_stay_on_failure=stay, prices=self.settings.prices)

    def longest(self, target: Target) -> float:
        """Return how long a function may run after its call has started, in seconds."""
        return self.settings.retry_timeout + target.timeout + READ_TIMEOUT_MARGIN

    @property
    def location(self) -> str:
        """Where the messages go."""
        return f"{self.settings.bucket}/{self.settings.key_prefix}"

    def steps(self, opened: OpenCall, context: CallingContext) -> Steps[MadeCall]:
        """Make a call, or follow the function that an earlier attempt of the step has called, and judge it."""
        launch, reader, marker, log = opened.launch, opened.reader, opened.marker, opened.log
        caller = self._caller(opened)
        record = yield from (caller.follow() if launch.adopts else caller.call())
        timeout = self.settings.drain_timeout if record.may_write_more else 0
        reader.end_writing(record.chunk_count, timeout=timeout, deadline=caller.deadline)
        yield Wait(lambda: reader.ended)  # before the verdict: the messages decide
        how = "was adopted: its messages took" if launch.adopts else f"{record.last.summary} after"
        log.info(f"[pipes] the call {how} {record.duration:.2f} s")
        self._warn_of_missing_capabilities(reader.record, log)
        outcome = self._outcome(launch.call, record, reader.record, context)
        if outcome.may_still_run:  # after the messages were read: until then `closed` could still arrive
            reason = "nothing waits for the function any more"
            adopter = self.find_adopter(launch, interrupted=outcome.adoptable)
            marker.unless_adopted(partial(marker.stop, reader.record), reason, adopter)
        keys = (*opened.keys, *reader.deletable_keys)
        return MadeCall(launch, opened.session, record, reader.record, outcome, keys)

    def find_adopter(self, launch: Launch, *, interrupted: bool) -> Callable[[], str]:
        """Return a function that finds out what will adopt the function of a launch."""
        step = launch.step if self.reattach else None
        return partial(find_adopter, step, launch.call.prefix.uri, interrupted=interrupted)

    def _caller(self, opened: OpenCall) -> Caller:
        launch, call, reader = opened.launch, opened.launch.call, opened.reader
        watch = CrashWatch(lambda: call.log_scope(reader.record.opened_extras), self.logs)
        return Caller(
            self._post_once(opened),
            opened.start,
            reader,
            replace(self.settings.retry_policy, only_unsent=not call.has_claim),
            call_timeout=launch.seconds_left if launch.adopts else call.target.timeout + READ_TIMEOUT_MARGIN,
            drain_timeout=self.settings.drain_timeout,
            claim_session=opened.marker.claim_session,
            has_crashed=watch.has_crashed,
            log=opened.log,
        )

    def _post_once(self, opened: OpenCall) -> Post:
        call = opened.launch.call
        audience = self.settings.audience or call.target.audience
        auth = FunctionAuth(self.identity, audience=audience, log=opened.log, function=call.target.name)
        timeout = (self.settings.connect_timeout, call.target.timeout + READ_TIMEOUT_MARGIN)
        headers = self._headers(call)
        read = opened.reader.read if isinstance(opened.reader, ResponseReader) else None

        def post_once() -> Posted:
            with self.http_session() as http:
                return post(
                    http, call.target.url, opened.body, headers=headers, auth=auth, timeout=timeout, read_messages=read
                )

        return post_once

    def _headers(self, call: Call) -> Mapping[str, str]:
        storage = storage_of(self.get_storage_client()) if call.has_claim else None
        known = {STORAGE_HEADER: storage} if storage else {}
        about_call = {TIMEOUT_HEADER: str(call.target.timeout), **known, **call.trace.headers}
        at_once = {} if call.has_claim else {"Accept-Encoding": "identity"}  # what compresses waits for more
        return {**about_call, **at_once, **self._this_side.headers}

    def _outcome(self, call: Call, record: CallRecord, messages: SessionRecord, context: CallingContext) -> Outcome:
        return determine_outcome(
            call,
            record,
            messages,
            self.logs,
            describe_last_peak=partial(describe_last_peak, context),
        )

    @property
    def _this_side(self) -> Half:
        forwards = [FORWARD_LOGS] if self.settings.forward_logs else []
        return Half.ours([*forwards, *CHANNEL_CAPABILITIES[self.settings.messages]])

    def _warn_of_missing_capabilities(self, messages: SessionRecord, log: Log) -> None:
        """Warn if the function ran without what the call needs: with other code than ours, or behind a proxy."""
        problem = capability_problem(function=messages.function, dagster=self._this_side)
        if problem and messages.opened and not messages.has_output:
            log.warning(f"[pipes] {problem}")
