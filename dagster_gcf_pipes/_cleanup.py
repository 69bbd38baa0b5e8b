"""Deletes the messages of calls, as soon as nobody can need them.

A step may fail after its call has succeeded, or its process may die. Its next attempt then reads the messages again. So
they stay until the step has succeeded. Then Dagster tears the client down.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from logging import Logger
from multiprocessing import parent_process
from multiprocessing.util import Finalize
from typing import Final

from dagster import DagsterInstance
from gcf_pipes import PipesStorageError
from gcf_pipes._shared.storage import ObjectStore

from dagster_gcf_pipes._launches import deletable_sessions

CLEANUP_DEADLINE: Final = 30.0
"""Seconds to delete the objects of a session."""


@dataclass(frozen=True)
class Leftover:
    """The messages of a call that has succeeded.

    Attributes:
        instance: The Dagster instance.
        run_id: The run.
        step_key: The step.
        attempt: The attempt of the step.
        session: The URI of the session.
        keys: The names of the objects to delete.
        has_own_process: Whether the executor may give each step a process of its own.
    """

    instance: DagsterInstance
    run_id: str
    step_key: str
    attempt: str
    session: str
    keys: Sequence[str]
    has_own_process: bool


def after_step(action: Callable[[], None], *, has_own_process: bool) -> None:
    """Do something as soon as nothing can make a step that has succeeded fail any more.

    If the process of a step dies before the multiprocess executor has its last message, the step has failed, whatever
    it has logged. So such a process waits for its end, when that message is sent.
    Source: cpython's Lib/multiprocessing/queues.py (`exitpriority=-5` for what sends the messages).

    Args:
        action: What to do.
        has_own_process: Whether the step may have a process of its own.
    """
    if has_own_process and parent_process():
        Finalize(None, action, exitpriority=-10)
    else:
        action()


def deletable_keys(leftovers: Sequence[Leftover]) -> Sequence[str]:
    """Return the names of the objects of the steps that have succeeded."""
    keys: list[str] = []
    by_step: dict[tuple[str, str], list[Leftover]] = defaultdict(list)
    for leftover in leftovers:
        by_step[leftover.run_id, leftover.step_key].append(leftover)
    for (run_id, step_key), of_step in by_step.items():
        attempts = {leftover.session: leftover.attempt for leftover in of_step}
        deletable = deletable_sessions(of_step[0].instance, run_id, step_key, attempts)
        keys += (key for leftover in of_step if leftover.session in deletable for key in leftover.keys)
    return keys


def delete_messages(store: ObjectStore, keys: Sequence[str], log: Logger) -> None:
    """Delete messages. If that fails, the log says so."""
    try:
        store.delete(keys, timeout=CLEANUP_DEADLINE)
    except PipesStorageError as error:
        log.warning(
            "[pipes] the call is done, but its messages stay in the bucket. To leave them to a lifecycle rule, set "
            f"`cleanup` of the resource to 'never'. {error}"
        )
