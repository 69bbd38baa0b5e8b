"""A function whose code ends, fails, forks and leaves threads behind in the ways that users' code does."""

import asyncio
import contextvars
import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import flask
from dagster_pipes import DagsterPipesError, PipesContext
from gcf_pipes import PipesCloudStorageMessageWriter, pipes_function

MIB = 1024 * 1024
WRITER = PipesCloudStorageMessageWriter(heartbeat_interval=0.5)
BASE_EXCEPTIONS = (asyncio.CancelledError, KeyboardInterrupt, GeneratorExit, SystemExit, BaseException)

never = threading.Event()
noted: dict[str, str] = {}
logging.addLevelName(25, "NOTICE")


def ok(pipes: PipesContext, event: dict[str, Any]) -> Any:
    return {"ok": True}


def asked(pipes: PipesContext, event: dict[str, Any]) -> Any:
    """Return what was noted for a key, or nothing."""
    return {"noted": noted.get(event["key"])}


def waits(pipes: PipesContext, event: dict[str, Any]) -> Any:
    never.wait(event["seconds"])
    return {"waited": True}


def answers(pipes: PipesContext, event: dict[str, Any]) -> Any:
    return event["body"], event["status"], event.get("headers", {})


def raises_base(pipes: PipesContext, event: dict[str, Any]) -> Any:
    """Raise a BaseException, or an exception of asyncio's."""
    raise next(base for base in BASE_EXCEPTIONS if base.__name__ == event["name"])("out of the ordinary")


def closes_then_raises(pipes: PipesContext, event: dict[str, Any]) -> Any:
    pipes.close()
    raise ValueError("after the close")


def closes_with_an_exception(pipes: PipesContext, event: dict[str, Any]) -> Any:
    with suppress(KeyError), pipes:
        event["the key inside of with"]
    return {"handled": True}


def closes_with_a_description(pipes: PipesContext, event: dict[str, Any]) -> Any:
    pipes.close(event["exception"])
    return {}


class BrokenCauseError(Exception):
    """An exception whose `__cause__` raises when Python reads it."""

    __cause__ = __context__ = property(lambda _: 1 / 0)


def raises_broken(pipes: PipesContext, event: dict[str, Any]) -> Any:
    raise BrokenCauseError("broken")


WRONG_DESCRIPTIONS: dict[str, Any] = {
    "an exception": ValueError("by hand"),
    "a text": "by hand",
    "a broken exception": BrokenCauseError("by hand"),
    "a class": ValueError,
    "wrong fields": {"message": 1, "stack": 2, "name": 3, "cause": "by hand", "context": ValueError("by hand")},
    "values that are not JSON": {"message": "by hand", "stack": [object()], "name": {object()}, "cause": object()},
}


def closes_with(pipes: PipesContext, event: dict[str, Any]) -> Any:
    """Close the context with a malformed description of an exception."""
    pipes.close(WRONG_DESCRIPTIONS[event["what"]])
    return {}


def closes_then_answers(pipes: PipesContext, event: dict[str, Any]) -> Any:
    pipes.close()
    return answers(pipes, event)


def chains(pipes: PipesContext, event: dict[str, Any]) -> Any:
    """Raise the last of a chain of exceptions."""
    last = ValueError("number 0")
    for number in range(1, event["count"]):
        error = ValueError(f"number {number}")
        error.__cause__ = last
        last = error
    raise last


