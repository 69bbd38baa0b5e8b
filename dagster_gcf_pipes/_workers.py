"""Threads for many small tasks."""

from collections.abc import Callable
from contextvars import copy_context
from queue import SimpleQueue
from threading import Lock, Thread


class Workers:
    """Daemon threads that do tasks in the order in which they come.

    The threads of `concurrent.futures` are no daemons: the process would wait at its end for a request that nobody
    waits for any more. A task handles its own errors.

    Args:
        name: The name of the threads.
        most: How many threads there are at most. Each starts when it is first needed.
    """

    def __init__(self, name: str, most: int) -> None:
        self._name = name
        self._most = most
        self._tasks: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._context = copy_context()  # the threads continue the trace
        self._lock = Lock()
        self._unfinished = 0
        self._threads = 0
        self._stopped = False

    @property
    def are_busy(self) -> bool:
        """Whether a task waits for a thread."""
        return not self._tasks.empty()

    def do(self, task: Callable[[], None]) -> None:
        """Do a task in a thread, unless they are stopped.

        Raises:
            RuntimeError: The system allows no thread at all. If it allows fewer than wanted, those do all tasks.
        """
        with self._lock:
            if self._stopped:
                return
            self._tasks.put(task)
            self._unfinished += 1
            if self._unfinished <= self._threads or self._threads == self._most:
                return
            self._threads += 1
        try:
            Thread(target=self._context.copy().run, args=(self._work,), name=self._name, daemon=True).start()
        except RuntimeError:
            with self._lock:
                self._threads -= 1
                if not self._threads:
                    raise

    def allow_one_more(self) -> None:
        """Allow one more thread, because one of them may never return."""
        with self._lock:
            self._most += 1

    def stop(self) -> None:
        """End each thread when it is idle. Further tasks are not done."""
        with self._lock:
            self._stopped = True
            for _ in range(self._threads):
                self._tasks.put(None)

    def _work(self) -> None:
        while task := self._tasks.get():
            try:
                task()
            finally:
                with self._lock:
                    self._unfinished -= 1
