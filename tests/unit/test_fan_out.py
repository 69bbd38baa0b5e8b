"""Many calls at once: what starts, what waits, and what ends when the platform, or the step, has enough."""

import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from threading import Event

import pytest

from dagster_gcf_pipes._attempts import Posted
from dagster_gcf_pipes._fan_out import STEPPING_THREADS, CallThreads, FanOut, PacedPosts
from dagster_gcf_pipes._http import AnsweredBy, Attempt
from dagster_gcf_pipes._pace import Pace
from dagster_gcf_pipes._steps import Steps, Wait
from tests.waiting import in_background, wait_until

DONE: Posted = (Attempt(AnsweredBy.FUNCTION, status=200), None)
REFUSED: Posted = (Attempt(AnsweredBy.PLATFORM, status=429), None)
MakeSteps = Callable[[str, CallThreads], Steps[str]]


class Calls:
    """Makes calls with a fan-out, and keeps their results.

    Args:
        keys: The calls.
        make_steps: Returns the steps of a call.
        give_up_after: As for `FanOut`.
    """

    def __init__(self, keys: Sequence[str], make_steps: MakeSteps, *, give_up_after: float = 60.0) -> None:
        self.results: dict[str, str | BaseException] = {}
        self.fan_out = FanOut(
            iter(keys),
            make_steps,
            self.results.__setitem__,
            pace=Pace(100, time.monotonic()),
            most=100,
            give_up_after=give_up_after,
        )

    def run(self, goes_on: Callable[[], bool] = lambda: True) -> dict[str, str | BaseException]:
        self.fan_out.run(goes_on)
        return self.results


def post_steps(post: Callable[[], Posted], key: str, threads: CallThreads) -> Steps[str]:
    """Make one attempt, and return its status."""
    future = threads.start(post)
    yield Wait(future.done)
    return f"{key}: {future.result()[0].status}"


def test_all_calls_are_made_and_an_error_is_the_result_of_its_call_alone() -> None:
    def steps(key: str, threads: CallThreads) -> Steps[str]:
        if key == "k3":
            raise ValueError("k3 failed")
        return (yield from post_steps(lambda: DONE, key, threads))

    results = Calls([f"k{number}" for number in range(200)], steps).run()
    assert str(results.pop("k3")) == "k3 failed"
    assert results == {f"k{number}": f"k{number}: 200" for number in range(200) if number != 3}


def test_a_slow_step_holds_up_only_its_own_call() -> None:
    """It waits, for example, for Cloud Logging. Meanwhile the time and its messages ask for its steps again."""
    others_done = Event()

    def steps(key: str, threads: CallThreads) -> Steps[str]:
        if key == "slow":
            yield Wait(lambda: False, timeout=0.0)
            for _ in range(2 * STEPPING_THREADS):
                threads.wake()
            assert others_done.wait(30)
        else:
            yield Wait(lambda: False, timeout=0.5)
        return key

    calls = Calls(["slow", "a", "b", "c"], steps)
    running = in_background(calls.run)
    wait_until(lambda: calls.results.keys() == {"a", "b", "c"}, 10)
    others_done.set()
    assert running.result(30)["slow"] == "slow"


def test_news_during_a_step_are_looked_at_afterwards() -> None:
    news, stepping = Event(), Event()

    def steps(key: str, threads: CallThreads) -> Steps[str]:
        yield Wait(lambda: True)
        stepping.set()
        time.sleep(0.1)  # while it runs, `wake` below is called
        yield Wait(news.is_set)
        return key

    woken: list[CallThreads] = []

    def make(key: str, threads: CallThreads) -> Steps[str]:
        woken.append(threads)
        return steps(key, threads)

    running = in_background(Calls(["a"], make).run)
    assert stepping.wait(10)
    news.set()
    woken[0].wake()
    assert running.result(10) == {"a": "a"}


def test_a_refused_attempt_is_made_again_and_counts_for_nothing() -> None:
    answers = {f"k{number}": [REFUSED, REFUSED, DONE] for number in range(5)}
    calls = Calls([*answers], lambda key, threads: post_steps(lambda: answers[key].pop(0), key, threads))
    assert set(calls.run().values()) == {f"{key}: 200" for key in answers}


@pytest.mark.parametrize("latency", [0.0, 0.3])
def test_all_calls_end_soon_after_the_platform_has_refused_everything_for_too_long(latency: float) -> None:
    """The platform may think for 10 s about each refusal, and new attempts start meanwhile."""
    posts = []

    def refuse() -> Posted:
        posts.append(time.monotonic())
        time.sleep(latency)
        return REFUSED

    started = time.monotonic()
    results = Calls([f"k{number}" for number in range(500)], partial(post_steps, refuse), give_up_after=1.0).run()
    assert time.monotonic() - started < 10
    assert results == {f"k{number}": f"k{number}: 429" for number in range(500)}
    assert len(posts) < 500, "an attempt of each call was made although the platform refuses all of them"


def test_the_platform_may_refuse_for_as_long_as_calls_run() -> None:
    release = Event()

    def post(key: str) -> Posted:
        if key == "first":
            return DONE if release.wait(30) else REFUSED
        return DONE if release.is_set() else REFUSED

    calls = Calls(["first", "second"], lambda key, t: post_steps(partial(post, key), key, t), give_up_after=0.5)
    running = in_background(calls.run)
    Event().wait(2)
    release.set()
    assert running.result(30) == {"first": "first: 200", "second": "second: 200"}


def test_a_refusal_after_a_long_time_without_attempts_is_the_first_one() -> None:
    """A step that adopts calls makes none while it follows them."""
    answers = [DONE, REFUSED, REFUSED, DONE]

    def steps(key: str, threads: CallThreads) -> Steps[str]:
        yield from post_steps(lambda: answers.pop(0), key, threads)
        yield Wait(lambda: False, timeout=1.5)
        return (yield from post_steps(lambda: answers.pop(0), key, threads))

    assert Calls(["a"], steps, give_up_after=1.0).run() == {"a": "a: 200"}


def test_nothing_starts_after_the_step_is_interrupted() -> None:
    posts, answered, interrupted = [], Event(), Event()

    def post(key: str) -> Posted:
        posts.append(key)
        answered.wait(30)
        return REFUSED

    def steps(key: str, threads: CallThreads) -> Steps[str]:
        if key == "late":
            assert interrupted.wait(30)
        return (yield from post_steps(partial(post, key), key, threads))

    def interrupt() -> bool:
        if posts:
            raise KeyboardInterrupt
        return True

    before = set(threading.enumerate())
    calls = Calls(["early", "late"], steps)
    with pytest.raises(KeyboardInterrupt):
        calls.run(interrupt)
    interrupted.set()
    answered.set()
    wait_until(lambda: set(threading.enumerate()) <= before, 10)
    assert posts == ["early"]
    assert calls.results == {}


def test_an_attempt_that_nobody_waits_for_is_not_made_again() -> None:
    posts: list[float] = []

    def refuse() -> Posted:
        posts.append(time.monotonic())
        return REFUSED

    pace = Pace(10, time.monotonic())
    paced = PacedPosts(pace, most=10, give_up_after=60, on_change=lambda: None)
    future = paced.start(refuse, lambda: None)
    wait_until(lambda: bool(posts) and paced.in_flight == 0)
    assert future.cancel()
    count = len(posts)
    wait_until(lambda: pace.limit(time.monotonic()) > 0)
    paced.release()
    paced.stop()
    assert len(posts) == count
