"""The fields of the resource: their types, validation, units and defaults."""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final

from dagster import ConfigurableResource, EnvVar
from gcf_pipes._shared import protocol
from gcf_pipes._shared.protocol import DEFAULT_KEY_PREFIX
from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    WrapValidator,
    model_validator,
)

from dagster_gcf_pipes._arguments import what_was_meant
from dagster_gcf_pipes._attempts import DEFAULT_RETRY_ON, RetryPolicy
from dagster_gcf_pipes._costs import PipesCloudFunctionPrices
from dagster_gcf_pipes._functions import PROJECT, REGION
from dagster_gcf_pipes._messages.injector import DEFAULT_INLINE_CONTEXT_LIMIT
from dagster_gcf_pipes._messages.log_entries import DEFAULT_EVENT_LOG_LEVEL, DEFAULT_LINES_PER_ENTRY, LEVELS
from dagster_gcf_pipes._messages.reader import DEFAULT_DRAIN_TIMEOUT, DEFAULT_POLL_INTERVAL

DEFAULT_FUNCTION_TIMEOUT: Final = 3600
MAX_RETRY_DELAY: Final = 30.0
"""The longest pause between two attempts, in seconds."""
_ARGUMENTS_OF_RUN: Final = ("function", "function_url", "event", "extras")
_ENV_VAR_TYPES: Final = (EnvVar, type(EnvVar.int("_")))


