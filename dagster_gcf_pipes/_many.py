"""One step, many calls of a function: their sessions, their outcomes, and what the step's log says meanwhile."""

import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from threading import Lock
from typing import Any, Final, TypeAlias

from dagster import PipesMessageHandler, PipesSession
from dagster._core.pipes.context import build_external_execution_context_data
from dagster_pipes import (
    DAGSTER_PIPES_CONTEXT_ENV_VAR,
    DAGSTER_PIPES_MESSAGES_ENV_VAR,
    PipesExtras,
    encode_param,
)
from gcf_pipes._shared.counting import counted
from gcf_pipes._shared.protocol import SHARED_CANCEL, SessionPrefix

from dagster_gcf_pipes._adopters import find_adopter, refuse_ended_run
from dagster_gcf_pipes._adoption import Launch
from dagster_gcf_pipes._calling import Calling, OpenCall
from dagster_gcf_pipes._calls_plan import CallsPlan
from dagster_gcf_pipes._connection_errors import error_chain
from dagster_gcf_pipes._contexts import CallingContext, checked_assets
from dagster_gcf_pipes._errors import PipesCloudFunctionError
from dagster_gcf_pipes._fan_out import CallThreads, FanOut
from dagster_gcf_pipes._functions_api import Target
from dagster_gcf_pipes._google_errors import only_our_errors
from dagster_gcf_pipes._keyed_log import KeyedLog
from dagster_gcf_pipes._made_call import CallInput, MadeCall
from dagster_gcf_pipes._messages.cancel_marker import CancelMarker
from dagster_gcf_pipes._messages.chunk_reader import LIST_TIMEOUT
from dagster_gcf_pipes._messages.injector import InjectorSession
from dagster_gcf_pipes._messages.log_entries import LogEntries
from dagster_gcf_pipes._messages.reader import PipesCloudStorageMessageReader
from dagster_gcf_pipes._messages.shared_reader import SharedReader
from dagster_gcf_pipes._messages.shared_session import SharedSession
from dagster_gcf_pipes._pace import Pace
from dagster_gcf_pipes._request_body import encode_body
from dagster_gcf_pipes._results import PipesCloudFunctionCompletedInvocation, fails_a_blocking_check
from dagster_gcf_pipes._steps import Steps

PROGRESS_INTERVAL: Final = 5.0
"""Seconds between two lines about the progress, and between two looks at the status of the run."""
MAX_LOGGED_FAILURES: Final = 20
PARALLEL_STOPS: Final = 16
MAX_LABEL: Final = 100
"""Characters of a key before each log line of its call."""


Outcome: TypeAlias = PipesCloudFunctionCompletedInvocation | PipesCloudFunctionError
OnSuccess: TypeAlias = Callable[[str, PipesCloudFunctionCompletedInvocation, bool], None]
"""Gets the key, the results, and whether the call was adopted. It may raise an error that makes the call fail."""
OnFailure: TypeAlias = Callable[[str, MadeCall | None], None]
"""Gets the key, and the call unless it was not made."""


@dataclass
class Tally:
    """What is counted of many calls.

    Attributes:
        durations: Seconds from the first attempt of each call to its end, except of those that were adopted.
        cold_starts: How many calls started an instance.
        adopted: How many calls an earlier attempt of the step has made.
    """

    durations: list[float] = field(default_factory=list)
    cold_starts: int = 0
    adopted: int = 0

    def add(self, made: MadeCall) -> None:
        """Count a call."""
        self.cold_starts += bool(made.messages.opened_extras.get("cold_start"))
        if made.launch.adopts:
            self.adopted += 1
        else:
            self.durations.append(made.record.duration)


