"""The Pipes client: a Dagster resource that calls cloud functions."""

import os
import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from logging import Logger
from typing import TYPE_CHECKING, Any, Final

import requests
from dagster import (
    AssetExecutionContext,
    ConfigurableResource,
    DagsterError,
    InitResourceContext,
    MetadataValue,
    OpExecutionContext,
    PipesClient,
    open_pipes_session,
)
from dagster_pipes import PipesExtras
from gcf_pipes import PipesStorageError
from gcf_pipes._protocol import DEFAULT_KEY_PREFIX, SessionLocation
from gcf_pipes._storage import ObjectStore, create_client
from pydantic import Field, PrivateAttr, model_validator

from dagster_gcf_pipes._auth import FunctionAuth
from dagster_gcf_pipes._calling import call_until_done
from dagster_gcf_pipes._context_injector import (
    DEFAULT_INLINE_CONTEXT_LIMIT,
    PipesCloudFunctionEventContextInjector,
)
from dagster_gcf_pipes._credentials import find_default_credentials
from dagster_gcf_pipes._fields import (
    Attempts,
    Audience,
    BucketName,
    Bytes,
    CleanupPolicy,
    FloatSeconds,
    KeyPrefix,
    RetriedOutcome,
    Seconds,
    ServiceAccount,
)
from dagster_gcf_pipes._http import FunctionCall, call_function, create_http_session, encode_body
from dagster_gcf_pipes._identity import Identity
from dagster_gcf_pipes._invocation import PipesCloudFunctionCompletedInvocation
from dagster_gcf_pipes._kept_results import keep_results
from dagster_gcf_pipes._message_reader import (
    DEFAULT_DRAIN_TIMEOUT,
    DEFAULT_POLL_INTERVAL,
    PipesCloudStorageMessageReader,
)
from dagster_gcf_pipes._reader_session import ReaderSession
from dagster_gcf_pipes._retry import DEFAULT_RETRY_ON, RetryPolicy
from dagster_gcf_pipes._verdict import Metadata, SessionRecord, find_error

if TYPE_CHECKING:
    from google.auth.credentials import Credentials
    from google.cloud import storage

DEFAULT_FUNCTION_TIMEOUT: Final = 3600
READ_TIMEOUT_MARGIN: Final = 30.0
"""Seconds that the platform may take beyond the function's own timeout: a cold start before, the response after."""
MAX_RETRY_DELAY: Final = 30.0
"""The longest pause between two attempts of a call, in seconds."""
CANCEL_TIMEOUT: Final = 5.0
"""Seconds for which leaving the cancel marker may take when the run is terminated."""
CLEANUP_TIMEOUT: Final = 30.0
"""Seconds for which deleting the objects of a session may take."""


