"""The Flask entrypoint: one HTTP request is one Pipes session."""

import functools
import inspect
import logging
import os
import re
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Final, NoReturn, overload

from dagster_pipes import (
    PipesBlobStoreMessageWriter,
    PipesContext,
    PipesContextLoader,
    PipesException,
    PipesExtras,
    PipesMessage,
    PipesMessageWriter,
    PipesMessageWriterChannel,
    PipesParams,
)

from gcf_pipes._allowed_locations import AllowedLocations
from gcf_pipes._cancellation import CallDeadline
from gcf_pipes._channel import SessionChannel
from gcf_pipes._closed_response import closed_response
from gcf_pipes._current_request import CurrentRequest, current_request
from gcf_pipes._encoding import make_message
from gcf_pipes._execution import Execution, Process
from gcf_pipes._loaders import PipesCloudFunctionContextLoader, PipesCloudFunctionParamsLoader
from gcf_pipes._logging_channel import PipesCloudLoggingMessageWriter, session_id
from gcf_pipes._response_channel import ResponseChannel, stream_response
from gcf_pipes._shared.errors import (
    GcfPipesError,
    PipesDuplicateCallError,
    PipesMessagesNotStoredError,
    PipesRequestError,
)
from gcf_pipes._shared.exceptions import (
    bound_exception,
    describe_exception,
    describe_status,
    format_exception,
    is_describable,
)
from gcf_pipes._shared.halves import Half, capability_problem, protocol_problem
from gcf_pipes._shared.in_process import ENTRY_POINT_ATTRIBUTE, in_process_request
from gcf_pipes._shared.json_validation import excerpt
from gcf_pipes._shared.own_logs import log
from gcf_pipes._shared.protocol import (
    BUCKETS_VARIABLE,
    CAPABILITIES,
    CHANNEL_PARAM,
    CHUNK_COUNT_HEADER,
    ERROR_HEADER,
    KEY_PREFIX_VARIABLE,
    LOGGING_CHANNEL,
    PARTITIONS_PARAM,
    PROTOCOL_HEADER,
    RESPONSE_CHANNEL,
    RESPONSE_PARAM,
    STORAGE_HEADER,
    TIMEOUT_HEADER,
    USAGE_PARAM,
    VERSION_HEADER,
    ClosedResponse,
    OpenedExtras,
    Usage,
)
from gcf_pipes._shared.storage import import_library
from gcf_pipes._stdio import ForwardedOutput, remember_streams
from gcf_pipes._structured_logs import label_request_logs, label_run_logs
from gcf_pipes._writer import PipesCloudStorageMessageWriter

if TYPE_CHECKING:
    import flask
    from flask.typing import ResponseReturnValue

    PipesFunction = Callable[[flask.Request, PipesContext], ResponseReturnValue | None]
    HttpFunction = Callable[[flask.Request], ResponseReturnValue]

MAX_BODY_SHOWN: Final = 1000
"""Characters that Dagster shows of a response that is not 2xx."""


@overload
def pipes_function(function: "PipesFunction") -> "HttpFunction": ...


@overload
def pipes_function(
    *,
    context_loader: PipesContextLoader | None = None,
    message_writer: PipesCloudStorageMessageWriter | None = None,
) -> "Callable[[PipesFunction], HttpFunction]": ...


