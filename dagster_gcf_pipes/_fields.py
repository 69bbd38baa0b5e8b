"""The types of the resource's fields, with their validation."""

import re
from typing import Annotated, Any

from dagster import EnvVar
from pydantic import AfterValidator, Field, ValidatorFunctionWrapHandler, WrapValidator

from dagster_gcf_pipes._functions import PROJECT, REGION

_ENV_VAR_TYPES = (EnvVar, type(EnvVar.int("_")))


def _unless_env_var(value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
    """Accept an `EnvVar`: Dagster validates its value when it initializes the resource."""
    return value if isinstance(value, _ENV_VAR_TYPES) else validate(value)


def _text(pattern: str, expected: str) -> AfterValidator:
    """Return a validator for a string. Its error says what was expected, and what it got."""

    def check(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise ValueError(f"expected {expected}, got {value!r}")
        return value

    return AfterValidator(check)


_LABEL = r"[a-z0-9](?:[a-z0-9_-]{0,61}[a-z0-9])?"

BucketName = Annotated[
    str,
    _text(rf"(?=.{{3,222}}$){_LABEL}(?:\.{_LABEL})*", "the name of a bucket, without `gs://` and without a path"),
    WrapValidator(_unless_env_var),
]
"""Source: https://cloud.google.com/storage/docs/buckets#naming (3 to 63 characters, with dots up to 222)."""

_NAME = r"(?!\.{1,2}(?:/|$))[A-Za-z0-9._=-]+"

KeyPrefix = Annotated[
    str,
    _text(
        rf"(?=.{{1,500}}$){_NAME}(?:/{_NAME})*",
        "names of letters, digits, dots, hyphens, underscores and equals signs, joined by single slashes, without `.` "
        "and `..`, at most 500 characters in all",
    ),
    WrapValidator(_unless_env_var),
]

ServiceAccount = Annotated[
    str,
    _text(r"[^@\s/:]+@[^@\s/:]+", "the email of a service account, such as NAME@PROJECT.iam.gserviceaccount.com"),
    WrapValidator(_unless_env_var),
]

Audience = Annotated[
    str, _text(r"\S+", "the audience of an ID token, such as https://..."), WrapValidator(_unless_env_var)
]
"""Any text can be a custom audience. Source: https://cloud.google.com/run/docs/configuring/custom-audiences."""

ProjectId = Annotated[
    str, _text(PROJECT, "the ID of a project, such as 'my-project-1234'"), WrapValidator(_unless_env_var)
]

Region = Annotated[
    str, _text(REGION, "a region, such as 'europe-west1', without a zone"), WrapValidator(_unless_env_var)
]

LogView = Annotated[
    str,
    _text(
        r"(?:projects|folders|organizations|billingAccounts)/[^/]+/locations/[^/]+/buckets/[^/]+/views/[^/]+",
        "the full name of a log view, projects/P/locations/L/buckets/B/views/V, or with folders, organizations or "
        "billingAccounts in the place of projects",
    ),
    WrapValidator(_unless_env_var),
]
"""Source: https://cloud.google.com/logging/docs/reference/v2/rest/v2/entries/list (`resourceNames[]`)."""

CleanupPolicy = Annotated[
    str, _text("always|on_success|never", "'always', 'on_success' or 'never'"), WrapValidator(_unless_env_var)
]
"""A string, not an enum: Dagster's config accepts an enum only by its name, and not from an environment variable."""

Seconds = Annotated[int, Field(gt=0, le=3600), WrapValidator(_unless_env_var)]
"""Whole seconds: Dagster's config reads integers from environment variables, but not floats. The platform's maximum
timeout is 60 minutes. Source: https://cloud.google.com/functions/docs/configuring/timeout.
"""

FloatSeconds = Annotated[float, Field(gt=0, le=3600)]

Attempts = Annotated[int, Field(ge=1, le=100), WrapValidator(_unless_env_var)]

Flag = Annotated[bool, WrapValidator(_unless_env_var)]
"""Dagster reads 'false', 'none', '0' and '' from an environment variable as false, and any other text as true."""

Bytes = Annotated[int, Field(ge=0), WrapValidator(_unless_env_var)]

RetriedOutcome = Annotated[
    str, _text(r"[45][0-9]{2}|[45]xx|no_response", "an HTTP status such as '429', '4xx', '5xx' or 'no_response'")
]
