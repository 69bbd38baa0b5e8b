"""The simulated function: `gcf_pipes.pipes_function` on an event loop, and the platform in front of it.

It calls the parts of the entry point that the real one calls, in the same order. Only Flask and the threads are left
out. `test_real_function.py` compares both.
"""

import asyncio
import json
import secrets
import time
from collections import Counter
from contextlib import AbstractContextManager, closing, nullcontext, suppress
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, cast

from dagster_pipes import (
    DAGSTER_PIPES_CONTEXT_ENV_VAR,
    DAGSTER_PIPES_MESSAGES_ENV_VAR,
    PipesContext,
    PipesContextData,
    PipesDefaultContextLoader,
    PipesException,
    PipesParams,
    PipesParamsLoader,
)
from functions_framework import crash_handler
from gcf_pipes._closed_response import closed_response
from gcf_pipes._entrypoint import (
    _check_dagster_side,
    _check_method,
    _deadline,
    _error_body,
    _refusal,
    _RequestMessageWriter,
    _status_exception,
    _this_function,
)
from gcf_pipes._execution import Execution, Platform, Trace
from gcf_pipes._loaders import PipesCloudFunctionContextLoader, PipesCloudFunctionParamsLoader
from gcf_pipes._pipes_log import use_our_handler
from gcf_pipes._shared.errors import GcfPipesError, PipesCancelledError, PipesMessagesNotStoredError
from gcf_pipes._shared.exceptions import describe_exception
from gcf_pipes._shared.protocol import (
    CHUNK_COUNT_HEADER,
    STORAGE_HEADER,
    ClosedResponse,
    Usage,
)
from gcf_pipes._stdio import ForwardedOutput
from werkzeug.exceptions import InternalServerError

from tests.faults.plan import INSTANCE_DIED, NO_INSTANCE_429, NO_INSTANCE_500, platform_error
from tests.many.channel import LoopChannel, LoopMessageWriter
from tests.many.events import Event, InstanceDiedError, InstanceFrozenError, key_of, run
from tests.many.figures import Figures, WireRequest
from tests.many.http_messages import Request, Response, json_response
from tests.many.options import Options
from tests.many.storage_api import StorageApi

_HTML: Final = "text/html; charset=utf-8"
_PLATFORM_RESPONSES: Final = {each.code: each for each in (NO_INSTANCE_429, NO_INSTANCE_500, INSTANCE_DIED)}


