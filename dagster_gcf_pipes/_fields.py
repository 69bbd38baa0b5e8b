"""Types of the resource's fields, with their validation."""

from typing import Annotated, Any

from dagster import EnvVar
from pydantic import Field, ValidatorFunctionWrapHandler, WrapValidator

_ENV_VAR_TYPES = (EnvVar, type(EnvVar.int("_")))


def _unless_env_var(value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
    """Let an `EnvVar` pass: Dagster validates again with its value when it initializes the resource."""
    return value if isinstance(value, _ENV_VAR_TYPES) else validate(value)


BucketName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]$"), WrapValidator(_unless_env_var)]
"""Source: https://cloud.google.com/storage/docs/buckets#naming (3 to 63 characters, up to 222 with dots)."""

KeyPrefix = Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]+(/[A-Za-z0-9._-]+)*$"), WrapValidator(_unless_env_var)]

Seconds = Annotated[float, Field(gt=0), WrapValidator(_unless_env_var)]

Bytes = Annotated[int, Field(ge=0), WrapValidator(_unless_env_var)]
