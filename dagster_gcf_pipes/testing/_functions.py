"""Serves an entry point in this process, as functions-framework does over HTTP."""

import asyncio
import inspect
import secrets
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast
from urllib.parse import urlsplit

from gcf_pipes._shared.in_process import ENTRY_POINT_ATTRIBUTE, InProcessRequest, serve_with

if TYPE_CHECKING:
    import flask
    from werkzeug.test import TestResponse

EntryPoint: TypeAlias = "Callable[[flask.Request], Any]"
EXECUTION_ID_HEADER: Final = "Function-Execution-Id"
_EXTRA: Final = "Fix: Install the extra for tests and local runs: `pip install 'dagster-gcf-pipes[local]'`."


class InstanceDeath(SystemExit):
    """Ends the code of an instance that dies. No `except Exception` catches it, and it also ends an asyncio loop."""


class ServedFunction:
    """An entry point that is served in this process.

    Each path leads to the entry point, and an exception becomes a 500, as in functions-framework. Flask logs the
    exception, unless it is no failure of the function.
    Source: functions_framework/__init__.py, `_configure_app` and `crash_handler`.

    Args:
        main: The entry point.

    Raises:
        TypeError: It cannot be called with a request.
        ImportError: Flask is not installed.
    """

    def __init__(self, main: EntryPoint) -> None:
        check_entry_point(main)
        self.is_pipes_function = bool(getattr(main, ENTRY_POINT_ATTRIBUTE, False))
        self._app = _create_app(main)

    def serve(
        self, request: InProcessRequest, body: bytes, *, headers: Mapping[str, str], url: str = "http://localhost/"
    ) -> "TestResponse":
        """Return the entry point's response to a POST."""
        import flask
        from werkzeug.test import Client, EnvironBuilder

        parts = urlsplit(url)
        environ = EnvironBuilder(
            method="POST",
            base_url=f"{parts.scheme}://{parts.netloc}/",
            path=parts.path,
            query_string=parts.query,
            headers=list({EXECUTION_ID_HEADER: secrets.token_urlsafe(9), **headers}.items()),
            data=body,
        ).get_environ()
        with serve_with(request):
            return Client(self._app, flask.Response, use_cookies=False).open(environ, buffered=True)


def belongs_to_test(error: BaseException | None) -> bool:
    """Whether an error is meant for the code that runs the test: Ctrl-C, `pytest.fail`, `pytest.skip` and the like.

    Those are neither an `Exception` nor one of the two others with which functions fail.
    """
    return error is not None and not isinstance(error, Exception | SystemExit | asyncio.CancelledError)


def check_entry_point(main: object) -> None:
    """Refuse what functions-framework cannot call with a request.

    Raises:
        TypeError: It is not a function of one parameter, or it is an `async def`.
    """
    expected = "Expected an entry point, decorated with `gcf_pipes.pipes_function`"
    if not callable(main):
        raise TypeError(f"{expected}, got {main!r:.100}.\nFix: Pass the function itself, for example `main.main`.")
    if inspect.iscoroutinefunction(main) or inspect.iscoroutinefunction(type(main).__call__):
        raise TypeError(f"{expected}, got an `async def`.\nFix: Call `asyncio.run` in a plain function.")
    try:
        signature = inspect.signature(main, follow_wrapped=False)
    except ValueError:  # some functions in C have none
        return
    try:
        signature.bind(object())
    except TypeError as error:
        raise TypeError(
            f"{expected}, got `def {getattr(main, '__name__', '')}{signature}`, which cannot be called with a request "
            "alone.\nFix: Decorate it: `@pipes_function`."
        ) from error


def _create_app(main: EntryPoint) -> "flask.Flask":
    try:
        import flask
        from werkzeug.routing import Rule
    except ImportError as error:
        raise ImportError(f"Expected Flask to be installed, because it calls the function.\n{_EXTRA}") from error
    app = flask.Flask("function")
    for rule in (Rule("/", defaults={"path": ""}, endpoint="run"), Rule("/<path:path>", endpoint="run")):
        app.url_map.add(rule)

    def run(path: str) -> Any:  # noqa: ARG001
        try:
            return main(cast("Any", flask.request)._get_current_object())  # noqa: SLF001
        except RuntimeError as error:  # in place of what is not an `Exception`
            if isinstance(error.__cause__, InstanceDeath) or belongs_to_test(error.__cause__):
                return _crash(error)
            raise

    app.view_functions["run"] = run
    app.register_error_handler(500, _crash)
    return app


def _crash(error: Exception) -> tuple[str, int, dict[str, str]]:
    return str(error), 500, {"X-Google-Status": "crash"}