def pipes_function(
    function: "PipesFunction | None" = None,
    *,
    context_loader: PipesContextLoader | None = None,
    message_writer: PipesCloudStorageMessageWriter | None = None,
) -> Any:
    """Make a function with a Pipes context the HTTP entry point of a cloud function.

    The decorated function takes a `flask.Request` and a `dagster_pipes.PipesContext`. It returns any value that a Flask
    view may return; None becomes an empty 204. It is called once per request, after the call has claimed its session.
    Its messages are stored before the response is sent.

    Dagster learns the outcome after the function has returned or raised, even if the function closes its context
    itself. An exception is reported to Dagster and raised again, so functions-framework logs it and returns a 500. A
    `BaseException` (`KeyboardInterrupt`, `asyncio.CancelledError`, ...) also becomes a 500 and does not stop the
    server. A response that is not 2xx is reported as an exception and reaches the caller unchanged. Threads that
    outlive the function cannot send messages: their Pipes calls raise `DagsterPipesError`.

    Pipes calls in a forked child process raise `DagsterPipesError`. Its output is not forwarded, and it exits when it
    leaves the function's code.

    A call that is refused before the function runs gets the error's status, and `{"error": {"code": ...,
    "message": ...}}` as its body. The function's log has the same text.

    The time, the CPU and the peak memory of each request are measured, and reported with its outcome.

    On Cloud Run, stdlib logging prints structured lines. Each has the severity, the request's trace, and as labels the
    execution id and Dagster's run, job, asset and partition. `pipes.log` prints such lines in addition to what it sends
    to Dagster.

    If Dagster asks for it (`forward_logs` of the resource), the function's output also reaches Dagster: `print`, stdlib
    logging, warnings, and the traceback of an exception. This covers the request's thread and all code in a copy of its
    context, for example asyncio tasks, or threads that use `contextvars.copy_context().run`. It does not cover child
    processes and direct writes to file descriptors. `print` never waits and never fails: output that cannot be stored
    fast enough is dropped, and a warning says how much.

    Use it bare or with arguments::

        @pipes_function
        def main(request, pipes): ...

        @pipes_function(message_writer=PipesCloudStorageMessageWriter(flush_interval=1))
        def main(request, pipes): ...

    Args:
        function: The function to decorate.
        context_loader: Loads the context. Default: from the request or, if the request names one, from a bucket.
        message_writer: Writes the messages. Default: `PipesCloudStorageMessageWriter()`.

    Raises:
        TypeError: The function does not take two arguments, or is an `async def`.
    """
    _warn_if_any_bucket_may_be_named()
    _describe_function_with_every_response()
    process = Process()
    remember_streams()
    loader = context_loader or PipesCloudFunctionContextLoader()
    own_writer = message_writer or PipesCloudStorageMessageWriter()
    import_library()  # it takes half a second, which the first request would have to wait

    def decorate(function: "PipesFunction") -> "HttpFunction":
        _check_signature(function)

        @functools.wraps(function)
        def handle(request: "flask.Request") -> "ResponseReturnValue":
            arrived = time.monotonic()
            with ExitStack() as scope:
                scope.enter_context(_exceptions_only())
                get_usage = scope.enter_context(process.meter.measuring())
                execution = process.describe_request(request.headers)
                label_request_logs(execution)
                try:
                    _check_method(request)
                    _check_dagster_side(request)
                    deadline = _deadline(request, arrived)
                    params = PipesCloudFunctionParamsLoader(request.get_data())
                    open_channel = _channel_opener(request, params, _writer_for_test(own_writer))
                    writer = _RequestMessageWriter(lambda: open_channel(deadline), execution, get_usage)
                    pipes = PipesContext(params, loader, writer)
                except GcfPipesError as error:
                    return _refusal(error)

                def serve() -> "ResponseReturnValue":
                    with current_request(CurrentRequest(execution, writer.channel)):
                        return _serve(function, request, pipes, writer)

                _describe_response(writer.channel)
                if isinstance(writer.channel, ResponseChannel):
                    return stream_response(writer.channel, scope.pop_all(), serve)
                return serve()

        setattr(handle, ENTRY_POINT_ATTRIBUTE, True)
        return handle

    return decorate(function) if function else decorate


def _writer_for_test(own: PipesCloudStorageMessageWriter) -> PipesCloudStorageMessageWriter:
    """Return the writer of a test that serves the request in process, or the entry point's own."""
    test = in_process_request()
    if test is None:
        return own
    test.reached = True
    return test.message_writer or own


def _channel_opener(
    request: "flask.Request", params: PipesCloudFunctionParamsLoader, writer: PipesCloudStorageMessageWriter
) -> "Callable[[CallDeadline], SessionChannel]":
    """Return what opens the channel of a request, before the large context is parsed.

    Raises:
        PipesRequestError: The function cannot send its messages where Dagster expects them.
    """
    messages = params.load_messages_params()
    channel = messages.get(CHANNEL_PARAM)
    if channel == RESPONSE_CHANNEL:
        return lambda deadline: ResponseChannel(deadline, takes_partitions=bool(messages.get(PARTITIONS_PARAM)))
    if channel == LOGGING_CHANNEL:
        session_id(messages)
        return lambda deadline: PipesCloudLoggingMessageWriter().open_channel(messages, deadline)
    if channel is not None:
        raise PipesRequestError(
            f"Expected {CHANNEL_PARAM!r} in the messages params to be {RESPONSE_CHANNEL!r} or {LOGGING_CHANNEL!r}, or "
            f"none for a bucket, got {excerpt(channel)}."
        )
    writer.check_storage(request.headers.get(STORAGE_HEADER))
    writer.session_prefix(messages)
    return lambda deadline: writer.open_channel(messages, deadline)


def _serve(
    function: "PipesFunction",
    request: "flask.Request",
    pipes: PipesContext,
    writer: "_RequestMessageWriter",
) -> "ResponseReturnValue":
    try:
        try:
            with closing(pipes), writer.forwarding(pipes), _parent_only():
                response = _complete_response(function(request, pipes))
                in_closed = closed_response(response, writer.channel.response_room)
        except BaseException as error:
            if test := in_process_request():
                test.error = error
            writer.close(describe_exception(error))
            raise
        writer.close(_status_exception(response), in_closed)
    except PipesMessagesNotStoredError as error:
        log(logging.ERROR, "[pipes] messages of run %s could not be stored", pipes.run_id, cause=error)
        return _error_body(error), error.status
    return response