class ManyCalls:
    """The calls that a step makes together.

    Args:
        calling: Makes each call.
        context: The context of the step.
        inputs: What each call gets, by its key.
        extras: What all calls get as extras.
        plan: Finds out which calls an earlier attempt has made.
        root: The prefix that the sessions share.
        target: The function.
        most: How many calls may be in flight at most.
        on_success: Gets each successful call as soon as it has ended.
        on_failure: Gets each failed call.

    Attributes:
        plan: The plan.
        outcomes: The results, or the error, of each call that has ended.
        failures: How many of them are errors.
        tally: What is counted.
        keys: The names of the objects that can be deleted when the step has succeeded.
        failed_keys: The names of the objects of failed calls that can be deleted.
        over: The sessions that no later attempt of the step can use.
    """

    def __init__(
        self,
        calling: Calling,
        context: CallingContext,
        inputs: Mapping[str, CallInput],
        *,
        extras: PipesExtras,
        plan: CallsPlan,
        root: SessionPrefix,
        target: Target,
        most: int,
        on_success: OnSuccess,
        on_failure: OnFailure,
    ) -> None:
        self._calling = calling
        self._context = context
        self._inputs = inputs
        self._numbers = {key: number for number, key in enumerate(inputs, start=1)}
        self.plan = plan
        self._root = root
        self._target = target
        self._on_success = on_success
        self._on_failure = on_failure
        self._context_data = build_external_execution_context_data(context, extras)
        self._handling = Lock()  # Dagster gets one message or event after another
        self._entries = _log_entries(calling, context)
        self._lock = Lock()
        self._readers: dict[str, SharedReader] = {}
        self._open: dict[str, SharedSession] = {}
        self._shared_context: str = ""
        self._unexpected: BaseException | None = None
        self.outcomes: dict[str, Outcome] = {}
        self.failures = 0
        self.tally = Tally()
        self.keys: list[str] = []
        self.failed_keys: list[str] = []
        self.over: list[SessionPrefix] = []
        self.pace = Pace(most, time.monotonic())
        self.fan_out: FanOut[str, MadeCall] = FanOut(
            iter(inputs),
            self._steps,
            self._end,
            pace=self.pace,
            most=most,
            give_up_after=calling.settings.retry_timeout,
        )

    @property
    def all_succeeded(self) -> bool:
        """Whether each call has ended, and none has failed."""
        return len(self.outcomes) == len(self._inputs) and not self.failures

    def make(self, goes_on: Callable[[int], bool]) -> None:
        """Make all calls, and stop those that run if that is interrupted.

        Args:
            goes_on: Whether to go on after so many failures.

        Raises:
            PipesCloudFunctionCallError: The run has ended meanwhile.
        """
        marker = CancelMarker(self._calling.store, self._root, self._context.log)
        progress = _Progress(self, len(self._inputs))
        with ExitStack() as stack:
            for root in self.plan.roots:
                reader = self._readers[root.path] = SharedReader(
                    self._calling.store, root, self._entries, self._handling
                )
                stack.enter_context(reader.reading())
            self._shared_context = stack.enter_context(self._context_param(None, self._root))
            self._check_list()
            self.plan.record()  # before the calls: whoever comes after this step finds their functions
            refuse_ended_run(self.plan.step)

            def each_tick() -> bool:
                if progress.is_due():
                    refuse_ended_run(self.plan.step)
                    with self._handling:
                        self._context.log.info(progress.line())
                return goes_on(self.failures) and self._error is None

            try:
                with marker.write_if_interrupted(self._stop_all, self._find_adopter):
                    self.fan_out.run(each_tick)
                    self._raise_error()
            except PipesCloudFunctionError:
                marker.unless_adopted(self._stop_all, "the run has ended", self._find_adopter)
                raise
            self._say_what_the_platform_allows()
            if self._open:
                self._stop_all("a call has failed, and `fail_fast` is set")
        self._raise_error()  # a reader hands on its last lines at its end

    @property
    def _error(self) -> BaseException | None:
        """What ends the step, whatever the calls do."""
        failures = (each.failure for each in self._readers.values())
        return self._unexpected or next(filter(None, failures), None)

    def _raise_error(self) -> None:
        if error := self._error:
            raise error

    def _say_what_the_platform_allows(self) -> None:
        if allowed := self.pace.allowed:
            self._context.log.info(
                f"[pipes] the platform has refused {counted(self.pace.refusals, 'attempt')}: it seems to run "
                f"{allowed:,} calls of this function at once. For more, raise its `max_instance_count`, or its "
                "concurrency. Against refusals, lower `max_concurrency`, or give the steps a Dagster pool."
            )

    def _check_list(self) -> None:
        """List once before the first call: without the permission, all functions would run, and no call would succeed.

        Raises:
            PipesStorageError: The prefix cannot be listed.
        """
        self._calling.store.list_page(self._root.object_prefix, start="", timeout=LIST_TIMEOUT)

    def _find_adopter(self) -> str:
        step = self.plan.step if self._calling.reattach else None
        return find_adopter(step, self._root.uri, interrupted=True)

    def _stop_all(self, reason: str) -> None:
        """Stop the functions that run, and let no other start."""
        for root in self.plan.roots:
            CancelMarker(self._calling.store, root, self._context.log).write(reason)
        with ThreadPoolExecutor(PARALLEL_STOPS) as threads:
            list(threads.map(self._stop, [*self._open.values()]))

    def _stop(self, session: SharedSession) -> None:
        """Stop a function that the marker for all does not reach: it may not have started, or may not know of it."""
        marker = CancelMarker(self._calling.store, session.prefix, self._context.log)
        if not session.record.opened:
            marker.claim_session()
        function = session.record.function
        if not session.record.closed and not (function and SHARED_CANCEL in function.capabilities):
            marker.create()

    def _steps(self, key: str, threads: CallThreads) -> Steps[MadeCall]:
        number, given = self._numbers[key], self._inputs[key]
        call = self._calling.new_call(self._target, self._root)
        made = yield from self._make(self.plan.adopted_or_new(number, call), key, given, threads)
        if made.is_gone:
            made = yield from self._make(self.plan.new(number, call), key, given, threads)
        return made

    def _make(self, launch: Launch, key: str, given: CallInput, threads: CallThreads) -> Steps[MadeCall]:
        prefix, label = launch.call.prefix, f"[{key[:MAX_LABEL]}]"
        reader = SharedSession(
            self._readers[prefix.path.rpartition("/")[0]],
            prefix,
            label=label,
            on_change=threads.wake,
            include_stdio_in_messages=self._calling.settings.forward_logs,
        )
        handler = PipesMessageHandler(self._context, reader)
        with handler.handle_messages() as params, self._context_of(given, prefix) as context_param:
            self._open[key] = reader
            session = PipesSession(self._context_data, handler, {}, {}, self._context)
            bootstrap = {
                DAGSTER_PIPES_CONTEXT_ENV_VAR: context_param,
                DAGSTER_PIPES_MESSAGES_ENV_VAR: encode_param(params),
            }
            body = encode_body(given.event, bootstrap)
            log = KeyedLog(self._context.log, label)
            marker = CancelMarker(self._calling.store, prefix, log)
            opened = OpenCall(launch, session, reader, marker, body, threads.start, log)
            return (yield from self._calling.steps(opened, self._context))

    @contextmanager
    def _context_of(self, given: CallInput, prefix: SessionPrefix) -> Iterator[str]:
        if given.partitions is None:
            yield self._shared_context
        else:
            with self._context_param(given.partitions, prefix) as param:
                yield param

    @contextmanager
    def _context_param(self, partitions: Mapping[str, Any] | None, prefix: SessionPrefix) -> Iterator[str]:
        """Yield what tells the function its context, encoded."""
        injector = InjectorSession(
            prefix,
            self._calling.get_storage_client,
            self._calling.settings.inline_context_limit,
            checked_assets(self._context),
            partitions or {},
        )
        with injector.inject_context(self._context_data) as params:
            self.keys += injector.deletable_keys
            yield encode_param(params)

    def _end(self, key: str, result: MadeCall | BaseException) -> None:
        """Note the end of a call."""
        try:
            try:
                with only_our_errors():
                    self._note(key, _made(result))
            except PipesCloudFunctionError as error:
                self._note_failure(key, result if isinstance(result, MadeCall) else None, error)
        except BaseException as error:  # noqa: BLE001 - the thread of the step raises it again
            self._unexpected = error
        finally:
            self._open.pop(key, None)

    def _note(self, key: str, made: MadeCall) -> None:
        with self._lock:
            self.tally.add(made)
        self._note_objects(made)
        if made.outcome.error:
            raise made.outcome.error
        invocation = made.results()
        try:
            with self._handling:
                self._on_success(key, invocation, made.launch.adopts)
        except PipesCloudFunctionError:
            self.over.append(made.launch.call.prefix)  # a later attempt would refuse the same results
            raise
        self.outcomes[key] = invocation

    def _note_objects(self, made: MadeCall) -> None:
        """Note what becomes of the session's objects."""
        outcome, prefix = made.outcome, made.launch.call.prefix
        if outcome.error is None:
            self.keys += made.keys
            if fails_a_blocking_check(self._context, made.session):
                self.over.append(prefix)
        elif not outcome.may_still_run and not outcome.adoptable:
            self.failed_keys += made.keys
            if made.seems_usable or self._calling.settings.cleanup == "always":
                self.over.append(prefix)

    def _note_failure(self, key: str, made: MadeCall | None, error: PipesCloudFunctionError) -> None:
        with self._handling:
            self.outcomes[key] = error
            for each in error_chain(error):
                each.__traceback__ = None  # its frames hold the whole call
            self.failures += 1
            self._entries.flush()
            if self.failures <= MAX_LOGGED_FAILURES:
                self._context.log.error(f"[pipes] [{key[:MAX_LABEL]}] failed: {error.description}")
            self._on_failure(key, made)


