"""Checks that Dagster's identity can do in the bucket what a run needs, without writing to it.

The function's own service account needs less, and needs it in the same bucket. This cannot be checked from here.
"""

import json
import os
import shlex
import uuid
from collections.abc import Mapping
from typing import Any, Final

from gcf_pipes import PipesStorageError, PipesStorageForbiddenError
from gcf_pipes._shared.counting import counted
from gcf_pipes._shared.storage import ObjectStore, uses_emulator

from dagster_gcf_pipes._doctor.findings import ProblemError, SkippedError
from dagster_gcf_pipes._doctor.setup import Setup
from dagster_gcf_pipes._functions import redacted

_TIMEOUT: Final = 10.0
"""Seconds of one operation, with its retries."""
_MESSAGE_AGE: Final = 7
"""Days for which the suggested rule keeps messages, as the Terraform module does."""
_NARROWING: Final = ("matchesSuffix", "matchesStorageClass", "createdBefore", "numNewerVersions", "customTimeBefore")
"""Conditions with which a rule does not delete every object that is old enough."""


def check_list(setup: Setup) -> str:
    """List the objects of a session that does not exist."""
    store = setup.store
    emulator = redacted(os.environ.get("STORAGE_EMULATOR_HOST", ""))
    if emulator and setup.options.function_is_remote:
        raise ProblemError(
            f"STORAGE_EMULATOR_HOST is {emulator}, an emulator that a function in the cloud cannot reach.\n"
            "Fix: `unset STORAGE_EMULATOR_HOST`"
        )
    try:
        store.list_keys(_new_key(setup), timeout=_TIMEOUT)
    except PipesStorageError as error:
        setup.bucket_found = isinstance(error, PipesStorageForbiddenError)
        if emulator and error.transient:
            raise ProblemError(
                f"STORAGE_EMULATOR_HOST is {emulator}, which does not respond.\n"
                "Fix: Start the emulator, or `unset STORAGE_EMULATOR_HOST`"
            ) from error
        raise
    setup.bucket_found = True
    return f"gs://{store.bucket}/{setup.options.key_prefix}/ {'of the emulator ' if emulator else ''}can be listed"


def check_read(setup: Setup) -> str:
    """Read an object that does not exist."""
    _found(setup).read(_new_key(setup), max_bytes=0, timeout=_TIMEOUT)
    return "objects can be read"


def check_create(setup: Setup) -> str:
    """Create an object on a condition that does not hold."""
    _of_google(setup).check_create(_new_key(setup), timeout=_TIMEOUT)
    return "objects can be created (none was)"


def check_delete(setup: Setup) -> str:
    """Delete an object that does not exist."""
    _of_google(setup).delete([_new_key(setup)], timeout=_TIMEOUT)
    return "objects can be deleted (none was)"


def check_lifecycle(setup: Setup) -> str:
    """Find the rule that deletes old messages."""
    store = _of_google(setup)
    try:
        rules = store.lifecycle_rules(timeout=_TIMEOUT)
    except PipesStorageForbiddenError as error:
        raise SkippedError(f"this identity lacks `storage.buckets.get` on the bucket {store.bucket}") from error
    ages = [rule["condition"]["age"] for rule in rules if deletes_all_below(rule, setup.options.key_prefix)]
    if ages:
        return f"objects are deleted when they are {counted(min(ages), 'day')} old"
    raise ProblemError(
        f"The bucket has no lifecycle rule that deletes old objects below {setup.options.key_prefix}/. The first "
        f"object of each call stays forever.\nFix: {_add_rule(store.bucket, setup.options.key_prefix, rules)}"
    )


def _new_key(setup: Setup) -> str:
    return f"{setup.options.key_prefix}/doctor-{uuid.uuid4().hex}"


def _found(setup: Setup) -> ObjectStore:
    store = setup.store
    if not setup.bucket_found:
        raise SkippedError("it needs `bucket`, which has a problem")
    return store


def _of_google(setup: Setup) -> ObjectStore:
    store = _found(setup)
    if uses_emulator():
        raise SkippedError("an emulator has no permissions and deletes nothing by itself")
    return store


def deletes_all_below(rule: Mapping[str, Any], key_prefix: str) -> bool:
    """Whether a lifecycle rule deletes every object below a prefix, some time after it was created."""
    condition = rule.get("condition", {})
    prefixes = condition.get("matchesPrefix", [""])
    return (
        rule["action"]["type"] == "Delete"
        and condition.get("age", 0) > 0
        and condition.get("isLive") is not False
        and not any(name in condition for name in _NARROWING)
        and any(f"{key_prefix}/".startswith(prefix) for prefix in prefixes)
    )


def _add_rule(bucket: str, key_prefix: str, rules: list[dict[str, Any]]) -> str:
    condition = {"age": _MESSAGE_AGE, "matchesPrefix": [f"{key_prefix}/"]}
    rule = json.dumps({"rule": [{"action": {"type": "Delete"}, "condition": condition}]})
    command = (
        f"`echo {shlex.quote(rule)} > lifecycle.json && gcloud storage buckets update gs://{bucket} "
        "--lifecycle-file=lifecycle.json`"
    )
    keep = f" The file replaces the bucket's rules: add its {counted(len(rules), 'present rule')}." if rules else ""
    return f"{command}.{keep}"
