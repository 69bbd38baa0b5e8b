"""The real entry point in a Flask app, in process, with checks of each answer."""

import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from typing import Any, Final

import flask
from dagster_pipes import DagsterPipesError, PipesContext
from gcf_pipes import PipesCloudFunctionContextLoader, PipesCloudStorageMessageWriter, pipes_function
from gcf_pipes._allowed_locations import AllowedLocations
from google.api_core.exceptions import NotFound
from google.cloud import storage
from werkzeug.routing import Rule
from werkzeug.test import TestResponse

from dagster_gcf_pipes.local import EMBEDDED, run_emulator, storage_client
from tests.fuzz.oracle import ALLOWED_BUCKET, ALLOWED_PREFIX, CONTEXT_FIELDS, NAMES, Call, Request, read_call, text_of

RAN: Final = "ran"
"""The outcome of a request that is a call."""
TIME_LIMIT: Final = 10.0
"""Seconds in which any request is answered. An idle machine needs a tenth of that."""
MAX_ANSWER: Final = 8_000
"""Characters of a refusal, whatever it refuses."""
SHORTEST_SECRET: Final = 8
"""Characters of a value of the environment. Any text has shorter ones."""


class ViolationError(AssertionError):
    """The entry point did something wrong with a request."""


@contextmanager
def run_entry_point() -> Iterator["EntryPointUnderTest"]:
    """Run the entry point with an emulator of its own, for the requests that are calls."""
    with run_emulator(EMBEDDED) as emulator, closing(storage_client(emulator.url)) as client:
        client.create_bucket(ALLOWED_BUCKET)
        yield EntryPointUnderTest(client)


class EntryPointUnderTest:
    """The entry point, configured for one bucket and prefix, in an app that routes any method to it.

    Args:
        client: The Cloud Storage client to use.
    """

    def __init__(self, client: storage.Client) -> None:
        self._runs: list[Mapping[str, Any]] = []
        self._chunks: set[bytes] = set()  # each differs: `opened` has an id of the delivery
        self._bucket = client.bucket(ALLOWED_BUCKET)
        self._http = self._app(client).test_client()
        environment = (value for value in os.environ.values() if len(value) >= SHORTEST_SECRET)
        self._secrets = (ALLOWED_BUCKET, ALLOWED_PREFIX, "Traceback", ".py", *environment)

    def send(self, request: Request) -> str:
        """Send a request, and return its outcome: `RAN`, or the status and the code of the refusal.

        Raises:
            ViolationError: The user's code ran for a request that is not a call, did not run for a call, or saw another
                context; or the answer is not a clean refusal, or came late.
        """
        self._runs.clear()
        started = time.monotonic()
        response = self._http.open("/", data=request.body, method=request.method, headers=list(request.headers))
        _expect(time.monotonic() - started < TIME_LIMIT, f"the answer took more than {TIME_LIMIT:g} s")
        if call := read_call(request):
            _expect(response.status_code == 204, f"a call was answered with {response.status}: {response.text[:500]}")
            self._check_run(call)
            return RAN
        _expect(not self._runs, "the user's code ran though the request is not a call")
        self._check_refusal(response, request)
        named = _named(response.text) or "(an answer without a body)"
        return f"{response.status_code} {response.headers['Dagster-Pipes-Error']}: {named}"

    def _check_run(self, call: Call) -> None:
        _expect(len(self._runs) == 1, f"the user's code ran {len(self._runs)} times")
        for name, value in self._runs[0].items():
            sent = _seen(name, call.context.get(name))
            _expect(repr(value) == repr(sent), f"the user's code saw {name} as {value!r:.200}, not {sent!r:.200}")
        try:
            chunk = self._bucket.blob(f"{call.key_prefix}/1.json").download_as_bytes()
        except NotFound as error:
            raise ViolationError(f"there are no messages in {call.key_prefix!r}") from error
        _expect(chunk not in self._chunks, f"the messages in {call.key_prefix!r} are of an earlier run")
        self._chunks.add(chunk)

    def _check_refusal(self, response: TestResponse, request: Request) -> None:
        text = response.text
        _expect(400 <= response.status_code < 500, f"expected a 4xx, got {response.status}: {text[:500]}")
        _expect("Dagster-Pipes-Error" in response.headers, f"the answer is not the runtime's: {text[:500]}")
        _expect(len(text) < MAX_ANSWER, f"the answer has {len(text)} characters: {text[:500]}")
        if request.method != "HEAD":
            _expect(_named(text) is not None, f"expected a code, and a text that names a field, got {text[:500]}")
        answer = f"{text}\n{response.headers}"
        for secret in self._secrets:
            if secret in answer:
                _expect(secret in text_of(request), f"the answer tells {secret!r}: {text[:500]}")

    def _app(self, client: storage.Client) -> flask.Flask:
        allowed_locations = AllowedLocations(frozenset({ALLOWED_BUCKET}), ALLOWED_PREFIX)

        @pipes_function(
            context_loader=PipesCloudFunctionContextLoader(client, allowed_locations=allowed_locations),
            message_writer=PipesCloudStorageMessageWriter(client, allowed_locations=allowed_locations),
        )
        def main(request: flask.Request, pipes: PipesContext) -> None:
            self._runs.append(_view(pipes))

        app = flask.Flask(__name__)
        app.url_map.add(Rule("/", endpoint="main"))  # for every method, as in functions-framework
        app.view_functions["main"] = lambda: main(flask.request)
        return app


def _seen(name: str, sent: Any) -> Any:
    """Return a field of the context as the user's code must see it: missing parts are null."""
    if name == "extras":
        return sent or {}
    if name == "provenance_by_asset_key" and sent:
        return {
            key: _filled(part, "code_version", "input_data_versions", "is_user_provided") for key, part in sent.items()
        }
    return _filled(sent, "start", "end") if name in {"partition_key_range", "partition_time_window"} else sent


def _filled(sent: Any, *fields: str) -> Any:
    return None if sent is None else {**sent, **{field: sent.get(field) for field in fields}}


def _view(pipes: PipesContext) -> Mapping[str, Any]:
    """Return the context as the user's code sees it, without the fields that this kind of step lacks."""
    view: dict[str, Any] = {}
    for name in CONTEXT_FIELDS:
        with suppress(DagsterPipesError):
            view[name] = getattr(pipes, name)
    return view


def _named(text: str) -> str | None:
    """Return which part of the request a refusal names, or None if its body is invalid."""
    try:
        message = json.loads(text)["error"]["message"]
        return next(name for name in NAMES if name in message)
    except (ValueError, LookupError, TypeError, StopIteration):
        return None


def _expect(condition: bool, text: str) -> None:
    if not condition:
        raise ViolationError(text)