def _unless_env_var(value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
    """Accept an `EnvVar`: Dagster validates its value when it initializes the resource."""
    return value if isinstance(value, _ENV_VAR_TYPES) else validate(value)


_OR_ENV_VAR: Final = WrapValidator(_unless_env_var)


def _text(pattern: str, expected: str) -> AfterValidator:
    """Return a validator for a string. Its error says what was expected, and what it got."""

    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise ValueError(f"expected {expected}, got {value!r}")
        return value

    return AfterValidator(check)


BUCKET_MESSAGES: Final = "bucket"
RESPONSE_MESSAGES: Final = "response"
LOGGING_MESSAGES: Final = "logging"
CHANNEL_CAPABILITIES: Final[Mapping[str, tuple[str, ...]]] = {
    BUCKET_MESSAGES: (),
    RESPONSE_MESSAGES: (protocol.RESPONSE_MESSAGES,),
    LOGGING_MESSAGES: (protocol.LOGGING_MESSAGES,),
}
"""The capabilities that a function needs, by the values of `messages`."""


def _check_bucket(value: Any, info: ValidationInfo) -> Any:
    """Refuse a bucket that is missing, and a bucket without a use.

    Dagster passes None for a field that is missing, and a variable may have an empty text.
    """
    is_missing, messages = value in (None, ""), info.data.get("messages", BUCKET_MESSAGES)
    if messages != BUCKET_MESSAGES:
        if is_missing or isinstance(messages, _ENV_VAR_TYPES):  # Dagster validates again when it knows the variable
            return value or ""
        raise ValueError(f"expected no bucket with `messages={messages!r}`, which does not use it, got {value!r}")
    if is_missing:
        raise ValueError(
            "expected the name of a bucket, got none. The function writes its messages to this bucket, and Dagster "
            "reads them there.\nFix: Write `PipesCloudFunctionClient(bucket=EnvVar('PIPES_BUCKET'))`, and set "
            "PIPES_BUCKET to the name of a bucket. `dagster-gcf-pipes dev` sets it to a bucket on this machine."
        )
    return value


_LABEL = r"[a-z0-9](?:[a-z0-9_-]{0,61}[a-z0-9])?"

_BUCKET: Final = rf"(?=.{{3,222}}$){_LABEL}(?:\.{_LABEL})*"
_A_BUCKET: Final = "the name of a bucket, without `gs://` and without a path"

BucketName = Annotated[str, _text(_BUCKET, _A_BUCKET), _OR_ENV_VAR]
"""Source: https://cloud.google.com/storage/docs/buckets#naming (3 to 63 characters, with dots up to 222)."""

MessagesBucket = Annotated[str, _text(f"|{_BUCKET}", _A_BUCKET), BeforeValidator(_check_bucket), _OR_ENV_VAR]
"""Empty if the messages do not go through a bucket."""

_NAME = r"(?!\.{1,2}(?:/|$))[A-Za-z0-9._=-]+"

KeyPrefix = Annotated[
    str,
    _text(
        rf"(?=.{{1,500}}$){_NAME}(?:/{_NAME})*",
        "names of letters, digits, dots, hyphens, underscores and equals signs, joined by single slashes, without `.` "
        "and `..`, at most 500 characters in all",
    ),
    _OR_ENV_VAR,
]

ServiceAccount = Annotated[
    str,
    _text(r"[^@\s/:]+@[^@\s/:]+", "the email of a service account, such as NAME@PROJECT.iam.gserviceaccount.com"),
    _OR_ENV_VAR,
]

Audience = Annotated[str, _text(r"\S+", "the audience of an ID token, such as https://..."), _OR_ENV_VAR]
"""Any text can be a custom audience. Source: https://cloud.google.com/run/docs/configuring/custom-audiences."""

ProjectId = Annotated[str, _text(PROJECT, "the ID of a project, such as 'my-project-1234'"), _OR_ENV_VAR]

Region = Annotated[str, _text(REGION, "a region, such as 'europe-west1', without a zone"), _OR_ENV_VAR]

LogView = Annotated[
    str,
    _text(
        r"(?:projects|folders|organizations|billingAccounts)/[^/]+/locations/[^/]+/buckets/[^/]+/views/[^/]+",
        "the full name of a log view, projects/P/locations/L/buckets/B/views/V, or with folders, organizations or "
        "billingAccounts instead of projects",
    ),
    _OR_ENV_VAR,
]
"""Source: https://cloud.google.com/logging/docs/reference/v2/rest/v2/entries/list (`resourceNames[]`)."""

Messages = Annotated[str, _text("|".join(CHANNEL_CAPABILITIES), "'bucket', 'response' or 'logging'"), _OR_ENV_VAR]

CleanupPolicy = Annotated[str, _text("always|on_success|never", "'always', 'on_success' or 'never'"), _OR_ENV_VAR]
"""A string, not an enum: Dagster's config accepts an enum only by its name, and not from an environment variable."""

Seconds = Annotated[int, Field(gt=0, le=3600), _OR_ENV_VAR]
"""Whole seconds: Dagster's config reads integers from environment variables, but not floats. The platform's maximum
timeout is 60 minutes. Source: https://cloud.google.com/functions/docs/configuring/timeout.
"""

FloatSeconds = Annotated[float, Field(gt=0, le=3600)]

Attempts = Annotated[int, Field(ge=1, le=100), _OR_ENV_VAR]

Lines = Annotated[int, Field(ge=1), _OR_ENV_VAR]

LogLevel = Annotated[
    str,
    _text(f"(?i:{'|'.join(LEVELS)})", f"one of {', '.join(map(repr, map(str.lower, LEVELS)))}"),
    _OR_ENV_VAR,
]

Flag = Annotated[bool, _OR_ENV_VAR]
"""Dagster reads 'false', 'none', '0' and '' from an environment variable as false, and any other text as true."""

Bytes = Annotated[int, Field(ge=0), _OR_ENV_VAR]

RetriedOutcome = Annotated[
    str, _text(r"[45][0-9]{2}|[45]xx|no_response", "an HTTP status such as '429', '4xx', '5xx' or 'no_response'")
]


class PipesCloudFunctionSettings(ConfigurableResource[Any]):
    """The settings of `PipesCloudFunctionClient`."""

    messages: Messages = Field(
        default=BUCKET_MESSAGES,
        description=(
            "How the function's messages reach Dagster: through a 'bucket' (the default), in the 'response', which "
            "needs no bucket and is for functions of seconds, or through Cloud 'logging', which needs none either."
        ),
    )
    bucket: MessagesBucket = Field(
        default="",
        validate_default=True,
        description=(
            "Name of the Cloud Storage bucket that carries the function's messages to Dagster. Required if `messages` "
            "is 'bucket'."
        ),
    )
    key_prefix: KeyPrefix = Field(
        default=DEFAULT_KEY_PREFIX,
        description=(
            "Prefix of all sessions in the bucket. Each call gets its own prefix below it: "
            "`{key_prefix}/{run_id}/{step_key}/{session_id}`."
        ),
    )
    project: ProjectId | None = Field(
        default=None,
        description=(
            "Google Cloud project of functions that you call by a plain name. Default: none, so that you have to pass "
            "a full resource name or a URL."
        ),
    )
    region: Region | None = Field(
        default=None, description="Region of functions that you call by a plain name. Default: none."
    )
    impersonate_service_account: ServiceAccount | None = Field(
        default=None,
        description=(
            "Email of the service account to impersonate for calls and bucket access. The default identity needs "
            "`roles/iam.serviceAccountTokenCreator` on it. Default: none."
        ),
    )
    impersonation_delegates: list[ServiceAccount] = Field(
        default=[],
        description=(
            "Emails of the service accounts between the default identity and the impersonated one, in order. Each "
            "needs the role on the next. Default: none."
        ),
    )
    audience: Audience | None = Field(
        default=None,
        description=(
            "Audience of the ID tokens. Default: the function's URL without query and path. For a URL of "
            "cloudfunctions.net, the function's name stays in it."
        ),
    )
    function_timeout: Seconds = Field(
        default=DEFAULT_FUNCTION_TIMEOUT,
        description=(
            "Timeout of a function that you call by its URL, in seconds: how long to wait for its response. If you "
            "call a function by its name, its own timeout is looked up. Default 3600, the platform's maximum."
        ),
    )
    forward_logs: Flag = Field(
        default=False,
        description=(
            "Whether to show the function's output in the step's stdout and stderr: `print`, stdlib logging, warnings "
            "and tracebacks. Cloud Logging gets it in any case. Default false. Dagster reads an EnvVar with the value "
            "'false', 'none', '0' or '' as false, and any other as true."
        ),
    )
    log_lines_per_entry: Lines = Field(
        default=DEFAULT_LINES_PER_ENTRY,
        description=(
            "How many lines of `pipes.log` become one entry of the event log at most, while Dagster is behind the "
            "function. With 1, each line is an entry by itself. Default 200."
        ),
    )
    event_log_level: LogLevel = Field(
        default=DEFAULT_EVENT_LOG_LEVEL,
        description=(
            "Lowest level of the lines of `pipes.log` that get into the event log: 'debug', 'info', 'warning', 'error' "
            "or 'critical'. The step's stdout gets the others. Default 'debug', which is all."
        ),
    )
    log_view: LogView | None = Field(
        default=None,
        description=(
            "Full name of the log view used to read the last log entries after a crash. Default: none, which reads the "
            "logs of the function's project."
        ),
    )
    connect_timeout: Seconds = Field(
        default=10, description="How long to wait for a connection to the function, in seconds. Default 10."
    )
    poll_interval: FloatSeconds = Field(
        default=DEFAULT_POLL_INTERVAL,
        description=(
            "Longest pause between two polls for messages, in seconds. Soon after a message, the pauses are shorter. "
            "Default 1.5."
        ),
    )
    drain_timeout: Seconds = Field(
        default=DEFAULT_DRAIN_TIMEOUT,
        description=(
            "How long to wait for more messages after the response of a function that does not use gcf_pipes, in "
            "seconds. Such a response does not say how many messages there are. Default 10."
        ),
    )
    retry_on: list[RetriedOutcome] = Field(
        default=[*DEFAULT_RETRY_ON],
        description=(
            "When to retry a call that has not started the function: HTTP statuses of the platform ('429'), classes "
            "of statuses ('5xx'), and 'no_response' (no connection, a reset, a timeout). A call is never retried after "
            "the function's own response. Default ['429', '5xx', 'no_response']."
        ),
    )
    max_attempts: Attempts = Field(
        default=4,
        description=(
            "Maximum number of attempts of a call, while none has started the function. 1 means no retry. Default 4."
        ),
    )
    retry_delay: FloatSeconds = Field(
        default=2.0,
        description=(
            "Longest pause before the second attempt, in seconds. It doubles before each further attempt, up to 30 s. "
            "The actual pause is random, and at least half as long. Default 2."
        ),
    )
    retry_timeout: Seconds = Field(
        default=120,
        description="A retry starts at most this long after the first attempt, in seconds. Default 120.",
    )
    inline_context_limit: Bytes = Field(
        default=DEFAULT_INLINE_CONTEXT_LIMIT,
        description=(
            "Largest Pipes context that is sent in the request, in encoded bytes. A larger one goes through the "
            "bucket. Default 2 MiB."
        ),
    )
    cleanup: CleanupPolicy = Field(
        default="on_success",
        description=(
            "When to delete a session's objects from the bucket: 'always', 'on_success' (the default) or 'never'. "
            "Those of a successful call are deleted when its step has succeeded, unless Dagster may still start it "
            "again. The run does not wait for it. The first chunk always stays, so that a late delivery of the call "
            "runs nothing. All objects stay while the function may still run. Add a lifecycle rule to the bucket: it "
            "deletes the others."
        ),
    )

    reattach: Flag = Field(
        default=True,
        description=(
            "Whether a step that starts again adopts the functions that its earlier attempt has called, in place of "
            "calling them again. Default true."
        ),
    )

    prices: PipesCloudFunctionPrices | None = Field(
        default=None,
        description=(
            "Prices for the estimated cost of a call: `vcpu_second`, `gib_second` and `million_requests`. Default: "
            "none, which means Google's list prices in the function's region with request-based billing."
        ),
    )

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_fields(cls, values: Any) -> Any:
        """Refuse unknown fields. Pydantic ignores them, so a misspelt field would keep its default."""
        if not isinstance(values, dict):
            return values  # the client is a field of another resource
        known = [field.alias or name for name, field in cls.model_fields.items()]
        if unknown := next((name for name in values if name not in known), None):
            raise ValueError(f"there is no field {unknown!r}: {_what_was_meant(unknown, known)}")
        return values

    @model_validator(mode="after")
    def _check_delegates(self) -> "PipesCloudFunctionSettings":
        if self.impersonation_delegates and not self.impersonate_service_account:
            raise ValueError("expected `impersonate_service_account` with `impersonation_delegates`, got none")
        return self

    @property
    def retry_policy(self) -> RetryPolicy:
        """When to retry a call."""
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
    meant = what_was_meant(name, known)
    return f"did you mean {meant!r}?" if meant else f"expected some of {known}"
