"""The Pipes client, a Dagster resource that calls cloud functions."""

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from logging import Logger, getLogger
from typing import TYPE_CHECKING, Any, Final

import requests
from dagster import (
    AssetCheckExecutionContext,
    AssetExecutionContext,
    InitResourceContext,
    OpExecutionContext,
    PipesClient,
    PipesSession,
    open_pipes_session,
)
from dagster_pipes import PipesExtras
from gcf_pipes._shared.halves import Half, capability_problem
from gcf_pipes._shared.once import Once
from gcf_pipes._shared.protocol import FORWARD_LOGS, STORAGE_HEADER, TIMEOUT_HEADER, SessionPrefix
from gcf_pipes._shared.storage import ObjectStore, create_client, emulator_of, storage_of, uses_emulator
from pydantic import PrivateAttr

from dagster_gcf_pipes._adopters import find_adopter, refuse_ended_run
from dagster_gcf_pipes._adoption import Launch, LaunchPlan
from dagster_gcf_pipes._arguments import checked_arguments
from dagster_gcf_pipes._attempts import Caller, CallRecord, Post
from dagster_gcf_pipes._auth import FunctionAuth
from dagster_gcf_pipes._call import Call
from dagster_gcf_pipes._cleanup import Leftover, after_step, deletable_keys, delete_messages
from dagster_gcf_pipes._config import PipesCloudFunctionSettings
from dagster_gcf_pipes._contexts import (
    CallingContext,
    calling_context,
    checked_assets,
    range_data,
    range_extras,
    step_path,
)
from dagster_gcf_pipes._crash_logs import CrashWatch
from dagster_gcf_pipes._credentials import Identity, find_default_credentials
from dagster_gcf_pipes._emulator import check_emulator, explain_missing_emulator
from dagster_gcf_pipes._errors import Metadata, PipesCloudFunctionRequestError
from dagster_gcf_pipes._functions_api import FunctionLookup, Target, find_revision, resolve_target
from dagster_gcf_pipes._google_errors import only_our_errors
from dagster_gcf_pipes._http import Attempt, create_http_session, post
from dagster_gcf_pipes._last_peak import describe_last_peak
from dagster_gcf_pipes._made_call import CallInput, MadeCall
from dagster_gcf_pipes._messages.cancel_marker import CancelMarker
from dagster_gcf_pipes._messages.injector import InjectorSession
from dagster_gcf_pipes._messages.session import ReaderSession, SessionRecord
from dagster_gcf_pipes._outcome import Outcome, determine_outcome
from dagster_gcf_pipes._request_body import encode_body, json_object
from dagster_gcf_pipes._results import (
    PipesCloudFunctionCompletedInvocation,
    PipesCloudFunctionCompletedPartitions,
    fails_a_blocking_check,
    report_partial_results,
)

if TYPE_CHECKING:
    from google.auth.credentials import Credentials
    from google.cloud import storage

READ_TIMEOUT_MARGIN: Final = 30.0
"""Seconds that the platform may take beyond the function's own timeout, for a cold start and the response."""


