"""Entry points for the tests of the kit."""

import contextvars
import functools
import sys
import threading
from collections.abc import Callable
from typing import Any

import flask
from dagster_pipes import PipesContext
from gcf_pipes import pipes_function


@pipes_function
def reports(request: flask.Request, pipes: PipesContext) -> Any:
    """Report one of each."""
    pipes.log.info("reading")
    pipes.log.warning("%d rows are empty", 2)
    pipes.report_asset_materialization(
        metadata={"rows": 3, "preview": {"raw_value": "**bold**", "type": "md"}}, data_version="v1"
    )
    pipes.report_asset_check("not_empty", passed=True, metadata={"rows": 3})
    pipes.report_asset_check("fresh", passed=False, severity="WARN")
    pipes.report_custom_message({"table": "orders"})
    print("to stdout")
    print("to stderr", file=sys.stderr)
    return {"event": request.get_json().get("table"), "path": request.path, "args": dict(request.args)}


@pipes_function
def context_fields(request: flask.Request, pipes: PipesContext) -> Any:
    """Return the context as the function sees it."""
    names = ("partition_key", "partition_key_range", "partition_time_window")
    partition = {name: getattr(pipes, name) for name in names} if pipes.is_partition_step else {}
    asset_keys = list(pipes.asset_keys) if pipes.is_asset_step else None
    run = {"run_id": pipes.run_id, "job_name": pipes.job_name, "retry_number": pipes.retry_number}
    return {"asset_keys": asset_keys, "extras": dict(pipes.extras), **partition, **run}


@pipes_function
def raises(request: flask.Request, pipes: PipesContext) -> None:
    pipes.log.info("about to raise")
    raise ValueError("the table is broken")


@pipes_function
def returns_500(request: flask.Request, pipes: PipesContext) -> Any:
    return "not today", 500


def raising(error: BaseException) -> Any:
    """Return an entry point that raises an error."""

    @pipes_function
    def main(request: flask.Request, pipes: PipesContext) -> None:
        raise error

    return main


@pipes_function
def closes_with_an_exception(request: flask.Request, pipes: PipesContext) -> str:
    """Swallow an exception that has closed the context."""
    try:
        with pipes:
            raise ValueError("inside")  # noqa: TRY301 - closes the context
    except ValueError:
        return "as if nothing had happened"


@pipes_function
def starts_threads(request: flask.Request, pipes: PipesContext) -> None:
    """Log and print in threads, which run in copies of the context."""

    def work(number: int) -> None:
        pipes.log.info("from thread %d", number)
        print(f"printed by thread {number}")

    context = contextvars.copy_context()
    threads = [threading.Thread(target=context.copy().run, args=(work, number)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@pipes_function
def streams(request: flask.Request, pipes: PipesContext) -> Any:
    def stream() -> Any:
        pipes.log.info("from inside the stream")
        yield "a"
        yield "b"

    return stream()


def requires_header(main: Callable[[flask.Request], Any]) -> Callable[[flask.Request], Any]:
    """Decorate an entry point as a user's own authentication would."""

    @functools.wraps(main)
    def checked(request: flask.Request) -> Any:
        return main(request) if request.get_json().get("password") == "open sesame" else ("who are you?", 401)

    return checked


def responds_to_exceptions(main: Callable[[flask.Request], Any]) -> Callable[[flask.Request], Any]:
    """Decorate an entry point as a user's own error page would."""

    @functools.wraps(main)
    def caught(request: flask.Request) -> Any:
        try:
            return main(request)
        except Exception:  # noqa: BLE001
            return "sorry", 500

    return caught


guarded = requires_header(reports)
