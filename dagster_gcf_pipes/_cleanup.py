"""Deletes the messages of calls, as soon as nobody can need them.

A step may fail after its call has succeeded, or its process may die. Its next attempt then reads the messages again. So
they stay until the step has succeeded. Then Dagster tears the client down.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from logging import Logger, getLogger
from multiprocessing import parent_process
from multiprocessing.util import Finalize
from threading import Thread
from typing import Any, Final

from dagster import DagsterInstance, StepExecutionContext, in_process_executor
from dagster._core.definitions.executor_definition import execute_in_process_executor
from gcf_pipes import PipesStorageError
from gcf_pipes._shared.storage import ObjectStore

from dagster_gcf_pipes._launches import deletable_sessions

CLEANUP_DEADLINE: Final = 30.0
"""Seconds to delete the objects of a run."""
THREAD_NAME: Final = "pipes cleanup"
_IN_PROCESS: Final = frozenset({in_process_executor.name, execute_in_process_executor.name})
"""The executors that run each step in the process of the run."""


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


def leftovers_of(step: StepExecutionContext, attempt: str, session: str, keys: Sequence[str]) -> Sequence[Leftover]:
    """Return what to delete when a step has succeeded.

    Args:
        step: The step.
        attempt: The attempt of the step that has recorded the session.
        session: The URI of the session, or of the prefix that many sessions share.
        keys: The names of the objects.
    """
    if f"/{step.run_id}/" not in session:
        return ()  # several runs may have adopted the session of another
    has_own_process = step.job_def.executor_def.name not in _IN_PROCESS
    return (Leftover(step.instance, step.run_id, step.step.key, attempt, session, keys, has_own_process),)


def in_background(action: Callable[[], None], *, has_own_process: bool) -> None:
    """Do something for which neither the step nor the run waits. The process waits for it when it ends.

    If the process of a step dies before the multiprocess executor has its last message, the step has failed, whatever
    it has logged. So such a process does it at its end, when that message is sent.
    Source: cpython's Lib/multiprocessing/queues.py (`exitpriority=-5` for what sends the messages).

    Args:
        action: What to do.
        has_own_process: Whether the step may have a process of its own.
    """
    if has_own_process and parent_process():
        Finalize(None, action, exitpriority=-10)
    else:
        Thread(target=action, name=THREAD_NAME).start()


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


def delete_messages(store: ObjectStore, keys: Sequence[str], log: Logger, connections: Sequence[Any] = ()) -> None:
    """Delete messages, and then close the connections.

    Args:
        store: The bucket.
        keys: The names of the objects.
        log: The log of the run. It gets a warning if the messages could not be deleted.
        connections: What to close, if it can be closed.
    """
    try:
        store.delete(keys, timeout=CLEANUP_DEADLINE)
    except PipesStorageError as error:
        _warn(
            log,
            "[pipes] the call is done, but its messages stay in the bucket. To leave them to a lifecycle rule, set "
            f"`cleanup` of the resource to 'never'. {error}",
        )
    finally:
        close(connections)


def close(connections: Sequence[Any]) -> None:
    """Close the connections that can be closed."""
    for connection in connections:
        if closes := getattr(connection, "close", None):
            closes()


def _warn(log: Logger, text: str) -> None:
    """Write a warning to the log of the run or, if Dagster has closed that already, to the log of the process."""
    try:
        log.warning(text)
    except Exception:  # noqa: BLE001 - each event storage has errors of its own
        getLogger(__name__).warning(text)
