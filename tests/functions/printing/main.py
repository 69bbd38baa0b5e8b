"""A function that prints in many ways, with a usual logging setup."""

import contextlib
import contextvars
import io
import logging
import sys
import threading
import warnings
from typing import Any

import flask
from dagster_pipes import PipesContext
from gcf_pipes import PipesDeadlineExceededError, pipes_function, pipes_traceparent

logging.basicConfig(level=logging.INFO)  # its handler keeps the current stderr
warnings.simplefilter("always")

own_logger = logging.getLogger("own")
own_logger.propagate = False
own_handler = logging.StreamHandler(sys.stdout)
own_handler.setFormatter(logging.Formatter("own %(message)s"))
own_logger.addHandler(own_handler)

released = threading.Event()
late_ended = threading.Event()
never = threading.Event()
redirected = threading.Event()
neighbour_began = threading.Event()
redirection_ended = threading.Event()


def everything(pipes: PipesContext, event: dict[str, Any]) -> Any:
    """Print `count` lines in each way, at full speed, some in threads."""
    tag = event["tag"]

    def print_lines(way: str) -> None:
        for number in range(event["count"]):
            print(tag, way, number)

    threads = [
        threading.Thread(target=contextvars.copy_context().run, args=(print_lines, f"thread{n}")) for n in range(2)
    ]
    threads.append(threading.Thread(target=print_lines, args=("alone",)))
    for thread in threads:
        thread.start()
    for number in range(event["count"]):
        print(tag, "print", number)
        print(tag, "stderr", number, file=sys.stderr)
        logging.warning("%s logging %s", tag, number)
        own_logger.warning("%s logger %s", tag, number)
        warned = f"{tag} warning {number}"
        warnings.warn(warned, stacklevel=1)
        sys.stdout.writelines([f"{tag} writelines ", f"{number}\n"])
    for thread in threads:
        thread.join()
    return {}


def redirects(pipes: PipesContext, event: dict[str, Any]) -> Any:
    """Return what is printed, in pieces, while another request starts to forward its output."""
    with contextlib.redirect_stdout(io.StringIO()) as stdout, contextlib.redirect_stderr(io.StringIO()) as stderr:
        redirected.set()
        if not neighbour_began.wait(30):
            raise TimeoutError("the other request did not come")
        print("out", end="")
        print("err", end="", file=sys.stderr)
        texts = {"stdout": stdout.getvalue(), "stderr": stderr.getvalue()}
        redirection_ended.set()
    print("after the redirection")
    return texts


def begins_while_another_redirects(pipes: PipesContext, event: dict[str, Any]) -> Any:
    neighbour_began.set()
    if not redirection_ended.wait(30):
        raise TimeoutError("the other request did not print")
    return {}


def awaits_redirection(pipes: PipesContext, event: dict[str, Any]) -> Any:
    return {"redirected": redirected.wait(30)}


def prints(pipes: PipesContext, event: dict[str, Any]) -> Any:
    for number in range(event["count"]):
        print(event["text"], number)
    return {}


def partial_lines(pipes: PipesContext, event: dict[str, Any]) -> Any:
    """Print lines in pieces, and one without an end."""
    for number in range(3):
        print("piece", end=" ")
        print(number)
    print("no end", end="")
    return {}


def odd_text(pipes: PipesContext, event: dict[str, Any]) -> Any:
    """Print text that is not plain ASCII lines."""
    print("ünïcödé ☃", "x" * 600_000, "end")
    print('{"message": "json of the user", "severity": "INFO"}')
    print("{not json")
    print("one\ntwo\n\nfour")
    print("surrogate \udc80", file=sys.stderr)
    return {}


def raises(pipes: PipesContext, event: dict[str, Any]) -> Any:
    print("about to raise", end=event.get("end"))
    raise ValueError("the table is broken")


def late(pipes: PipesContext, event: dict[str, Any]) -> Any:
    """Leave a thread behind that prints when the next request releases it."""
    print("in time")

    def print_late() -> None:
        released.wait(30)
        print("too late")
        logging.warning("too late as well")
        late_ended.set()

    threading.Thread(target=contextvars.copy_context().run, args=(print_late,), daemon=True).start()
    return {}


def release(pipes: PipesContext, event: dict[str, Any]) -> Any:
    released.set()
    return {"ended": late_ended.wait(30)}


def closes(pipes: PipesContext, event: dict[str, Any]) -> Any:
    """Close the session itself, and print after that."""
    print("before")
    pipes.close()
    print("after the end")
    return {}


def overtime(pipes: PipesContext, event: dict[str, Any]) -> Any:
    """Print until a Pipes call raises at the deadline, and once more."""
    while True:
        print("still printing")
        try:
            pipes.log.debug("tick")
        except PipesDeadlineExceededError:
            print("after the deadline")
            raise
        never.wait(0.05)


def slow_prints(pipes: PipesContext, event: dict[str, Any]) -> Any:
    for number in range(event["count"]):
        print(event["text"], number)
        never.wait(0.05)
    return {}


def logs(pipes: PipesContext, event: dict[str, Any]) -> Any:
    """Log in each way that the platform gets as a structured line."""
    tag = event["tag"]
    for number in range(event.get("count", 1)):
        logging.warning("%s root %s", tag, number)
        logging.getLogger("some.library").error("%s library %s", tag, number)
        pipes.log.info("%s pipes %s", tag, number)
    try:
        event["nothing"]
    except KeyError:
        logging.exception("%s exception", tag)
    logging.error('{"message": "%s json", "rows": 3}', tag)
    return {"traceparent": pipes_traceparent()}


@pipes_function
def main(request: flask.Request, pipes: PipesContext) -> Any:
    event = request.get_json()
    return globals()[event["mode"]](pipes, event)
