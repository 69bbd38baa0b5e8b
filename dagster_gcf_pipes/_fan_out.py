"""Makes many calls at once: as many as the platform takes, in threads that only wait for responses.

A few other threads take the steps of the calls that have something to do.
"""

import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from functools import partial
from threading import Event, Lock
from typing import Final, Generic, TypeAlias, TypeVar

from dagster_gcf_pipes._attempts import Post, Posted
from dagster_gcf_pipes._pace import Pace
from dagster_gcf_pipes._steps import Steps, Wait
from dagster_gcf_pipes._workers import Workers

TICK: Final = 0.1
"""Seconds between two looks at the time."""
STEPPING_THREADS: Final = 8
"""Threads that take steps. A step may wait for Cloud Storage or for Cloud Logging."""
MAX_UNREAD: Final = 100
"""Calls that may have a response, and whose messages are not read yet, beyond those in flight.

There are fewer than those that may be in flight. So if that is one, a call starts when the one before it has ended.
"""
STOP_TIMEOUT: Final = 2.0
"""Seconds to wait for a step that is under way when all calls are given up."""

Key = TypeVar("Key")
Result = TypeVar("Result")


@dataclass(eq=False)
class _QueuedPost:
    post: Post
    future: "Future[Posted]"
    started: float = 0.0


class PacedPosts:
    """Makes attempts in threads, as many at once as the platform takes.

    An attempt for which the platform has no instance is made again later, and counts for nothing. If that goes on for
    too long, the last refusal becomes the result of all attempts.

    Args:
        pace: How many may be in flight.
        most: How many may be in flight at most.
        give_up_after: Seconds in which the platform may refuse all attempts. An attempt that has been in flight for
            longer is not refused: the platform decides within seconds.
        on_change: Called after each attempt.
    """

    def __init__(self, pace: Pace, *, most: int, give_up_after: float, on_change: Callable[[], None]) -> None:
        self._pace = pace
        self._give_up_after = give_up_after
        self._on_change = on_change
        self._workers = Workers("pipes call", most)
        self._waiting: deque[_QueuedPost] = deque()
        self._running: set[_QueuedPost] = set()
        self._lock = Lock()
        self._refused_since: float | None = None
        self._last_refusal: Posted | None = None
        self._stopped = False
        self.peak = 0

    @property
    def in_flight(self) -> int:
        """How many attempts are in flight."""
        return len(self._running)

    def start(self, post: Post, on_done: Callable[[], None]) -> "Future[Posted]":
        """Make an attempt as soon as it may start. If its future is cancelled, it no longer counts as in flight.

        Args:
            post: Makes the attempt.
            on_done: Called when it is done.
        """
        queued = _QueuedPost(post, Future())
        queued.future.add_done_callback(lambda _: self._abandon_if_cancelled(queued))
        queued.future.add_done_callback(lambda _: on_done())
        with self._lock:
            self._waiting.append(queued)
        self.release()
        return queued.future

    def _abandon_if_cancelled(self, queued: _QueuedPost) -> None:
        """Give the place of an attempt to the next if nobody waits for it. It may never get a response."""
        if not queued.future.cancelled():
            return
        with self._lock:
            if queued in self._running:
                self._running.remove(queued)
                self._workers.allow_one_more()
            elif queued in self._waiting:
                self._waiting.remove(queued)

    @property
    def free(self) -> int:
        """How many further attempts could start now."""
        with self._lock:
            return self._pace.limit(time.monotonic()) - len(self._running) - len(self._waiting)

    def release(self) -> None:
        """Start the attempts that may start."""
        with self._lock:
            now = time.monotonic()
            limit = 0 if self._stopped else self._pace.limit(now)
            refusal, refused = self._last_refusal, list(self._waiting) if self._last_refusal else []
            if refused:
                self._waiting.clear()
            while self._waiting and len(self._running) < limit:
                queued = self._waiting.popleft()
                queued.started = now
                self._running.add(queued)
                self._workers.do(partial(self._make, queued))
            self.peak = max(self.peak, len(self._running))
        for queued in refused:
            _resolve(queued.future, refusal, None)

    def stop(self) -> None:
        """Start nothing more."""
        with self._lock:
            self._stopped = True
            self._waiting.clear()
        self._workers.stop()

    def _make(self, queued: _QueuedPost) -> None:
        posted: Posted | None = None
        error: BaseException | None = None
        try:
            posted = queued.post()
        except BaseException as raised:  # noqa: BLE001 - the steps raise it again
            error = raised
        if self._is_done(queued, posted):
            _resolve(queued.future, posted, error)
        self.release()
        self._on_change()

    def _is_done(self, queued: _QueuedPost, posted: Posted | None) -> bool:
        """Note the end of an attempt. Return whether it counts; otherwise it waits for its next turn."""
        now = time.monotonic()
        with self._lock:
            if queued not in self._running:
                return True
            self._running.remove(queued)
            if posted is None or not posted[0].found_no_instance:
                self._refused_since = None
                return True
            self._pace.refused(queued.started, len(self._running), now)
            if self._refused_since is None:
                self._refused_since = now
            oldest = min((each.started for each in self._running), default=now)
            if now - self._refused_since > self._give_up_after >= now - oldest:
                attempt, response = posted
                self._last_refusal = replace(attempt, retryable=False), response
            self._waiting.appendleft(queued)
            return False


def _resolve(future: "Future[Posted]", posted: Posted | None, error: BaseException | None) -> None:
    """Set the result, unless nobody waits for it any more."""
    if not future.set_running_or_notify_cancel():
        return
    if posted:
        future.set_result(posted)
    else:
        future.set_exception(error)


