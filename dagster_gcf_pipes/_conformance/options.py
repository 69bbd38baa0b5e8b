"""What the user named, as what calls the function."""

import uuid
from dataclasses import dataclass
from typing import Final

from gcf_pipes._shared.protocol import DEFAULT_KEY_PREFIX
from gcf_pipes._shared.storage import create_client, uses_emulator

from dagster_gcf_pipes._conformance.calls import Caller
from dagster_gcf_pipes._doctor.setup import Options as SetupOptions
from dagster_gcf_pipes._doctor.setup import Setup

DEFAULT_TIMEOUT: Final = 30.0
DEFAULT_STOP_WITHIN: Final = 20.0
"""Twice the ten seconds between two polls for the cancel marker."""


@dataclass(frozen=True)
class Options:
    """What to check, and how long to wait.

    Attributes:
        url: The function's URL.
        bucket: The bucket for the messages. With an emulator, None creates one.
        key_prefix: The base prefix of all sessions.
        audience: The audience of the ID token. Default: the function's URL.
        impersonate_service_account: Calls the function, and uses the bucket.
        timeout: Seconds that a call may take, in addition to the sleep that it asks for.
        stop_within: Seconds in which the function must stop after a cancel marker.
    """

    url: str
    bucket: str | None = None
    key_prefix: str = DEFAULT_KEY_PREFIX
    audience: str | None = None
    impersonate_service_account: str | None = None
    timeout: float = DEFAULT_TIMEOUT
    stop_within: float = DEFAULT_STOP_WITHIN


def caller_of(options: Options) -> Caller:
    """Return what calls the function.

    Raises:
        ValueError: An option is not valid, or the bucket is missing.
        GcfPipesError: The bucket cannot be used.
    """
    if options.bucket is None and not uses_emulator():
        raise ValueError("expected --bucket, because STORAGE_EMULATOR_HOST names no emulator.\nFix: Add --bucket NAME.")
    setup = Setup(
        SetupOptions(
            url=options.url,
            bucket=options.bucket or _new_bucket(),
            key_prefix=options.key_prefix,
            audience=options.audience,
            impersonate_service_account=options.impersonate_service_account,
        )
    )
    base = f"{options.key_prefix}/conformance-{uuid.uuid4().hex}"
    return Caller(options.url, setup.audience, setup.identity, setup.store, base, options.timeout, options.stop_within)


def _new_bucket() -> str:
    name = f"conformance-{uuid.uuid4().hex}"
    create_client().create_bucket(name)
    return name