class PipesCloudFunctionClient(ConfigurableResource[Any], PipesClient):
    """Pipes client that calls a Google Cloud Function, and shows what it reports while it runs.

    Declared as a Dagster resource:

        defs = Definitions(
            assets=[orders],
            resources={"cloud_function": PipesCloudFunctionClient(bucket=EnvVar("PIPES_BUCKET"))},
        )

    The identity in use needs `storage.objects.get` and `storage.objects.list` on the key prefix,
    `storage.objects.delete` for the cleanup, and `storage.objects.create` for contexts that are too large for the
    request. To use credentials or a connection of your own, override `get_credentials`, `get_storage_client` or
    `get_http_session`.
    """

    bucket: BucketName = Field(
        description="Name of the Cloud Storage bucket through which the function's messages come.",
    )
    key_prefix: KeyPrefix = Field(
        default=DEFAULT_KEY_PREFIX,
        description=(
            "Base prefix of all sessions in the bucket. Each call gets a prefix of its own below it: "
            "{key_prefix}/{run_id}/{step_key}/{session_id}."
        ),
    )
    function_timeout: Seconds = Field(
        default=DEFAULT_FUNCTION_TIMEOUT,
        description=(
            "The function's own timeout, in seconds: how long to wait for its response. "
            "Default 3600, the longest that the platform allows."
        ),
    )
    connect_timeout: Seconds = Field(
        default=10, description="How long to wait for a connection to the function, in seconds. Default 10."
    )
    poll_interval: FloatSeconds = Field(
        default=DEFAULT_POLL_INTERVAL,
        description=(
            "The longest pause between two looks for a message, in seconds; "
            "looks are closer together soon after a message. Default 1.5."
        ),
    )
    drain_timeout: Seconds = Field(
        default=DEFAULT_DRAIN_TIMEOUT,
        description=(
            "How long to look for further messages, in seconds, after a function has ended without saying how many "
            "there are: one that does not use gcf_pipes. Default 10."
        ),
    )
    retry_on: list[RetriedOutcome] = Field(
        default=[*DEFAULT_RETRY_ON],
        description=(
            "The outcomes of a call after which it is attempted again if it has not started the function: HTTP "
            "statuses ('429'), classes of them ('5xx'), and 'no_response' (no connection, a reset, a timeout). "
            "Default ['429', '5xx', 'no_response']."
        ),
    )
    max_attempts: Attempts = Field(
        default=4,
        description=(
            "How often a call is attempted in all, when none of the attempts has started the function. "
            "1 means no other attempt. Default 4."
        ),
    )
    retry_delay: FloatSeconds = Field(
        default=2.0,
        description=(
            "The longest pause before the second attempt, in seconds; it is at least half as long, and twice as long "
            "before each further attempt, up to 30 s. Default 2."
        ),
    )
    retry_timeout: Seconds = Field(
        default=120,
        description="How long after the start of the first attempt another may start, in seconds. Default 120.",
    )
    inline_context_limit: Bytes = Field(
        default=DEFAULT_INLINE_CONTEXT_LIMIT,
        description=(
            "The largest Pipes context that travels in the request, in bytes as encoded for it; "
            "a larger one goes through the bucket. Default 8 MiB."
        ),
    )
    cleanup: CleanupPolicy = Field(
        default="on_success",
        description=(
            "When to delete a session's objects from the bucket: 'always', 'on_success' (the default) or 'never'. "
            "A lifecycle rule of the bucket is the net underneath."
        ),
    )

    impersonate_service_account: ServiceAccount | None = Field(
        default=None,
        description=(
            "The email of a service account as which functions are called and the bucket is used, in place of the "
            "identity that is found, which needs `roles/iam.serviceAccountTokenCreator` on it. Default: none."
        ),
    )
    impersonation_delegates: list[ServiceAccount] = Field(
        default=[],
        description=(
            "Emails of service accounts through which it is impersonated, in order: each needs the role on the next. "
            "Default: none."
        ),
    )
    audience: Audience | None = Field(
        default=None,
        description=(
            "The audience of the ID tokens. Default: the function's URL without query and path, or with the function's "
            "name for a URL of cloudfunctions.net."
        ),
    )

    @model_validator(mode="after")
    def _check_delegates(self) -> "PipesCloudFunctionClient":
        if self.impersonation_delegates and not self.impersonate_service_account:
            raise ValueError("expected `impersonate_service_account` beside `impersonation_delegates`, got none")
        return self

    _storage_client: "storage.Client | None" = PrivateAttr(default=None)
    _identities: dict[None, Identity] = PrivateAttr(default_factory=dict)

    def get_credentials(self) -> "Credentials":
        """Find the credentials; called once. By default they are the environment's own, as google-auth finds them.

        They may be of any kind of google-auth's. What calls a function is an ID token of them, or of the service
        account that they impersonate. Source: https://cloud.google.com/docs/authentication/application-default-credentials.
        """
        return find_default_credentials()

    def get_storage_client(self) -> "storage.Client":
        """Create the Cloud Storage client; called once. By default it has the identity that calls the function."""
        return create_client(None if "STORAGE_EMULATOR_HOST" in os.environ else self._identity().credentials())

    def get_http_session(self) -> requests.Session:
        """Create the HTTP session of one attempt. By default TCP keepalive is on.

        A session with an `auth` or an `Authorization` header of its own gets no ID token.
        """
        return create_http_session()

    def teardown_after_execution(self, context: InitResourceContext) -> None:  # noqa: ARG002
        """Close the Cloud Storage client's connections."""
        if self._storage_client:
            self._storage_client.close()

    def run(  # type: ignore[override]  # Dagster's base takes **kwargs for the arguments that each client adds
        self,
        *,
        context: OpExecutionContext | AssetExecutionContext,
        function_url: str,
        event: Mapping[str, Any] | None = None,
        extras: PipesExtras | None = None,
    ) -> PipesCloudFunctionCompletedInvocation:
        """Call a function and wait until it has answered and all its messages are in Dagster.

        Args:
            context: The context of the asset or op that calls.
            function_url: The function's URL.
            event: The JSON object that the function gets as its request body, beside the keys of Pipes. Default: empty.
            extras: Arbitrary JSON-serializable data that the function finds in `pipes.extras`.

        Returns:
            What the function reported, and its HTTP response.

        Raises:
            PipesCloudFunctionError: The run failed; the subclasses say how.
        """
        event = {} if event is None else event
        encode_body(event, {})  # refuses a bad event before anything is opened
        location = self._new_location(context)
        injector, reader = self._injector().session(location), self._reader().session(location)
        with open_pipes_session(
            context=context, extras=extras, context_injector=injector, message_reader=reader
        ) as session:
            context.log.info(f"[pipes] calling {function_url}; its messages come through {location.uri}")
            body = encode_body(event, session.get_bootstrap_env_vars())
            with self._cancelling_if_interrupted(location, context.log):
                call = self._call(function_url, body, reader, context.log)
            reader.function_ended(call.record.chunks_to_expect)
        context.log.info(f"[pipes] the call {call.record.summary} after {call.duration:.2f} s")
        metadata = _metadata(function_url, location, call, reader.record)
        error = find_error(call.record, reader.record, metadata)
        if error and call.record.may_go_on and not reader.record.closed:
            self._tell_to_stop(location, context.log, "the function may still be running, but nothing waits for it")
        self._clean_up([*injector.object_keys, *reader.object_keys], failed=error is not None, context=context)
        if error:
            keep_results(context, session, metadata)
            raise error
        return PipesCloudFunctionCompletedInvocation(session, response=call.response, metadata=metadata)

    def _injector(self) -> PipesCloudFunctionEventContextInjector:
        return PipesCloudFunctionEventContextInjector(
            bucket=self.bucket,
            key_prefix=self.key_prefix,
            client=self._client(),
            inline_context_limit=self.inline_context_limit,
        )

    def _reader(self) -> PipesCloudStorageMessageReader:
        return PipesCloudStorageMessageReader(
            bucket=self.bucket,
            key_prefix=self.key_prefix,
            client=self._client(),
            poll_interval=self.poll_interval,
            drain_timeout=self.drain_timeout,
        )

    def _client(self) -> "storage.Client":
        if self._storage_client is None:
            self._storage_client = self.get_storage_client()
        return self._storage_client

    def _identity(self) -> Identity:
        # `setdefault` is atomic: steps in several threads share one identity, and so its tokens
        identity = Identity(
            self.get_credentials,
            service_account=self.impersonate_service_account,
            delegates=self.impersonation_delegates,
        )
        return self._identities.setdefault(None, identity)

    def _new_location(self, context: OpExecutionContext | AssetExecutionContext) -> SessionLocation:
        return SessionLocation(self.bucket, f"{self.key_prefix}/{_step_path(context)}/{uuid.uuid4().hex}")

    def _call(self, function_url: str, body: bytes, reader: ReaderSession, log: Logger) -> FunctionCall:
        run_timeout = self.function_timeout + READ_TIMEOUT_MARGIN
        auth = FunctionAuth(self._identity(), audience=self.audience, log=log)

        def call_once() -> FunctionCall:
            with self.get_http_session() as http:
                timeout = (self.connect_timeout, run_timeout)
                return call_function(
                    http, function_url, body, auth=auth, function_timeout=self.function_timeout, timeout=timeout
                )

        return call_until_done(call_once, reader, self._retry_policy(), run_timeout=run_timeout, log=log)

    @contextmanager
    def _cancelling_if_interrupted(self, location: SessionLocation, log: Logger) -> Iterator[None]:
        """Leave the cancel marker if Dagster terminates the run, which raises what is no `Exception`."""
        try:
            yield
        except Exception:
            raise
        except BaseException:
            self._tell_to_stop(location, log, "the run is terminated")
            raise

    def _tell_to_stop(self, location: SessionLocation, log: Logger, reason: str) -> None:
        """Leave the cancel marker."""
        log.warning(f"[pipes] {reason}: telling the function to stop through {location.uri}")
        try:
            ObjectStore(self.bucket, self._client()).create(location.cancel_key, b"{}", timeout=CANCEL_TIMEOUT)
        except PipesStorageError as error:
            log.warning(f"[pipes] the function cannot be told, and may go on until its timeout: {error}")

    def _retry_policy(self) -> RetryPolicy:
        return RetryPolicy(
            retry_on=frozenset(self.retry_on),
            max_attempts=self.max_attempts,
            initial_delay=self.retry_delay,
            max_delay=MAX_RETRY_DELAY,
            timeout=self.retry_timeout,
        )

    def _clean_up(
        self, keys: Sequence[str], *, failed: bool, context: OpExecutionContext | AssetExecutionContext
    ) -> None:
        if self.cleanup == "never" or (failed and self.cleanup == "on_success"):
            return
        try:
            ObjectStore(self.bucket, self._client()).delete(keys, timeout=CLEANUP_TIMEOUT)
        except PipesStorageError as error:
            context.log.warning(
                f"[pipes] the run is done, but its messages stay in the bucket: {error} "
                "Set `cleanup` of the resource to 'never' to leave them to a lifecycle rule."
            )


def _step_path(context: OpExecutionContext | AssetExecutionContext) -> str:
    """The run and the step; a dynamic step's key has brackets, which Cloud Storage's tools take for a pattern."""
    try:
        step = context.get_step_execution_context()
    except DagsterError:
        return "direct_invocation"  # a test's `build_asset_context()` has neither run nor step
    return f"{step.run_id}/{re.sub(r'[^A-Za-z0-9._-]', '_', step.step.key)}"


def _metadata(function_url: str, location: SessionLocation, call: FunctionCall, session: SessionRecord) -> Metadata:
    metadata: dict[str, MetadataValue[Any]] = {
        "function_url": MetadataValue.url(function_url),
        "messages": MetadataValue.int(session.message_count),
        "messages_uri": MetadataValue.path(location.uri),
        "attempts": MetadataValue.int(call.attempts),
        "duration_seconds": MetadataValue.float(round(call.duration, 3)),
    }
    if call.record.status is not None:
        metadata["http_status"] = MetadataValue.int(call.record.status)
    return metadata