class _RequestMessageWriter(PipesMessageWriter[PipesMessageWriterChannel]):
    """Opens the channel of one request, and closes it with the function's outcome."""

    channel: SessionChannel

    def __init__(
        self, open_channel: Callable[[], SessionChannel], execution: Execution, get_usage: Callable[[], Usage]
    ) -> None:
        self._open_channel = open_channel
        self._execution = execution
        self._get_usage = get_usage

    @contextmanager
    def open(self, params: PipesParams) -> Iterator["_UserChannel"]:
        self.channel = self._open_channel()
        self._forwards_output = bool(params.get(PipesBlobStoreMessageWriter.INCLUDE_STDIO_IN_MESSAGES_KEY))
        self._user_channel = _UserChannel(self.channel)
        yield self._user_channel

    def get_opened_extras(self) -> PipesExtras:
        request = OpenedExtras(
            delivery_id=uuid.uuid4().hex,
            heartbeat_interval=self.channel.heartbeat_interval,
            closes_with_request=True,
        )
        return {**self._execution.opened_extras, **_this_function().opened_extras, **request}

    def forwarding(self, pipes: PipesContext) -> AbstractContextManager[None]:
        """Label log lines with the run, and forward the function's output if Dagster asks for it."""
        labels = label_run_logs(pipes, self._execution)
        return ForwardedOutput(pipes.log_external_stream, labels) if self._forwards_output else nullcontext()

    def close(self, exception: PipesException | None, response: ClosedResponse | None = None) -> None:
        """Report the outcome to Dagster with what the request used, and store the last messages.

        Args:
            exception: The exception with which the function failed.
            response: The response of a function that succeeded, if `closed` has it.

        Raises:
            PipesMessagesNotStoredError: Messages could not be stored.
        """
        exception = exception or self._user_channel.exception
        outcome: dict[str, object] = {}
        if exception:
            outcome = {"exception": exception}
        elif response:
            outcome = {RESPONSE_PARAM: response}
        try:
            self.channel.write_message(make_message("closed", {**outcome, USAGE_PARAM: self._get_usage()}))
        finally:
            self.channel.close()


class _UserChannel(PipesMessageWriterChannel):
    """The channel of the function's context, which may be closed before the outcome is known.

    Attributes:
        reported_partitions: As in the channel.
        exception: The exception with which the function's code closed its context.
    """

    def __init__(self, channel: SessionChannel) -> None:
        self._channel = channel
        self.reported_partitions = channel.reported_partitions
        self.exception: PipesException | None = None

    def write_message(self, message: PipesMessage) -> None:
        if message["method"] == "closed":
            params = message["params"] or {}
            self.exception = bound_exception(params["exception"]) if "exception" in params else None
        else:
            self._channel.write_message(message)


@contextmanager
def _exceptions_only() -> Iterator[None]:
    """Replace what the server cannot handle by a `RuntimeError`.

    A `BaseException` would stop the server's process and break its other requests. The server would not respond to a
    request whose exception it cannot log.
    """
    try:
        yield
    except Exception as error:
        if is_describable(error):
            raise
        raise RuntimeError(f"The function raised {format_exception(error)}") from None
    except SystemExit as error:
        raise RuntimeError(f"The function called sys.exit({error.code!r}).") from error
    except BaseException as error:
        raise RuntimeError(f"The function raised {type(error).__name__}, which is not an Exception.") from error


@contextmanager
def _parent_only() -> Iterator[None]:
    """Exit from a forked child that leaves the function's code: only its parent responds to the request."""
    process_id = os.getpid()
    try:
        yield
    except BaseException as error:
        if os.getpid() != process_id:
            _exit(error)
        raise
    if os.getpid() != process_id:
        _exit(None)


def _exit(error: BaseException | None) -> NoReturn:
    """Exit as Python would with that error, but without the exit handlers of the parent."""
    status = 1 if error else 0
    try:
        if isinstance(error, SystemExit) and (error.code is None or isinstance(error.code, int)):
            status = error.code or 0
        elif error:
            sys.stderr.write(f"{error.code}\n" if isinstance(error, SystemExit) else format_exception(error))
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(status)