def has_no_text(pipes: PipesContext, event: dict[str, Any]) -> Any:
    class UnprintableError(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no text")

    raise UnprintableError


def has_much_text(pipes: PipesContext, event: dict[str, Any]) -> Any:
    raise ValueError(f"the start{'x' * 5 * MIB}the end")


def recurses(pipes: PipesContext, event: dict[str, Any]) -> Any:
    def even(depth: int) -> None:
        odd(depth + 1)

    def odd(depth: int) -> None:
        even(depth + 1)

    even(0)


def raises_group(pipes: PipesContext, event: dict[str, Any]) -> Any:
    """Raise nested exception groups."""
    group: Exception = ValueError("the leaf")
    for level in range(event["levels"]):
        group = ExceptionGroup(f"level {level}", [group])  # type: ignore[name-defined]  # noqa: F821 - Python 3.11
    raise group


def leaves_a_thread(pipes: PipesContext, event: dict[str, Any]) -> Any:
    """Return while a thread still logs and prints, until its call is refused."""

    def log() -> None:
        for number in range(10_000_000):
            print("from the thread")
            try:
                pipes.log.info(f"from the thread {number}")
            except DagsterPipesError as error:
                noted[event["key"]] = str(error)
                return
            time.sleep(event["pause"])

    threading.Thread(target=contextvars.copy_context().run, args=(log,), daemon=True).start()
    never.wait(0.3)
    return {"returned": True}


def reports(pipes: PipesContext, event: dict[str, Any]) -> Any:
    """Report a value of some depth and size; return the error."""
    value: Any = "x" * event.get("size", 0)
    for _ in range(event.get("depth", 0)):
        value = [value]
    try:
        pipes.report_custom_message(value)
    except DagsterPipesError as error:
        return {"refused": str(error)}
    return {"refused": None}


def levels(pipes: PipesContext, event: dict[str, Any]) -> Any:
    for level in (5, 10, 19, 20, 25, 30, 45, 60):
        pipes.log.log(level, f"at {level}")
    return {}


def loops(pipes: PipesContext, event: dict[str, Any]) -> Any:
    """Make Pipes calls until one fails."""
    while True:
        pipes.log.info("still here")
        never.wait(0.05)


def bridges_logging(pipes: PipesContext, event: dict[str, Any]) -> Any:
    """Send all logs to Dagster from now on, and print so many MiB."""
    logging.getLogger("gcf_pipes").addHandler(pipes.log.handlers[0])
    return prints_much(pipes, event)


def prints_much(pipes: PipesContext, event: dict[str, Any]) -> Any:
    """Print so many MiB."""
    line = "p" * 1023
    for _ in range(event["mib"] * 1024):
        print(line)
    return {}


def logs_json(pipes: PipesContext, event: dict[str, Any]) -> Any:
    logging.getLogger("user").error(event["text"])
    return {}


def pipes_call_in_child(pipes: PipesContext, event: dict[str, Any]) -> Any:
    """Return the error of a Pipes call in a forked child."""
    receiver, sender = multiprocessing.Pipe(duplex=False)

    def call_pipes() -> None:
        try:
            pipes.log.info("from the child")
            sender.send("nothing was raised")
        except DagsterPipesError as error:
            sender.send(str(error))

    _fork(call_pipes)
    pipes.log.info("from the parent")
    return {"child": receiver.recv() if receiver.poll(20) else "the child hangs"}


def child_ends(pipes: PipesContext, event: dict[str, Any]) -> Any:
    """Let a forked child leave this function; return its exit code."""
    child = os.fork()
    if child == 0:
        match event["how"]:
            case "exits":
                sys.exit(3)
            case "raises":
                pipes.log.info("from the child")
            case "closes":
                with pipes:
                    pass
        return {"from": "the child"}
    _, status = os.waitpid(child, 0)
    pipes.log.info("from the parent")
    return {"code": os.waitstatus_to_exitcode(status)}


def children_print(pipes: PipesContext, event: dict[str, Any]) -> Any:
    """Fork children that print 8 MiB each while threads of this process print and log."""
    done = threading.Event()

    def print_and_log() -> None:
        while not done.is_set():
            print("from the parent's thread")
            pipes.log.debug("from the parent's thread")

    threads = [threading.Thread(target=contextvars.copy_context().run, args=(print_and_log,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    ended = [_ends_within(20, _fork(_print_8_mib)) for _ in range(event["children"])]
    done.set()
    for thread in threads:
        thread.join()
    return {"ended": ended}


def _print_8_mib() -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # the test has enough output to read
    for _ in range(8 * 1024):
        print("c" * 1023)


def _fork(function: Callable[[], None]) -> int:
    child = os.fork()
    if child == 0:
        function()
        os._exit(0)
    return child


def _ends_within(seconds: float, child: int) -> bool:
    deadline = time.monotonic() + seconds
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            return False
        never.wait(0.02)
    return True


@pipes_function(message_writer=WRITER)
def main(request: flask.Request, pipes: PipesContext) -> Any:
    event = request.get_json()
    return globals()[event["mode"]](pipes, event)
