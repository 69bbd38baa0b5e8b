"""Checks of how the function is deployed, and of its logs."""

import math
import re
import uuid
from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Final

from gcf_pipes._shared.protocol import BUCKETS_VARIABLE, KEY_PREFIX_VARIABLE

from dagster_gcf_pipes._doctor.findings import ProblemError, SkippedError
from dagster_gcf_pipes._doctor.setup import Setup
from dagster_gcf_pipes._fixes import update_function_command, update_variable_command
from dagster_gcf_pipes._functions import FunctionName
from dagster_gcf_pipes._functions_api import PLATFORM_DEFAULT_TIMEOUT
from dagster_gcf_pipes._log_query import LogScope, execution_filter, time_filter
from dagster_gcf_pipes._logging_api import LogReadingError, open_log_reader

_TRUE: Final = frozenset({"y", "yes", "t", "true", "on", "1"})
"""What functions-framework takes for true in LOG_EXECUTION_ID."""
_THREADS_PER_CPU: Final = 4
"""The default of functions-framework. Source: https://pypi.org/project/functions-framework."""


def check_function(setup: Setup) -> str:
    """Look the function up: it exists, is active, and is of the second generation."""
    info = setup.target.info
    if info is None:
        raise SkippedError(
            "only a function in the cloud that is given by its name is looked up, with its settings: pass --function "
            "in place of --url"
        )
    return f"{info.name.function} is ACTIVE, at {info.url}, revision {info.revision or 'unknown'}"


def check_timeout(setup: Setup) -> str:
    """Say how long a call may take."""
    info = setup.info
    if info.timeout_seconds != PLATFORM_DEFAULT_TIMEOUT:
        return f"a call may take {info.timeout_seconds} s"
    command = update_function_command(info.name, "--timeout=540")
    return f"a call may take {info.timeout_seconds} s, the platform's default. For longer ones: `{command}`"


def check_concurrency(setup: Setup) -> str:
    """Compare the calls that an instance takes with the calls that it can work on."""
    info = setup.info
    threads = threads_of(info.variables, info.cpu)
    if info.concurrency <= threads:
        return f"an instance takes {_calls(info.concurrency)} at once, and has threads for {threads}"
    command = update_variable_command(info.name, "THREADS", str(info.concurrency))
    raise ProblemError(
        f"An instance takes {_calls(info.concurrency)} at once, but has threads for {threads} only. The others wait in "
        f"it.\nFix: `{command}`"
    )


def _calls(number: int) -> str:
    return "1 call" if number == 1 else f"{number} calls"


def threads_of(variables: Mapping[str, str], cpu: str) -> int:
    """Return how many calls the server of an instance works on at once. It does not start if one is not a number."""
    cpus = math.ceil(float(cpu)) if re.fullmatch(r"\d+(\.\d+)?", cpu) else 1
    threads = variables.get("THREADS", "")
    workers = variables.get("WORKERS", "")
    per_worker = int(threads) if threads.isdecimal() else _THREADS_PER_CPU * cpus
    return per_worker * (int(workers) if workers.isdecimal() else 1)


def check_execution_id(setup: Setup) -> str:
    """Check that the function's own output has the execution's id in the logs."""
    info = setup.info
    value = info.variables.get("LOG_EXECUTION_ID", "")
    if value in _TRUE:
        return f"LOG_EXECUTION_ID is {value}"
    raise ProblemError(
        f"LOG_EXECUTION_ID is {value or 'not set'}, so the function's output in the logs lacks the execution's id.\n"
        f"Fix: `{update_variable_command(info.name, 'LOG_EXECUTION_ID', 'true')}`"
    )


def check_admission(setup: Setup) -> str:
    """Compare the bucket and the key prefix with those that the function accepts."""
    info = setup.info
    bucket, key_prefix = setup.options.bucket, setup.options.key_prefix
    accepted = [name.strip() for name in info.variables.get(BUCKETS_VARIABLE, "").split(",") if name.strip()]
    prefix = info.variables.get(KEY_PREFIX_VARIABLE, "").strip().strip("/")
    if bucket is None:
        raise SkippedError("no bucket is given: pass --bucket, or set PIPES_BUCKET")
    _check_bucket(info.name, bucket, accepted)
    if prefix and not f"{key_prefix}/".startswith(f"{prefix}/"):
        raise ProblemError(
            f"{KEY_PREFIX_VARIABLE} is {prefix}, so the function refuses the key prefix {key_prefix}.\n"
            f"Fix: `{update_variable_command(info.name, KEY_PREFIX_VARIABLE, key_prefix)}`"
        )
    return f"the function accepts the bucket {bucket}, and {f'keys below {prefix}/' if prefix else 'any key prefix'}"


def _check_bucket(name: FunctionName, bucket: str, accepted: list[str]) -> None:
    command = update_variable_command(name, BUCKETS_VARIABLE, ",".join([*accepted, bucket]))
    if not accepted:
        raise ProblemError(
            f"{BUCKETS_VARIABLE} is not set: calls may name any bucket that the function can reach.\nFix: `{command}`"
        )
    if bucket not in accepted:
        raise ProblemError(
            f"{BUCKETS_VARIABLE} is {','.join(accepted)}, so the function refuses the bucket {bucket}.\n"
            f"Fix: `{command}`"
        )


def check_logs(setup: Setup) -> str:
    """Read the function's logs, as the failure of a crashed function does."""
    name = setup.target.name
    if not setup.options.function_is_remote:
        raise SkippedError("the function is on this machine")
    if setup.project is None:
        raise SkippedError("the URL does not contain the project: pass --project")
    now = datetime.now(timezone.utc)
    scope = LogScope(now, now, uuid.uuid4().hex, setup.project, name.service)
    try:
        with open_log_reader(setup.project, setup.identity.credentials, view=setup.options.log_view) as reader:
            reader.read_latest(f"{time_filter(scope)}\n{execution_filter(scope)}")
    except LogReadingError as error:
        if isinstance(error.__cause__, ModuleNotFoundError):
            raise SkippedError(
                "google-cloud-logging is not installed: `pip install 'dagster-gcf-pipes[logging]'`"
            ) from error
        raise
    return f"the logs of the project {setup.project} can be read"
