"""The Pipes client: a Dagster resource that calls cloud functions."""

import re
import uuid
from collections.abc import Mapping, Sequence
from logging import Logger
from typing import TYPE_CHECKING, Any, Final

import requests
from dagster import (
    AssetCheckExecutionContext,
    AssetExecutionContext,
    DagsterError,
    InitResourceContext,
    OpExecutionContext,
    PipesClient,
    open_pipes_session,
)
from dagster_pipes import PipesExtras
from gcf_pipes import PipesStorageError
from gcf_pipes._protocol import TIMEOUT_HEADER, SessionPrefix
from gcf_pipes._storage import ObjectStore, create_client, uses_emulator
from pydantic import PrivateAttr

from dagster_gcf_pipes._attempts import Caller, Post
from dagster_gcf_pipes._auth import FunctionAuth
from dagster_gcf_pipes._call import Call
from dagster_gcf_pipes._cancel_marker import CancelMarker
from dagster_gcf_pipes._config import PipesCloudFunctionSettings
from dagster_gcf_pipes._connections import Connections
from dagster_gcf_pipes._context_injector import PipesCloudFunctionEventContextInjector
from dagster_gcf_pipes._contexts import CallingContext, calling_context, checked_assets
from dagster_gcf_pipes._crash_logs import CrashWatch
from dagster_gcf_pipes._credentials import Identity, find_default_credentials
from dagster_gcf_pipes._functions_api import FunctionLookup, Target, resolve_target
from dagster_gcf_pipes._google_errors import only_our_errors
from dagster_gcf_pipes._http import Attempt, create_http_session, encode_body, post
from dagster_gcf_pipes._invocation import PipesCloudFunctionCompletedInvocation
from dagster_gcf_pipes._json import json_object
from dagster_gcf_pipes._message_reader import PipesCloudStorageMessageReader
from dagster_gcf_pipes._outcome import Outcome, determine_outcome
from dagster_gcf_pipes._partial_results import report_partial_results
from dagster_gcf_pipes._reader_session import ReaderSession

if TYPE_CHECKING:
    from google.auth.credentials import Credentials
    from google.cloud import storage

READ_TIMEOUT_MARGIN: Final = 30.0
"""Seconds that the platform may take beyond the function's own timeout: a cold start before, the response after."""
CLEANUP_TIMEOUT: Final = 30.0
"""Seconds for which deleting the objects of a session may take."""


