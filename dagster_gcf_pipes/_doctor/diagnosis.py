"""Which checks are made, and in which order: a check comes after those that it needs."""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Final

from dagster_gcf_pipes._doctor.access_checks import check_access, check_version
from dagster_gcf_pipes._doctor.bucket_checks import check_create, check_delete, check_lifecycle, check_list, check_read
from dagster_gcf_pipes._doctor.findings import Finding, find
from dagster_gcf_pipes._doctor.function_checks import (
    check_admission,
    check_concurrency,
    check_execution_id,
    check_function,
    check_logs,
    check_timeout,
)
from dagster_gcf_pipes._doctor.identity_checks import check_clock, check_id_token, check_identity
from dagster_gcf_pipes._doctor.setup import Options, Setup

Check = Callable[[Setup], str]

_OF_MACHINE: Final[Mapping[str, Check]] = {"clock": check_clock, "identity": check_identity}
_OF_FUNCTION: Final[Mapping[str, Check]] = {
    "function": check_function,
    "id_token": check_id_token,
    "access": check_access,
    "version": check_version,
}
_OF_SETTINGS: Final[Mapping[str, Check]] = {
    "timeout": check_timeout,
    "concurrency": check_concurrency,
    "execution_id": check_execution_id,
    "admission": check_admission,
}
_OF_BUCKET: Final[Mapping[str, Check]] = {
    "bucket": check_list,
    "read": check_read,
    "create": check_create,
    "delete": check_delete,
    "lifecycle": check_lifecycle,
}


def diagnose(options: Options) -> Iterator[Finding]:
    """Make the checks that apply, and yield what each finds."""
    setup = Setup(options)
    for name, check in _checks(options).items():
        finding = find(name, partial(check, setup))
        setup.findings[name] = finding
        yield finding


def _checks(options: Options) -> dict[str, Check]:
    return {
        **_OF_MACHINE,
        **(_OF_FUNCTION if options.calls_function else {}),
        **(_OF_SETTINGS if options.function else {}),
        **(_OF_BUCKET if options.bucket else {"bucket": check_list}),
        **({"logs": check_logs} if options.calls_function else {}),
    }
