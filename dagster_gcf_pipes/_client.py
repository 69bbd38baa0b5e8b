"""The Pipes client, a Dagster resource that calls cloud functions."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import partial
from logging import Logger, getLogger
from typing import TYPE_CHECKING, Any

import requests
from dagster import (
    AssetCheckExecutionContext,
    AssetExecutionContext,
    InitResourceContext,
    OpExecutionContext,
    PipesClient,
)
from dagster_pipes import PipesExtras
from gcf_pipes._shared.once import Once
from gcf_pipes._shared.storage import ObjectStore, create_client, emulator_of, uses_emulator
from pydantic import PrivateAttr

from dagster_gcf_pipes._adoption import LaunchPlan
from dagster_gcf_pipes._arguments import checked_arguments
from dagster_gcf_pipes._calling import Calling, HttpSession
from dagster_gcf_pipes._cleanup import Leftover, close, deletable_keys, delete_messages, in_background
from dagster_gcf_pipes._config import BUCKET_MESSAGES, PipesCloudFunctionSettings
from dagster_gcf_pipes._contexts import (
    CallingContext,
    calling_context,
    range_extras,
)
from dagster_gcf_pipes._crash_logs import CrashLogs
from dagster_gcf_pipes._credentials import Identity, find_default_credentials
from dagster_gcf_pipes._emulator import check_emulator, explain_missing_emulator
from dagster_gcf_pipes._errors import PipesCloudFunctionRequestError
from dagster_gcf_pipes._functions_api import FunctionLookup, Target, find_revision, resolve_target
from dagster_gcf_pipes._google_errors import only_our_errors
from dagster_gcf_pipes._http import create_http_session, shared_http_session
from dagster_gcf_pipes._made_call import CallInput, MadeCall
from dagster_gcf_pipes._many_arguments import (
    DEFAULT_MAX_CONCURRENCY,
    checked_concurrency,
    checked_events,
    tolerated_failures,
    within_file_limit,
)
from dagster_gcf_pipes._messages.entry_reader import EntryReaders
from dagster_gcf_pipes._one import make_call
from dagster_gcf_pipes._request_body import encode_body, json_object
from dagster_gcf_pipes._results import (
    PipesCloudFunctionCompletedInvocation,
    PipesCloudFunctionCompletedPartitions,
    fails_a_blocking_check,
    report_partial_results,
)
from dagster_gcf_pipes._unclaimed import make_unclaimed_call

if TYPE_CHECKING:
    from google.auth.credentials import Credentials
    from google.cloud import storage

    from dagster_gcf_pipes._many import ManyCalls, OnFailure, OnSuccess
    from dagster_gcf_pipes._many_results import PipesCloudFunctionCompletedCalls


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
    _entry_readers_once: Once[EntryReaders] = PrivateAttr(default_factory=Once)
    _leftovers: list[Leftover] | None = PrivateAttr(default=None)
    _discarded: list[str] = PrivateAttr(default_factory=list)

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
        self._leftovers, self._discarded = [], []

    def teardown_after_execution(self, context: InitResourceContext) -> None:
        """Delete the messages that nobody will read again, and close the connections. The run does not wait for it."""
        leftovers = self._leftovers or ()
        keys = [*self._discarded, *deletable_keys(leftovers)]
        store = self._store() if keys else None
        connections = (self._storage_client_once.pop(), self._function_lookup_once.pop(), self._identity_once.pop())
        if store:
            delete = partial(delete_messages, store, keys, context.log or getLogger(__name__), connections)
            in_background(delete, has_own_process=any(leftover.has_own_process for leftover in leftovers))
        else:
            close(connections)

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
            return self._call(target, context, given)

    @only_our_errors()
    @checked_arguments
    def run_many(
        self,
        *,
        context: OpExecutionContext | AssetExecutionContext | AssetCheckExecutionContext,
        function: str | None = None,
        function_url: str | None = None,
        events: Mapping[str, Mapping[str, Any]],
        extras: PipesExtras | None = None,
        max_concurrency: int = DEFAULT_MAX_CONCURRENCY,
        tolerate_failures: float = 0,
        fail_fast: bool = False,
        reattach: bool | None = None,
    ) -> "PipesCloudFunctionCompletedCalls":
        """Call a function once for each event, many at once, and wait for all calls.

        For example::

            calls = cloud_function.run_many(
                context=context, function="crawl", events={site: {"url": url} for site, url in sites.items()}
            )
            pages = {site: call.response.json() for site, call in calls.succeeded.items()}

        Each call is one as of `run`: with a session of its own, at most one execution, and a verdict. The step makes up
        to 50 calls at once, and then more, until the platform has no instance for one. It then makes fewer, and tries
        again: such a refusal is no failure. One log line in 5 seconds tells the progress. Each log line of a function
        starts with its key.

        If calls fail, the others are made all the same, and the step fails at the end. If the step is interrupted, all
        functions are told to stop. A retry of the step makes only the calls that have not succeeded.

        Args:
            context: The context of the asset, op or asset check that calls.
            function: As in `run`.
            function_url: As in `run`.
            events: The JSON object for the request body of each call, by a key. The key names the call in the log, in
                errors and in the results.
            extras: As in `run`. All calls get the same extras.
            max_concurrency: How many calls may be in flight at most. The step has a thread for each. Default 100, which
                is the default of a function's `max_instance_count`.
            tolerate_failures: How many calls may fail: a number, or as a float below 1, a share of all. Default 0.
            fail_fast: Whether to stop as soon as more calls have failed. Default no.
            reattach: As in `run`.

        Returns:
            The results of the calls, by key.

        Raises:
            PipesCloudFunctionCallsError: More calls failed than may fail.
            PipesCloudFunctionRequestError: An argument is wrong. No call was made.
            PipesCloudFunctionError: No call could be made.
        """
        from dagster_gcf_pipes._many_results import (
            PipesCloudFunctionCompletedCalls,
            calls_error,
            metadata_of,
            split_outcomes,
        )

        context = calling_context(context)
        started = time.monotonic()
        inputs = {key: self._checked_input(event, extras, reattach) for key, event in checked_events(events).items()}
        limit = tolerated_failures(tolerate_failures, len(inputs))
        with self._reachable(function, function_url) as target:
            calls = self._make_many(
                target,
                context,
                inputs,
                most=checked_concurrency(max_concurrency),
                goes_on=lambda failed: not fail_fast or failed <= limit,
            )
        metadata = metadata_of(calls, time.monotonic() - started)
        ended = {key: calls.outcomes[key] for key in inputs if key in calls.outcomes}
        _, failed = split_outcomes(ended)
        if len(failed) > limit:
            raise calls_error(failed, len(inputs), limit, len(inputs) - len(ended), metadata)
        assets = sorted(context.selected_asset_keys) if context.has_assets_def else ()
        return PipesCloudFunctionCompletedCalls(ended, metadata, assets)

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
        max_concurrency: int = DEFAULT_MAX_CONCURRENCY,
        reattach: bool | None = None,
    ) -> PipesCloudFunctionCompletedPartitions:
        """Call a function once for each partition of the run, many at once, and wait for all calls.

        For example::

            @asset(partitions_def=days, backfill_policy=BackfillPolicy.single_run())
            def sales(context: AssetExecutionContext, cloud_function: PipesCloudFunctionClient):
                return cloud_function.run_partitions(context=context, function="sales").get_materialize_result()

        Each function sees the context of a run with its partition alone. As soon as a call has succeeded, Dagster shows
        its partition as materialized, with its own metadata and data version. The step does not materialize the
        partitions again when it ends, whatever the asset returns. Steps downstream still run.

        The calls are made as those of `run_many`. If calls fail, the other partitions are called all the same, and the
        step fails at the end. What a failed call reported is kept as observations of its partition. A retry of the step
        calls only what is missing, and logs no partition twice. A re-execution of the run calls only what is missing,
        too. It logs all its partitions, because its run has planned them.

        In a run of one partition, it does what `run` does.

        Args:
            context: The context of the asset that calls. The asset has partitions.
            function: As in `run`.
            function_url: As in `run`.
            event: As in `run`. All calls get the same event.
            extras: As in `run`. All calls get the same extras.
            max_concurrency: As in `run_many`. With 1, one call follows another, in the order of the partitions. It is 1
                for an asset that depends on its own earlier partitions.
            reattach: As in `run`.

        Returns:
            The results of the step, and the calls by partition key.

        Raises:
            PipesCloudFunctionPartitionsError: The calls of some partitions failed.
            PipesCloudFunctionRequestError: The step materializes no partitions, or another argument is wrong.
            PipesCloudFunctionError: In a run of one partition, its call failed.
        """
        from dagster_gcf_pipes._many_results import metadata_of
        from dagster_gcf_pipes._partitions import end_step, partitioned_step

        context = calling_context(context)
        started = time.monotonic()
        step = partitioned_step(context)
        step.require_results()
        given = self._checked_input(event, extras, reattach)
        most = 1 if step.depends_on_itself else checked_concurrency(max_concurrency)
        with self._reachable(function, function_url) as target:
            if len(step.keys) == 1:
                invocation = self._call(target, context, given)
                return PipesCloudFunctionCompletedPartitions({step.keys[0]: invocation}, invocation.get_results())
            inputs = {key: replace(given, partitions=step.data(key)) for key in step.keys}
            calls = self._make_many(
                target, context, inputs, most=most, on_success=step.log_call, on_failure=step.log_failed_call
            )
        return end_step(step, calls.outcomes, metadata_of(calls, time.monotonic() - started))

    @contextmanager
    def _reachable(self, function: str | None, function_url: str | None) -> Iterator[Target]:
        """Yield the function to call in the block, after a check that both sides can use the same bucket, if any."""
        target = self._resolve(function, function_url)
        with explain_missing_emulator(target.url), only_our_errors():
            if self.messages == BUCKET_MESSAGES:
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

    def _call(self, target: Target, context: CallingContext, given: CallInput) -> PipesCloudFunctionCompletedInvocation:
        """Make a call, or adopt the call of an earlier attempt of the step."""
        calling = self._calling(reattach=given.reattach)
        if self.messages == BUCKET_MESSAGES:
            made = self._make_or_adopt(calling, target, context, given)
        else:
            made = make_unclaimed_call(calling, target, context, given, self._entry_readers_once.get(EntryReaders))
        self._clean_up(made, context.log)
        if made.outcome.error is None and fails_a_blocking_check(context, made.session):
            made.launch.record_over()  # the next attempt evaluates the check again
        if made.outcome.error:
            report_partial_results(context, made.session, made.outcome.metadata)  # a failed step returns nothing
            raise made.outcome.error
        return made.results()

    @staticmethod
    def _make_or_adopt(calling: Calling, target: Target, context: CallingContext, given: CallInput) -> MadeCall:
        call = calling.new_call(target, calling.new_prefix(context))
        asked = given.asked(context, url=target.url, location=calling.location)
        plan = LaunchPlan(call, context, asked, longest=calling.longest(target))
        made = make_call(calling, plan.adopted_or_new(calling.store, reattach=given.reattach), context, given)
        if made.is_gone:
            context.log.warning("[pipes] calling anew: the adopted function has shown no sign of life")
            made = make_call(calling, plan.new(), context, given)
        return made

    def _make_many(
        self,
        target: Target,
        context: CallingContext,
        inputs: Mapping[str, CallInput],
        *,
        most: int,
        goes_on: Callable[[int], bool] = lambda _: True,
        on_success: "OnSuccess" = lambda *_: None,
        on_failure: "OnFailure" = lambda *_: None,
    ) -> "ManyCalls":
        """Make many calls of a function, or adopt those of an earlier attempt of the step.

        Args:
            target: The function.
            context: The context of the step.
            inputs: What each call gets, by its key. Extras and `reattach` are the same for all.
            most: How many calls may be in flight at most.
            goes_on: Whether to go on after so many failures.
            on_success: As for `ManyCalls`.
            on_failure: As for `ManyCalls`.
        """
        from dagster_gcf_pipes._many import MAX_LOGGED_FAILURES, plan_calls

        if self.messages != BUCKET_MESSAGES:
            raise PipesCloudFunctionRequestError(
                f"Expected `messages='bucket'` for many calls, got {self.messages!r}.\n"
                "Fix: Set `messages` of the resource to 'bucket', and `bucket` to the name of a bucket."
            )
        most = within_file_limit(min(most, max(len(inputs), 1)), context.log)
        reattach = all(given.reattach for given in inputs.values())
        with shared_http_session(self.get_http_session(), target.url, most) as http:
            calling = self._calling(
                reattach=reattach, http_session=lambda: nullcontext(http), most_log_tails=MAX_LOGGED_FAILURES
            )
            calls = plan_calls(
                calling, target, context, inputs, most=most, on_success=on_success, on_failure=on_failure
            )
            try:
                calls.make(goes_on)
            finally:
                self._clean_up_many(calls, context.log)
        return calls

    def _clean_up_many(self, calls: "ManyCalls", log: Logger) -> None:
        """Delete the messages of many calls. Those of successes stay until the step has succeeded too.

        Without Dagster to tell when that is, they stay if a call has not succeeded: a retry of the step needs them.
        """
        if calls.over:
            calls.plan.record_over(calls.over)
        if self.cleanup == "never":
            return
        deletable = calls.failed_keys if self.cleanup == "always" else []
        if calls.plan.step and self._leftovers is not None:
            self._leftovers += calls.plan.leftovers(calls.keys)
        elif calls.all_succeeded or not calls.plan.step:
            deletable = [*deletable, *calls.keys]
        self._discard(deletable, log)

    def _calling(
        self, *, reattach: bool, http_session: HttpSession | None = None, most_log_tails: int | None = None
    ) -> Calling:
        logs = CrashLogs(self._identity().credentials, log_view=self.log_view, most_reads=most_log_tails)
        session = http_session or self.get_http_session
        return Calling(self, self._storage_client, self._identity(), session, reattach, logs)

    def _resolve(self, function: str | None, function_url: str | None) -> Target:
        return resolve_target(
            function=function,
            function_url=function_url,
            project=self.project,
            region=self.region,
            function_timeout=self.function_timeout,
            lookup=self._function_lookup(),
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
            self._discard(made.keys, log)

    def _discard(self, keys: Sequence[str], log: Logger) -> None:
        """Delete messages that nobody will read, whatever becomes of the step."""
        if self._leftovers is not None:
            self._discarded += keys
        elif keys:  # Dagster does not tear this client down
            in_background(partial(delete_messages, self._store(), keys, log), has_own_process=False)

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