class PipesCloudFunctionClient(PipesCloudFunctionSettings, PipesClient):
    """Pipes client that calls a Google Cloud Function, and shows what it reports while it runs.

    Declared as a Dagster resource:

        defs = Definitions(
            assets=[orders],
            resources={"cloud_function": PipesCloudFunctionClient(bucket=EnvVar("PIPES_BUCKET"))},
        )

    A function is called with an ID token, if its URL is https and of another machine. The identity is the one that
    google-auth finds in the environment, or a service account that this impersonates. A person's credentials, such as
    those of gcloud, call private functions through an impersonation alone. The identity needs `roles/run.invoker` on
    the function's Cloud Run service; in the bucket `storage.objects.get` and `storage.objects.list` on the key prefix,
    `storage.objects.create` for the marker that ends a function and for contexts that are too large for the request,
    and `storage.objects.delete` for the cleanup; and `cloudfunctions.functions.get` for functions that are given by
    their name.

    To use credentials or a connection of your own, override `get_credentials`, `get_storage_client` or
    `get_http_session`.
    """

    _connections: Connections = PrivateAttr(default_factory=Connections)

    def get_credentials(self) -> "Credentials":
        """Find the credentials; called once. By default they are the environment's own, as google-auth finds them.

        They may be of any kind of google-auth's. What calls a function is an ID token of them, or of the service
        account that they impersonate. Source: https://cloud.google.com/docs/authentication/application-default-credentials.
        """
        return find_default_credentials()

    def get_storage_client(self) -> "storage.Client":
        """Create the Cloud Storage client; called once. By default it has the identity that calls the function."""
        return create_client(None if uses_emulator() else self._identity().credentials())

    def get_http_session(self) -> requests.Session:
        """Create the HTTP session of one attempt. By default TCP keepalive is on.

        A session with an `auth` or an `Authorization` header of its own gets no ID token.
        """
        return create_http_session()

    def teardown_after_execution(self, context: InitResourceContext) -> None:  # noqa: ARG002
        """Close the connections."""
        self._connections.close()

    @only_our_errors()
    def run(  # type: ignore[override]  # Dagster's base takes **kwargs for the arguments that each client adds
        self,
        *,
        context: OpExecutionContext | AssetExecutionContext | AssetCheckExecutionContext,
        function: str | None = None,
        function_url: str | None = None,
        event: Mapping[str, Any] | None = None,
        extras: PipesExtras | None = None,
    ) -> PipesCloudFunctionCompletedInvocation:
        """Call a function and wait until it has answered and all its messages are in Dagster.

        Args:
            context: The context of the asset, op or asset check that calls.
            function: The function's name, such as "orders" in the resource's `project` and `region`, or its full
                resource name. Its URL and timeout are looked up. Either this or `function_url`.
            function_url: The function's URL; nothing is looked up. Either this or `function`.
            event: The JSON object that the function gets as its request body, beside the keys of Pipes. Default: empty.
            extras: The JSON object that the function finds as `pipes.extras`. Default: empty.

        Returns:
            What the function reported, and its HTTP response.

        Raises:
            PipesCloudFunctionError: The run failed; the subclasses say how.
        """
        context = calling_context(context)
        event = {} if event is None else event
        encode_body(event, {})  # refuses a bad event before anything is opened
        extras = json_object({} if extras is None else extras, "extras")
        call = self._new_call(self._resolve(function, function_url), context)
        injector = self._injector().session(call.prefix, checked_assets(context))
        reader = self._reader().session(call.prefix)
        marker = CancelMarker(self._store(), call.prefix, context.log)
        with open_pipes_session(
            context=context, extras=extras, context_injector=injector, message_reader=reader
        ) as session:
            context.log.info(call.announcement)
            body = encode_body(event, session.get_bootstrap_env_vars())
            with marker.written_if_interrupted(reader):
                outcome, response = self._call(call, body, reader, marker, context.log)
                if outcome.may_still_run:
                    marker.write("nothing waits for the function any more")
        if not outcome.may_still_run and self._cleans_up(outcome):
            self._clean_up([*injector.object_keys, *reader.object_keys], log=context.log)
        if outcome.error:
            report_partial_results(context, session, outcome.metadata)
            raise outcome.error
        return PipesCloudFunctionCompletedInvocation(session, response=response, metadata=outcome.metadata)

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
        prefix = SessionPrefix(self.bucket, f"{self.key_prefix}/{_step_path(context)}/{uuid.uuid4().hex}")
        return Call(target, prefix, messages_stay_on_failure=self.cleanup != "always")

    def _injector(self) -> PipesCloudFunctionEventContextInjector:
        return PipesCloudFunctionEventContextInjector(
            bucket=self.bucket,
            key_prefix=self.key_prefix,
            client=self._storage_client(),
            inline_context_limit=self.inline_context_limit,
        )

    def _reader(self) -> PipesCloudStorageMessageReader:
        return PipesCloudStorageMessageReader(
            bucket=self.bucket,
            key_prefix=self.key_prefix,
            client=self._storage_client(),
            poll_interval=self.poll_interval,
            drain_timeout=self.drain_timeout,
            include_stdio_in_messages=self.forward_logs,
        )

    def _store(self) -> ObjectStore:
        return ObjectStore(self.bucket, self._storage_client())

    def _storage_client(self) -> "storage.Client":
        return self._connections.get("storage", self.get_storage_client)

    def _function_lookup(self) -> FunctionLookup:
        return self._connections.get("functions", lambda: FunctionLookup(self._identity().credentials))

    def _identity(self) -> Identity:
        return self._connections.get(
            "identity",
            lambda: Identity(
                self.get_credentials,
                service_account=self.impersonate_service_account,
                delegates=self.impersonation_delegates,
            ),
        )

    def _call(
        self, call: Call, body: bytes, reader: ReaderSession, marker: CancelMarker, log: Logger
    ) -> tuple[Outcome, requests.Response | None]:
        """Make the call, read its messages to their end, and judge it."""
        credentials = self._identity().credentials
        watch = CrashWatch(lambda: call.log_scope(reader.record.opened_extras), credentials, log_view=self.log_view)
        caller = Caller(
            self._post_once(call, body, log),
            reader,
            self.retry_policy,
            call_timeout=call.target.timeout + READ_TIMEOUT_MARGIN,
            drain_timeout=self.drain_timeout,
            claim_session=marker.claim_session,
            has_crashed=watch.has_crashed,
            log=log,
        )
        record = caller.call()
        drain_timeout = self.drain_timeout if record.may_write_more else 0
        reader.drain(record.chunk_count, timeout=drain_timeout, deadline=caller.deadline)
        log.info(f"[pipes] the call {record.last.summary} after {record.duration:.2f} s")
        outcome = determine_outcome(call, record, reader.record, credentials, log_view=self.log_view)
        return outcome, record.own_response(reader.record)

    def _post_once(self, call: Call, body: bytes, log: Logger) -> Post:
        headers = {TIMEOUT_HEADER: str(call.target.timeout), **call.trace.headers}
        audience = self.audience or call.target.audience
        auth = FunctionAuth(self._identity(), audience=audience, log=log, function=call.target.name)
        timeout = (self.connect_timeout, call.target.timeout + READ_TIMEOUT_MARGIN)

        def post_once() -> tuple[Attempt, requests.Response | None]:
            with self.get_http_session() as http:
                return post(http, call.target.url, body, headers=headers, auth=auth, timeout=timeout)

        return post_once

    def _cleans_up(self, outcome: Outcome) -> bool:
        return self.cleanup == "always" or (self.cleanup == "on_success" and outcome.error is None)

    def _clean_up(self, keys: Sequence[str], *, log: Logger) -> None:
        try:
            self._store().delete(keys, timeout=CLEANUP_TIMEOUT)
        except PipesStorageError as error:
            log.warning(
                f"[pipes] the call is done, but its messages stay in the bucket: {error} "
                "Set `cleanup` of the resource to 'never' to leave them to a lifecycle rule."
            )


def _step_path(context: CallingContext) -> str:
    """The run and the step; a dynamic step's key has brackets, which Cloud Storage's tools take for a pattern."""
    try:
        step = context.get_step_execution_context()
    except DagsterError:
        return "direct_invocation"  # a test's `build_asset_context()` has neither run nor step
    return f"{step.run_id}/{re.sub(r'[^A-Za-z0-9._-]', '_', step.step.key)}"