def _check_signature(function: object) -> None:
    """Refuse, when the instance starts, a function that would fail at every call."""
    name = getattr(function, "__name__", type(function).__name__)
    expected = f"Expected a function with two parameters, `def {name}(request, pipes)`"
    if not callable(function):
        raise TypeError(f"{expected}, got {function!r:.100}.")
    for code in (function, type(function).__call__):
        if inspect.iscoroutinefunction(code) or inspect.isasyncgenfunction(code):
            raise TypeError(f"{expected}, got an `async def`.\nFix: Call `asyncio.run` in a plain function.")
    try:
        signature = inspect.signature(function)
    except ValueError:  # some functions in C have none
        return
    try:
        signature.bind(object(), object())
    except TypeError as error:
        raise TypeError(f"{expected}, got `def {name}{signature}`.") from error


def _warn_if_any_bucket_may_be_named() -> None:
    if AllowedLocations.from_environment().buckets is None:
        log(
            logging.WARNING,
            "[pipes] %s is not set: calls may name any bucket that this function can reach.\nFix: Set it to the "
            "bucket of your Dagster resource, and %s to its key prefix.",
            BUCKETS_VARIABLE,
            KEY_PREFIX_VARIABLE,
        )


def _this_function() -> Half:
    return Half.ours(CAPABILITIES)


def _describe_function_with_every_response() -> None:
    """Add the headers to the responses in which no function takes part, such as the 404 for /robots.txt.

    functions-framework imports the function's module in the context of its application. `dagster-gcf-pipes doctor`
    reads the headers of such a response, because it must not run the user's code.
    """
    flask: Any = sys.modules.get("flask")  # without it there is no application
    if flask and flask.has_app_context() and not flask.has_request_context():

        @flask.current_app.after_request  # type: ignore[untyped-decorator]  # not imported for this
        def add_headers(response: "flask.Response") -> "flask.Response":
            response.headers.update(_this_function().headers)
            return response


def _check_method(request: "flask.Request") -> None:
    if request.method != "POST":
        raise PipesRequestError(f"Expected the HTTP method POST, got {excerpt(request.method)}.")


def _check_dagster_side(request: "flask.Request") -> None:
    """Refuse a call of a version that cannot work with this one, or that needs what this one does not have."""
    header = request.headers.get(PROTOCOL_HEADER)
    if header is None:  # another caller, or a proxy removed it: Dagster also checks `opened`
        return
    dagster, function = Half.parse(header, request.headers.get(VERSION_HEADER)), _this_function()
    if dagster is None:
        raise PipesRequestError(
            f"Expected the header {PROTOCOL_HEADER} to be like {function.protocol_text!r}, got {excerpt(header)}."
        )
    problem = protocol_problem(function=function, dagster=dagster)
    if problem := problem or capability_problem(function=function, dagster=dagster):
        raise PipesRequestError(problem)


def _deadline(request: "flask.Request", arrived: float) -> CallDeadline:
    header = request.headers.get(TIMEOUT_HEADER)
    if header is None:
        return CallDeadline(None, arrived)
    if not re.fullmatch(r"[1-9][0-9]{0,5}", header):
        raise PipesRequestError(f"Expected the header {TIMEOUT_HEADER} to be whole seconds, got {excerpt(header)}.")
    return CallDeadline(int(header), arrived)


def _refusal(error: GcfPipesError) -> "ResponseReturnValue":
    log(logging.ERROR, "[pipes] call refused: %s: %s", error.code, error, cause=error.__cause__)
    headers = {ERROR_HEADER: error.code, **_this_function().headers}
    if not isinstance(error, PipesDuplicateCallError):  # the chunks of its session belong to another delivery
        headers[CHUNK_COUNT_HEADER] = "0"
    return _error_body(error), error.status, headers


def _error_body(error: GcfPipesError) -> "dict[str, Any]":
    return {"error": {"code": error.code, "message": str(error)}}


def _describe_response(channel: SessionChannel) -> None:
    """Add the headers to any response of this request, errors too. The chunk count says that the user's code has run.

    Remove the error header, which the function may have copied from another function's response.
    """
    import flask

    @flask.after_this_request
    def add_headers(response: "flask.Response") -> "flask.Response":
        if channel.chunk_count is not None:
            response.headers[CHUNK_COUNT_HEADER] = str(channel.chunk_count)
        response.headers.update(_this_function().headers)
        response.headers.pop(ERROR_HEADER, None)
        return response


def _complete_response(result: "ResponseReturnValue | None") -> "flask.Response":
    """Build the response while the session is open, so that an invalid response fails the session too."""
    import flask

    response = flask.make_response(("", 204) if result is None else result)
    response.make_sequence()
    return response


def _status_exception(response: "flask.Response") -> PipesException | None:
    if response.status_code in range(200, 300):
        return None
    body = response.get_data()[: 4 * MAX_BODY_SHOWN].decode("utf-8", errors="replace")  # at most 4 bytes per character
    return describe_status(response.status_code, body[:MAX_BODY_SHOWN])