@dataclass
class _Task(Generic[Key, Result]):
    key: Key
    steps: Steps[Result]
    wait: Wait | None = None
    until: float | None = None
    is_due: bool = False
    is_queued: bool = False
    has_posted: bool = False
    lock: Lock = field(default_factory=Lock)


@dataclass(frozen=True)
class CallThreads:
    """What the steps of a call get of the threads that serve all calls.

    Attributes:
        start: Starts an attempt.
        wake: Lets the steps of the call be taken, if what they wait for has been reached.
    """

    start: "Callable[[Post], Future[Posted]]"
    wake: Callable[[], None]


MakeSteps: TypeAlias = Callable[[Key, CallThreads], Steps[Result]]


class FanOut(Generic[Key, Result]):
    """Makes many calls, and hands each result over as soon as it is there.

    Args:
        keys: The calls, in the order in which they start.
        make_steps: Returns the steps of a call.
        on_result: Gets the result of a call, or the error that its steps raised. Called from several threads.
        pace: How many attempts may be in flight.
        most: How many attempts may be in flight at most.
        give_up_after: As for `PacedPosts`.

    Attributes:
        posts: Makes the attempts.
        ended: How many calls have ended.
    """

    def __init__(
        self,
        keys: Iterator[Key],
        make_steps: MakeSteps[Key, Result],
        on_result: Callable[[Key, Result | BaseException], None],
        *,
        pace: Pace,
        most: int,
        give_up_after: float,
    ) -> None:
        self._keys = keys
        self._make_steps = make_steps
        self._on_result = on_result
        self._most_unfinished = most + min(MAX_UNREAD, most - 1)
        self._changed = Event()
        self._stepping = Workers("pipes steps", STEPPING_THREADS)
        self._tasks: dict[Key, _Task[Key, Result]] = {}
        self._has_more = True
        self._unposted = 0
        self._lock = Lock()
        self._looked_at = 0.0
        self.posts = PacedPosts(pace, most=most, give_up_after=give_up_after, on_change=self._changed.set)
        self.ended = 0

    def run(self, each_tick: Callable[[], bool]) -> None:
        """Make all calls.

        Args:
            each_tick: Called every now and then, in this thread. It returns whether to go on.
        """
        try:
            while each_tick() and (self._has_more or self._tasks):
                self._start_calls()
                self.posts.release()
                self._look_at_the_time()
                self._changed.wait(TICK)
                self._changed.clear()
        finally:
            self.posts.stop()
            self._give_up()
            self._stepping.stop()

    def _start_calls(self) -> None:
        while self._has_more and self.posts.free > self._unposted and len(self._tasks) < self._most_unfinished:
            try:
                key = next(self._keys)
            except StopIteration:
                self._has_more = False
                return
            self._start(key)

    def _start(self, key: Key) -> None:
        def start(post: Post) -> "Future[Posted]":
            self._note_post(task)
            return self.posts.start(post, wake)

        def wake() -> None:
            self._take_steps_of(task)

        task: _Task[Key, Result] = _Task(key, self._make_steps(key, CallThreads(start, wake)))
        with self._lock:
            self._tasks[key] = task
            self._unposted += 1
        wake()

    def _note_post(self, task: _Task[Key, Result]) -> None:
        """Note that from now on `posts` counts the call, or that it ends without an attempt."""
        with self._lock:
            self._unposted -= not task.has_posted
            task.has_posted = True

    def _take_steps_of(self, task: _Task[Key, Result]) -> None:
        """Let a thread take the steps of a call. If one does already, it looks again when it is done."""
        with self._lock:
            task.is_due = True
            if task.is_queued:
                return
            task.is_queued = True
        self._stepping.do(partial(self._take_due_steps, task))

    def _take_due_steps(self, task: _Task[Key, Result]) -> None:
        with self._lock:
            task.is_due = False  # what changes from now on is another reason
        self._take_steps(task)
        with self._lock:
            again = task.is_queued = task.is_due
        if again:
            self._stepping.do(partial(self._take_due_steps, task))

    def _take_steps(self, task: _Task[Key, Result]) -> None:
        with task.lock:
            if task.key not in self._tasks:
                return
            try:
                while (reached := _answer(task)) is not None:
                    task.wait = task.steps.send(reached) if task.wait else next(task.steps)
                    task.until = None if task.wait.timeout is None else time.monotonic() + task.wait.timeout
            except StopIteration as end:
                self._end(task, end.value)
            except BaseException as error:  # noqa: BLE001 - it is the result of the call
                self._end(task, error)

    def _end(self, task: _Task[Key, Result], result: Result | BaseException) -> None:
        self._note_post(task)
        task.wait = None  # the results refer to the task, and what it waited for to the whole call
        try:
            self._on_result(task.key, result)
        finally:
            with self._lock:
                del self._tasks[task.key]
                self.ended += 1
            self._changed.set()

    def _look_at_the_time(self) -> None:
        """Let the steps be taken whose wait has lasted long enough."""
        now = time.monotonic()
        if now < self._looked_at + TICK:
            return
        self._looked_at = now
        with self._lock:
            late = [task for task in self._tasks.values() if task.until is not None and task.until <= now]
        for task in late:
            self._take_steps_of(task)

    def _give_up(self) -> None:
        """Close the steps of the calls that have not ended."""
        deadline = time.monotonic() + STOP_TIMEOUT
        for task in [*self._tasks.values()]:
            if task.lock.acquire(timeout=max(0.0, deadline - time.monotonic())):
                try:
                    task.steps.close()
                    self._tasks.pop(task.key, None)
                finally:
                    task.lock.release()


def _answer(task: _Task[Key, Result]) -> bool | None:
    """Return the answer to what a call waits for, or None if it has to wait on."""
    if task.wait is None or task.wait.reached():
        return True
    return False if task.until is not None and time.monotonic() >= task.until else None
