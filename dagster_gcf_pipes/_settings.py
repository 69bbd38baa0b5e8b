"""The settings of the resource, each with its type, unit, default and validation."""

from difflib import get_close_matches
from typing import Any, Final

from dagster import ConfigurableResource
from gcf_pipes._protocol import DEFAULT_KEY_PREFIX
from pydantic import Field, model_validator

from dagster_gcf_pipes._attempts import DEFAULT_RETRY_ON, RetryPolicy
from dagster_gcf_pipes._context_injector import DEFAULT_INLINE_CONTEXT_LIMIT
from dagster_gcf_pipes._fields import (
    Attempts,
    Audience,
    BucketName,
    Bytes,
    CleanupPolicy,
    Flag,
    FloatSeconds,
    KeyPrefix,
    LogView,
    ProjectId,
    Region,
    RetriedOutcome,
    Seconds,
    ServiceAccount,
)
from dagster_gcf_pipes._message_reader import DEFAULT_DRAIN_TIMEOUT, DEFAULT_POLL_INTERVAL

DEFAULT_FUNCTION_TIMEOUT: Final = 3600
MAX_RETRY_DELAY: Final = 30.0
"""The longest pause between two attempts of a call, in seconds."""
_ARGUMENTS_OF_RUN: Final = ("function", "function_url", "event", "extras")


class PipesCloudFunctionSettings(ConfigurableResource[Any]):
    """The settings of `PipesCloudFunctionClient`."""

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
    project: ProjectId | None = Field(
        default=None,
        description=(
            "The Google Cloud project of functions that are given by a plain name. Default: none, so that "
            "functions are given by their full resource names or their URLs."
        ),
    )
    region: Region | None = Field(
        default=None, description="The region of functions that are given by a plain name. Default: none."
    )
    impersonate_service_account: ServiceAccount | None = Field(
        default=None,
        description=(
            "Service account to impersonate for calls and bucket access: its email. The default identity needs "
            "`roles/iam.serviceAccountTokenCreator` on it. Default: none."
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
    function_timeout: Seconds = Field(
        default=DEFAULT_FUNCTION_TIMEOUT,
        description=(
            "The timeout of a function that is given by its URL, in seconds: how long to wait for its response. One "
            "that is given by its name has its own, which is looked up. Default 3600, the longest that there is."
        ),
    )
    forward_logs: Flag = Field(
        default=False,
        description=(
            "Whether what the function prints is shown too, in the step's stdout and stderr: `print`, stdlib logging, "
            "warnings and tracebacks. It goes to Cloud Logging all the same. Default no. Of an EnvVar, Dagster takes "
            "'false', 'none', '0' and an empty text for no, and any other for yes."
        ),
    )
    log_view: LogView | None = Field(
        default=None,
        description=(
            "Log view used to read the last log entries after a crash: its full name. Default: none, the logs of the "
            "function's project."
        ),
    )
    connect_timeout: Seconds = Field(
        default=10, description="How long to wait for a connection to the function, in seconds. Default 10."
    )
    poll_interval: FloatSeconds = Field(
        default=DEFAULT_POLL_INTERVAL,
        description=(
            "The longest pause between two polls for a message, in seconds; "
            "polls are closer together soon after a message. Default 1.5."
        ),
    )
    drain_timeout: Seconds = Field(
        default=DEFAULT_DRAIN_TIMEOUT,
        description=(
            "How long to look for further messages, in seconds, after a function has answered without saying how many "
            "there are: one that does not use gcf_pipes. What is there by then is read. Default 10."
        ),
    )
    retry_on: list[RetriedOutcome] = Field(
        default=[*DEFAULT_RETRY_ON],
        description=(
            "When to retry a call that has not started the function: HTTP statuses of the platform ('429'), classes "
            "of them ('5xx'), and 'no_response' (no connection, a reset, a timeout). A response of the function itself "
            "is never retried. Default ['429', '5xx', 'no_response']."
        ),
    )
    max_attempts: Attempts = Field(
        default=4,
        description=(
            "How often to attempt a call in all, when none of the attempts has started the function. "
            "1 means no retry. Default 4."
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
        description="How long after the start of the first attempt a retry may start, in seconds. Default 120.",
    )
    inline_context_limit: Bytes = Field(
        default=DEFAULT_INLINE_CONTEXT_LIMIT,
        description=(
            "The largest Pipes context that travels in the request, in bytes as encoded for it; "
            "a larger one goes through the bucket. Default 2 MiB."
        ),
    )
    cleanup: CleanupPolicy = Field(
        default="on_success",
        description=(
            "When to delete a session's objects from the bucket: 'always', 'on_success' (the default) or 'never'. "
            "The first chunk always stays, so that a late delivery of the call runs nothing, and so does all of a "
            "session whose function may still run. Add a lifecycle rule to the bucket."
        ),
    )

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_fields(cls, values: Any) -> Any:
        """Refuse what pydantic would pass over without a word: a misspelt field would leave another at its default."""
        if not isinstance(values, dict):
            return values  # a client that is a field of another resource
        known = [field.alias or name for name, field in cls.model_fields.items()]
        if unknown := next((name for name in values if name not in known), None):
            raise ValueError(f"there is no field {unknown!r}: {_what_was_meant(unknown, known)}")
        return values

    @model_validator(mode="after")
    def _check_delegates(self) -> "PipesCloudFunctionSettings":
        if self.impersonation_delegates and not self.impersonate_service_account:
            raise ValueError("expected `impersonate_service_account` beside `impersonation_delegates`, got none")
        return self

    @property
    def retry_policy(self) -> RetryPolicy:
        """When a call is attempted again."""
        return RetryPolicy(
            retry_on=frozenset(self.retry_on),
            max_attempts=self.max_attempts,
            initial_delay=self.retry_delay,
            max_delay=MAX_RETRY_DELAY,
            timeout=self.retry_timeout,
        )


def _what_was_meant(name: str, known: list[str]) -> str:
    if name in _ARGUMENTS_OF_RUN:
        return "it is an argument of `run`, so that one resource serves all functions"
    close = get_close_matches(name, known, n=1)
    return f"did you mean {close[0]!r}?" if close else f"expected some of {known}"