class SimulatedFunction:
    """A function, and the platform that starts its instances.

    Args:
        api: The storage that has the chunks.
        options: How they behave.
        figures: Counts the calls.
    """

    def __init__(self, api: StorageApi, options: Options, figures: Figures) -> None:
        self._options = options
        self._figures = figures
        self._writer = LoopMessageWriter(api, options)
        self._contexts: dict[str, PipesContextData] = {}
        self._deliveries: Counter[str] = Counter()
        self._started = 0

    async def respond(self, request: Request) -> Response:
        """Respond as the platform does: itself, or with the function's response."""
        event = _event(request)
        self._figures.requests.append(WireRequest(time.monotonic(), "POST", str(event.get("key", ""))))
        response = await self._deliver(request, event)
        await _pause(self._options.response_latency)
        self._figures.responses[response.status] += 1
        return response

    async def _deliver(self, request: Request, event: Event) -> Response:
        session = str(event.get(DAGSTER_PIPES_MESSAGES_ENV_VAR))
        self._deliveries[session] += 1
        refusals = event.get("platform", [])
        if self._deliveries[session] <= len(refusals):
            return _platform_response(refusals[self._deliveries[session] - 1])
        if self._figures.running == self._options.max_running:
            return _platform_response(HTTPStatus.TOO_MANY_REQUESTS)
        self._started += 1
        with self._figures.one_more_running():
            cold_start = self._started <= self._options.cold_starts
            await _pause(self._options.cold_start_seconds * cold_start)
            try:
                return await self._serve(request, event, cold_start=cold_start)
            except InstanceDiedError:
                return _platform_response(HTTPStatus.SERVICE_UNAVAILABLE)
            except InstanceFrozenError:
                return await asyncio.Future()

    async def _serve(self, request: Request, event: Event, *, cold_start: bool) -> Response:
        """Serve a request as the entry point does."""
        arrived = time.monotonic()
        http: Any = request  # of Flask's request, the entry point uses the method and the headers
        execution = Execution(Platform(), Trace.from_headers(request.headers), secrets.token_hex(6), cold_start)
        try:
            _check_method(http)
            _check_dagster_side(http)
            self._writer.check_storage(request.headers.get(STORAGE_HEADER))
            deadline = _deadline(http, arrived)
            params = await self._load_params(request.body, str(event.get(DAGSTER_PIPES_CONTEXT_ENV_VAR)))
            messages = params.load_messages_params()
            writer = _Writer(lambda: self._writer.open_channel(messages, deadline), execution, lambda: _usage(arrived))
            await _pause(self._options.storage_latency)  # the claim
            pipes = PipesContext(params, PipesDefaultContextLoader(), writer)
        except GcfPipesError as error:
            refusal: Any = _refusal(error)
            return json_response(*refusal)
        self._figures.sessions[writer.channel.prefix.path] += 1
        response = await self._run(event, pipes, writer)
        headers = {CHUNK_COUNT_HEADER: str(writer.channel.chunk_count), **_this_function().headers}
        return Response(response.status, response.body, {**response.headers, **headers})

    async def _load_params(self, body: bytes, encoded_context: str) -> "_LoadedParams":
        """Load the params and the context. Calls of one step share a context: each is loaded once."""
        params = PipesCloudFunctionParamsLoader(body)
        messages_params = params.load_messages_params()
        if encoded_context not in self._contexts:
            context_params = params.load_context_params()
            if PipesDefaultContextLoader.DIRECT_KEY in context_params:
                context = _load_context(context_params)
            else:  # it reads the context from this server
                context = await asyncio.to_thread(_load_context, context_params)
            self._contexts[encoded_context] = context
        return _LoadedParams({PipesDefaultContextLoader.DIRECT_KEY: self._contexts[encoded_context]}, messages_params)

    async def _run(self, event: Event, pipes: PipesContext, writer: "_Writer") -> Response:
        """Run the user's code, and report its outcome."""
        exception: PipesException | None
        short_response: ClosedResponse | None = None
        try:
            with closing(pipes), writer.forwarding(pipes):
                response = json_response(*await self._execute(event, pipes, writer.channel))
        except (InstanceDiedError, InstanceFrozenError):
            writer.channel.stop()
            raise
        except Exception as error:  # noqa: BLE001 - as the entry point does
            exception, response = describe_exception(error), _crash_response()
        else:
            flask_response: Any = response  # the entry point reads its status, type and body
            exception, short_response = _status_exception(flask_response), closed_response(flask_response, None)
        await _pause(self._options.storage_latency)  # the last chunk
        try:
            writer.close(exception, short_response)
        except PipesMessagesNotStoredError as error:
            return json_response(_error_body(error), error.status)
        return response

    async def _execute(self, event: Event, pipes: PipesContext, channel: LoopChannel) -> tuple[Any, int]:
        """Run the steps of the user's code, and wait between them."""
        executions = self._figures.executions
        executions[key_of(event, pipes)] += 1
        steps = run(event, pipes, executions[key_of(event, pipes)])
        try:
            seconds = next(steps)
            while True:
                await channel.wait(seconds)
                seconds = steps.throw(PipesCancelledError("cancelled")) if channel.cancelled else next(steps)
        except StopIteration as end:
            response: tuple[Any, int] = end.value
            return response


class _Writer(_RequestMessageWriter):
    """The writer of one request. Without Flask, log lines have no labels."""

    channel: LoopChannel

    def forwarding(self, pipes: PipesContext) -> AbstractContextManager[None]:
        use_our_handler(pipes)
        return ForwardedOutput(pipes.log_external_stream, {}) if self._forwards_output else nullcontext()


@dataclass(frozen=True)
class _LoadedParams(PipesParamsLoader):
    """The params of a call."""

    context_params: PipesParams
    messages_params: PipesParams

    def is_dagster_pipes_process(self) -> bool:
        return True

    def load_context_params(self) -> PipesParams:
        return self.context_params

    def load_messages_params(self) -> PipesParams:
        return self.messages_params


def _load_context(params: PipesParams) -> PipesContextData:
    with PipesCloudFunctionContextLoader().load_context(params) as context:
        return context


async def _pause(seconds: float) -> None:
    if seconds:
        await asyncio.sleep(seconds)


def _event(request: Request) -> Event:
    event: Any = {}
    with suppress(ValueError):  # the function refuses it
        event = json.loads(request.body)
    return cast("Event", event if isinstance(event, dict) else {})


def _usage(arrived: float) -> Usage:
    """Return what a call uses: its own time, and constants, because all calls share this process."""
    return Usage(
        wall_seconds=round(time.monotonic() - arrived, 6), cpu_seconds=0.01, peak_memory_bytes=64 * 1024 * 1024
    )


def _crash_response() -> Response:
    """Return what functions-framework responds after an exception."""
    handler: Any = crash_handler
    text, status, headers = handler(InternalServerError())
    return Response(status, text.encode(), {"Content-Type": _HTML, **headers})


def _platform_response(status: int) -> Response:
    known = _PLATFORM_RESPONSES.get(status) or platform_error(status, HTTPStatus(status).phrase)
    return Response(status, known.body, dict(known.headers))