def _log_entries(calling: Calling, context: CallingContext) -> LogEntries:
    """Return what hands the log lines of all calls to Dagster."""
    settings = calling.settings
    reader = PipesCloudStorageMessageReader(
        bucket=settings.bucket, client=calling.get_storage_client()
    )  # reads nothing
    return LogEntries(
        PipesMessageHandler(context, reader).handle_message,
        lines_per_entry=settings.log_lines_per_entry,
        event_log_level=settings.event_log_level,
    )


def plan_calls(
    calling: Calling,
    target: Target,
    context: CallingContext,
    inputs: Mapping[str, CallInput],
    *,
    most: int,
    on_success: OnSuccess,
    on_failure: OnFailure,
) -> ManyCalls:
    """Return the calls of a function, with what earlier attempts of the step have made of them.

    Args:
        calling: Makes each call.
        target: The function.
        context: The context of the step.
        inputs: What each call gets, by its key. All have the same extras.
        most: How many calls may be in flight at most.
        on_success: Gets each successful call.
        on_failure: Gets each failed call.

    Raises:
        PipesStorageError: What an earlier attempt has left could not be read.
    """
    root = calling.new_prefix(context)
    extras = next((given.extras for given in inputs.values()), {})
    same = CallInput({}, extras, calling.reattach).asked(context, url=target.url, location=calling.location)
    plan = CallsPlan(
        calling.store,
        context,
        url=target.url,
        root=root,
        asked=[
            {**same, "key": key, "event": given.event, "partitions": given.partitions} for key, given in inputs.items()
        ],
        longest=calling.longest(target),
        reattach=calling.reattach,
    )
    return ManyCalls(
        calling,
        context,
        inputs,
        extras=extras,
        plan=plan,
        root=root,
        target=target,
        most=most,
        on_success=on_success,
        on_failure=on_failure,
    )


def _made(result: MadeCall | BaseException) -> MadeCall:
    if isinstance(result, BaseException):
        raise result
    return result


class _Progress:
    """Says in the log how far the calls are, while they take long."""

    def __init__(self, calls: ManyCalls, total: int) -> None:
        self._calls = calls
        self._total = total
        self._started = self._logged = time.monotonic()
        self._ended_before = 0

    def is_due(self) -> bool:
        return time.monotonic() >= self._logged + PROGRESS_INTERVAL

    def line(self) -> str:
        now, fan_out, failed = time.monotonic(), self._calls.fan_out, self._calls.failures
        rate = (fan_out.ended - self._ended_before) / (now - self._logged)
        left = f", about {(self._total - fan_out.ended) / rate:,.0f} s left" if rate else ""
        self._logged, self._ended_before = now, fan_out.ended
        return (
            f"[pipes] {fan_out.ended:,} of {self._total:,} calls done, {failed:,} of them failed, "
            f"{fan_out.posts.in_flight:,} running, {rate:,.1f} a second{left}"
        )