class PipesCloudFunctionClient(PipesCloudFunctionSettings, PipesClient):
    """Pipes client that calls a Google Cloud Function, and shows its log while it runs, and its results.

    The client sends an ID token to every https URL that is not on this machine. It uses the credentials that
    google-auth finds in the environment, or a service account that they impersonate. A person's credentials, such as
    those of gcloud, can call private functions only through impersonation. The identity needs:

    - `roles/run.invoker` on the function's Cloud Run service;
    - in the bucket, on the key prefix: `storage.objects.get` and `storage.objects.list` for messages,
      `storage.objects.create` for the marker that stops a function and for large contexts, and
      `storage.objects.delete` for the cleanup;
    - `cloudfunctions.functions.get`, if you pass functions by name.

    To use your own credentials or connections, override `get_credentials`, `get_storage_client` or `get_http_session`.
    """

    _identity_once: Once[Identity] = PrivateAttr(default_factory=Once)
    _storage_client_once: Once[Any] = PrivateAttr(default_factory=Once)
    _function_lookup_once: Once[FunctionLookup] = PrivateAttr(default_factory=Once)
    _leftovers: list[Leftover] | None = PrivateAttr(default=None)

    def get_credentials(self) -> "Credentials":
        """Return the credentials; called once. Default: the environment's own, as google-auth finds them.

        Any kind of google-auth credentials works that can create ID tokens, or can impersonate a service account.
        Source: https://cloud.google.com/docs/authentication/application-default-credentials.
        """
        return find_default_credentials()

    def get_storage_client(self) -> "storage.Client":
        """Create the Cloud Storage client; called once. Default: with the identity that calls the function."""
        return create_client(None if uses_emulator() else self._identity().credentials())

    def get_http_session(self) -> requests.Session:
        """Create the HTTP session of one attempt. Default: with TCP keepalive.

        A session with its own `auth` or `Authorization` header gets no ID token.
        """
        return create_http_session()

    def setup_for_execution(self, context: InitResourceContext) -> None:  # noqa: ARG002
        """Expect `teardown_after_execution`, which deletes the messages of calls that have succeeded."""
        self._leftovers = []

    def teardown_after_execution(self, context: InitResourceContext) -> None:
        """Delete the messages of steps that have succeeded, and close the connections."""
        if keys := deletable_keys(self._leftovers or ()):
            delete = partial(self._delete_and_close, keys, context.log or getLogger(__name__))
            after_step(delete, has_own_process=any(leftover.has_own_process for leftover in self._leftovers or ()))
        else:
            self._close()

    def _delete_and_close(self, keys: Sequence[str], log: Logger) -> None:
        delete_messages(self._store(), keys, log)
        self._close()

    def _close(self) -> None:
        connections = (self._storage_client_once.pop(), self._function_lookup_once.pop(), self._identity_once.pop())
        for connection in connections:
            if close := getattr(connection, "close", None):
                close()

    @only_our_errors()
    @checked_arguments
    def run(  # type: ignore[override]  # Dagster's base takes **kwargs for the arguments that each client adds
        self,
        *,
        context: OpExecutionContext | AssetExecutionContext | AssetCheckExecutionContext,
        function: str | None = None,
        function_url: str | None = None,
        event: Mapping[str, Any] | None = None,
        extras: PipesExtras | None = None,
        reattach: bool | None = None,
    ) -> PipesCloudFunctionCompletedInvocation:
        """Call a function, and wait until it has responded and all its messages are in Dagster.

        Args:
            context: The context of the asset, op or asset check that calls.
            function: The function's name, such as "orders" in the resource's `project` and `region`, or its full
                resource name. The client looks its URL and timeout up. Either this or `function_url`.
            function_url: The function's URL. Nothing is looked up. Either this or `function`.
            event: The JSON object for the function's request body; Pipes adds two keys. Default: empty.
            extras: The JSON object that the function finds in `pipes.extras`. Default: empty.
            reattach: Whether the step may adopt the call of an earlier attempt in place of making it again. Default: as
                the resource says.

        Returns:
            What the function reported, and its HTTP response.

        Raises:
            PipesCloudFunctionError: The call failed; the subclasses say how.
        """
        context = calling_context(context)
        given = self._checked_input(event, extras, reattach)
        given = replace(given, extras={**range_extras(context), **given.extras})
        with self._reachable(function, function_url) as target:
            return self._call(self._new_call(target, context), context, given)

    @only_our_errors()
    @checked_arguments
    def run_partitions(
        self,
        *,
        context: OpExecutionContext | AssetExecutionContext | AssetCheckExecutionContext,
        function: str | None = None,
        function_url: str | None = None,
        event: Mapping[str, Any] | None = None,
        extras: PipesExtras | None = None,
        reattach: bool | None = None,
    ) -> PipesCloudFunctionCompletedPartitions:
        """Call a function once for each partition of the run, one after another, and wait for all calls.

        For example::

            @asset(partitions_def=days, backfill_policy=BackfillPolicy.single_run())
            def sales(context: AssetExecutionContext, cloud_function: PipesCloudFunctionClient):
                return cloud_function.run_partitions(context=context, function="sales").get_materialize_result()

        Each function sees the context of a run with its partition alone. As soon as a call has succeeded, Dagster shows
        its partition as materialized, with its own metadata and data version. The step does not materialize the
        partitions again when it ends, whatever the asset returns. Steps downstream still run.

        If calls fail, the other partitions are called all the same, and the step fails at the end. What a failed call
        reported is kept as observations of its partition. If the step is interrupted, the current call is stopped, and
        no other is started. A retry of the step adopts the calls that have succeeded, and logs their partitions again.

        In a run of one partition, it does what `run` does.

        Args:
            context: The context of the asset that calls. The asset has partitions.
            function: As in `run`.
            function_url: As in `run`.
            event: As in `run`. All calls get the same event.
            extras: As in `run`. All calls get the same extras.
            reattach: As in `run`.

        Returns:
            The results of the step, and the calls by partition key.

        Raises:
            PipesCloudFunctionPartitionsError: The calls of some partitions failed.
            PipesCloudFunctionRequestError: The step materializes no partitions, or another argument is wrong.
            PipesCloudFunctionError: In a run of one partition, its call failed.
        """
        from dagster_gcf_pipes._partitions import call_each, partitioned_step

        context = calling_context(context)
        step = partitioned_step(context)
        given = self._checked_input(event, extras, reattach)
        with self._reachable(function, function_url) as target:
            if len(step.keys) == 1:
                invocation = self._call(self._new_call(target, context), context, given)
                return PipesCloudFunctionCompletedPartitions({step.keys[0]: invocation}, invocation.get_results())

            def call_partition(key: str) -> PipesCloudFunctionCompletedInvocation:
                call = self._new_call(self._resolve(function, function_url), context)
                report = partial(step.log_failed_call, key)
                return self._call(call, context, replace(given, partitions=step.data(key)), report)

            return call_each(step, call_partition)

    @contextmanager
    def _reachable(self, function: str | None, function_url: str | None) -> Iterator[Target]:
        """Yield the function to call in the block, after a check that both sides can use the same bucket."""
        target = self._resolve(function, function_url)
        with explain_missing_emulator(target.url), only_our_errors():
            check_emulator(emulator_of(self._storage_client()), target)
            yield target

    def deployed_revision(self, function: str) -> str | None:
        """Look up the latest deployed revision of a function, to be the `code_version` of the assets that it computes.

        Dagster then shows an asset as unsynced after a deployment, until the function has computed it again. The
        lookup takes place whenever Dagster loads your definitions.

        Args:
            function: The function's name or full resource name, as for `run`.

        Returns:
            The revision, such as "orders-00007-xyz", or None for a function on this machine.

        Raises:
            PipesCloudFunctionError: The lookup failed.
        """
        with self.process_config_and_initialize_cm() as client, only_our_errors():  # resolves each EnvVar
            return find_revision(function, client.project, client.region, client._function_lookup())  # noqa: SLF001

    def _call(
        self,
        call: Call,
        context: CallingContext,
        given: CallInput,
        on_failure: Callable[[PipesSession, Metadata], None] | None = None,
    ) -> PipesCloudFunctionCompletedInvocation:
        """Make a call, or adopt the call of an earlier attempt of the step.

        Args:
            call: The call.
            context: The context of the step.
            given: What the call gets.
            on_failure: Gets what a failed call has reported. Default: it becomes the events of a successful step.
        """
        location = f"{self.bucket}/{self.key_prefix}"
        longest = self.retry_timeout + call.target.timeout + READ_TIMEOUT_MARGIN
        plan = LaunchPlan(call, context, given.asked(context, url=call.target.url, location=location), longest=longest)
        made = self._make(plan.adopted_or_new(self._store(), reattach=given.reattach), context, given)
        if made.is_gone:
            context.log.warning("[pipes] calling anew: the adopted function has shown no sign of life")
            made = self._make(plan.new(), context, given)
        self._clean_up(made, context.log)
        if made.outcome.error is None and fails_a_blocking_check(context, made.session):
            made.launch.record_over()  # the next attempt evaluates the check again
        if made.outcome.error:
            report = on_failure or partial(report_partial_results, context)  # last: a failed step returns nothing
            report(made.session, made.outcome.metadata)
            raise made.outcome.error
        return made.results()

    def _make(self, launch: Launch, context: CallingContext, given: CallInput) -> MadeCall:
        call = launch.call
        reader, injector = self._reader(call), self._injector(call, context, given.partitions)
        marker = CancelMarker(self._store(), call.prefix, context.log)
        adopter = partial(find_adopter, launch.step if given.reattach else None, call.prefix.uri)
        next_attempt = partial(adopter, interrupted=True)
        with open_pipes_session(
            context=context, extras=given.extras, context_injector=injector, message_reader=reader
        ) as session:
            body = encode_body(given.event, session.get_bootstrap_env_vars())
            # The order keeps a call from a wrong verdict, and a function from running on unseen.
            launch.record(context.log)  # before the call: whoever comes after this step finds its function
            refuse_ended_run(launch.step)
            with marker.write_if_interrupted(reader, next_attempt):  # around all the time in which the function may run
                caller = self._caller(launch, body, reader, marker, context.log)
                record = caller.follow() if launch.adopts else caller.call()
                self._drain(reader, record, caller.deadline)  # before the verdict: the messages decide
                how = "was adopted: its messages took" if launch.adopts else f"{record.last.summary} after"
                context.log.info(f"[pipes] the call {how} {record.duration:.2f} s")
                self._warn_of_missing_capabilities(reader.record, context.log)
                outcome = self._outcome(call, record, reader, context)
                if outcome.may_still_run:  # after the drain: until then `closed` could still arrive
                    reason = "nothing waits for the function any more"
                    find = partial(adopter, interrupted=outcome.adoptable)
                    marker.stop_unless_adopted(reader.record, reason, find)
        return MadeCall(
            launch, session, record, reader.record, outcome, (*injector.deletable_keys, *reader.deletable_keys)
        )

    def _resolve(self, function: str | None, function_url: str | None) -> Target:
        return resolve_target(
            function=function,
            function_url=function_url,
            project=self.project,
            region=self.region,
            function_timeout=self.function_timeout,
            lookup=self._function_lookup(),
        )

    def _new_call(self, target: Target, context: CallingContext) -> Call:
        prefix = SessionPrefix(self.bucket, f"{self.key_prefix}/{step_path(context)}/{uuid.uuid4().hex}")
        return Call(target, prefix, messages_stay_on_failure=self.cleanup != "always", prices=self.prices)

    def _injector(self, call: Call, context: CallingContext, partitions: Mapping[str, Any] | None) -> InjectorSession:
        data = range_data(context) if partitions is None else partitions
        return InjectorSession(
            call.prefix, self._storage_client, self.inline_context_limit, checked_assets(context), data
        )

    def _reader(self, call: Call) -> ReaderSession:
        return ReaderSession(
            self._store(),
            call.prefix,
            poll_interval=self.poll_interval,
            include_stdio_in_messages=self.forward_logs,
        )

    def _store(self) -> ObjectStore:
        return ObjectStore(self.bucket, self._storage_client())

    def _storage_client(self) -> "storage.Client":
        client: storage.Client = self._storage_client_once.get(self.get_storage_client)
        return client

    def _function_lookup(self) -> FunctionLookup:
        return self._function_lookup_once.get(lambda: FunctionLookup(self._identity().credentials))

    def _identity(self) -> Identity:
        return self._identity_once.get(
            lambda: Identity(
                self.get_credentials,
                service_account=self.impersonate_service_account,
                delegates=self.impersonation_delegates,
            )
        )

    def _caller(self, launch: Launch, body: bytes, reader: ReaderSession, marker: CancelMarker, log: Logger) -> Caller:
        call = launch.call
        watch = CrashWatch(
            lambda: call.log_scope(reader.record.opened_extras), self._identity().credentials, log_view=self.log_view
        )
        return Caller(
            self._post_once(call, body, log),
            reader,
            self.retry_policy,
            call_timeout=launch.seconds_left if launch.adopts else call.target.timeout + READ_TIMEOUT_MARGIN,
            drain_timeout=self.drain_timeout,
            claim_session=marker.claim_session,
            has_crashed=watch.has_crashed,
            log=log,
        )

    def _drain(self, reader: ReaderSession, record: CallRecord, deadline: float) -> None:
        timeout = self.drain_timeout if record.may_write_more else 0
        reader.drain(record.chunk_count, timeout=timeout, deadline=deadline)

    def _outcome(self, call: Call, record: CallRecord, reader: ReaderSession, context: CallingContext) -> Outcome:
        return determine_outcome(
            call,
            record,
            reader.record,
            self._identity().credentials,
            log_view=self.log_view,
            describe_last_peak=partial(describe_last_peak, context),
        )

    def _post_once(self, call: Call, body: bytes, log: Logger) -> Post:
        storage = storage_of(self._storage_client())
        known = {STORAGE_HEADER: storage} if storage else {}
        about_call = {TIMEOUT_HEADER: str(call.target.timeout), **known, **call.trace.headers}
        headers = {**about_call, **self._this_side().headers}
        audience = self.audience or call.target.audience
        auth = FunctionAuth(self._identity(), audience=audience, log=log, function=call.target.name)
        timeout = (self.connect_timeout, call.target.timeout + READ_TIMEOUT_MARGIN)

        def post_once() -> tuple[Attempt, requests.Response | None]:
            with self.get_http_session() as http:
                return post(http, call.target.url, body, headers=headers, auth=auth, timeout=timeout)

        return post_once

    def _this_side(self) -> Half:
        return Half.ours([FORWARD_LOGS] if self.forward_logs else [])

    def _warn_of_missing_capabilities(self, session: SessionRecord, log: Logger) -> None:
        """Warn if the function ran without what the call needs: with other code than ours, or behind a proxy."""
        problem = capability_problem(function=session.function, dagster=self._this_side())
        if problem and session.opened and not session.has_output:
            log.warning(f"[pipes] {problem}")

    def _clean_up(self, made: MadeCall, log: Logger) -> None:
        """Delete the messages of a call. Those of a success stay until its step has succeeded too.

        If the step fails or dies, its next attempt reads them again.
        """
        outcome, failed = made.outcome, made.outcome.error is not None
        wanted = self.cleanup == "always" or (self.cleanup == "on_success" and not failed)
        deletes = wanted and not outcome.may_still_run and not outcome.adoptable  # a running function needs its prefix
        if deletes and not failed and made.launch.step and self._leftovers is not None:
            self._leftovers += made.leftovers
            return
        if deletes or (failed and made.seems_usable and not outcome.adoptable):
            made.launch.record_over()
        if deletes:
            delete_messages(self._store(), made.keys, log)

    def _checked_input(
        self, event: Mapping[str, Any] | None, extras: PipesExtras | None, reattach: bool | None
    ) -> CallInput:
        """Return what a call gets. It refuses bad input before anything is opened."""
        event = {} if event is None else event
        event = json_object(event, "event")
        encode_body(event, {})
        extras = json_object({} if extras is None else extras, "extras")
        if not isinstance(reattach, bool | None):
            raise PipesCloudFunctionRequestError(f"Expected `reattach` to be True or False, got {reattach!r:.100}.")
        return CallInput(event, extras, self.reattach if reattach is None else reattach)
