"""Serves an entry point in this process, as functions-framework does over HTTP."""

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


class ServedFunction:
    """An entry point that is served in this process.

    Each path leads to the entry point, and an exception becomes a 500, as in functions-framework.
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
    app.view_functions["run"] = lambda path: main(cast("Any", flask.request)._get_current_object())  # noqa: ARG005, SLF001
    app.register_error_handler(500, lambda error: (str(error), 500, {"X-Google-Status": "crash"}))
    return app
