"""The Flask entrypoint: one HTTP request is one Pipes session."""

import functools
import logging
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Final, overload

from dagster_pipes import (
    PipesBlobStoreMessageWriter,
    PipesContext,
    PipesContextLoader,
    PipesExtras,
    PipesMessageWriter,
    PipesParams,
)

from gcf_pipes._admission import BUCKETS_VARIABLE, KEY_PREFIX_VARIABLE, Admission
from gcf_pipes._context_loader import PipesCloudFunctionContextLoader
from gcf_pipes._current_request import CurrentRequest, current_request
from gcf_pipes._errors import GcfPipesError, PipesDuplicateCallError, PipesMessagesNotStoredError, PipesRequestError
from gcf_pipes._execution import Execution, Process
from gcf_pipes._forwarding import ForwardedOutput
from gcf_pipes._message_writer import PipesCloudStorageMessageWriter, PipesCloudStorageMessageWriterChannel
from gcf_pipes._params_loader import PipesCloudFunctionParamsLoader
from gcf_pipes._protocol import CHUNK_COUNT_HEADER, ERROR_HEADER, TIMEOUT_HEADER, OpenedExtras
from gcf_pipes._storage import import_library
from gcf_pipes._structured_logs import begin_request_logs, begin_run_logs

if TYPE_CHECKING:
    import flask
    from flask.typing import ResponseReturnValue

    PipesFunction = Callable[[flask.Request, PipesContext], ResponseReturnValue | None]
    HttpFunction = Callable[[flask.Request], ResponseReturnValue]

FLUSH_RESERVE: Final = 10.0
"""Seconds before its timeout at which a run must end so that its last messages can be stored, or a tenth."""

_logger = logging.getLogger("gcf_pipes")


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

    The decorated function takes a `flask.Request` and a `dagster_pipes.PipesContext` and returns what a Flask view may
    return; None becomes an empty 204. It is called once a request, after the session has been claimed; its messages
    are stored before the response leaves. What it raises is reported to Dagster and then raised again, so that
    functions-framework logs it and answers as it always does.

    A call that is refused before the function runs gets the status and code of the error, see `gcf_pipes`, as
    `{"error": {"code": ..., "message": ...}}`, and the same text in the function's log.

    On Cloud Run, stdlib logging prints structured lines: with severity, the request's trace, the execution id and
    Dagster's run, job, asset and partition as labels. `pipes.log` prints such lines too, beside what it sends to
    Dagster.

    If Dagster asks for it (`forward_logs` of the resource), what the function prints also reaches Dagster: `print`,
    stdlib logging, warnings, and the traceback of what it raises. That is the output of the request's own thread and of
    what runs in a copy of its context: asyncio tasks do, threads do by `contextvars.copy_context().run`. Child
    processes and what writes to the file descriptors is not seen.

    Usable bare or with arguments:

        @pipes_function
        def main(request, pipes): ...

        @pipes_function(message_writer=PipesCloudStorageMessageWriter(flush_interval=1))
        def main(request, pipes): ...

    Args:
        function: The function to decorate.
        context_loader: Loads the context. Default: from the request or, if the request names one, from a bucket.
        message_writer: Writes the messages. Default: `PipesCloudStorageMessageWriter()`.
    """
    _warn_if_any_bucket_may_be_named()
    process = Process()
    loader = context_loader or PipesCloudFunctionContextLoader()
    writer = message_writer or PipesCloudStorageMessageWriter()
    import_library()  # when the instance starts: it takes half a second, which the first request would have to wait

    def decorate(function: "PipesFunction") -> "HttpFunction":
        @functools.wraps(function)
        def handle(request: "flask.Request") -> "ResponseReturnValue":
            execution = process.begin_execution(request.headers)
            begin_request_logs(execution)
            try:
                _check_method(request)
                request_writer = _RequestMessageWriter(writer, execution, _run_timeout(request))
                params = PipesCloudFunctionParamsLoader(request.get_data())
                writer.locate(params.load_messages_params())  # small: what names a wrong place is parsed no further
                pipes = PipesContext(params, loader, request_writer)
            except GcfPipesError as error:
                return _refusal(error)
            _send_chunk_count_with_response(request_writer)
            labels = begin_run_logs(pipes, execution)
            forwarding = _forwarding(pipes, request_writer, labels)
            with current_request(CurrentRequest(execution, request_writer.channel)):
                return _run(function, request, pipes, forwarding)

        return handle

    return decorate(function) if function else decorate


def _forwarding(
    pipes: PipesContext, writer: "_RequestMessageWriter", labels: dict[str, str]
) -> AbstractContextManager[None]:
    return ForwardedOutput(pipes.log_external_stream, labels) if writer.forwards_output else nullcontext()


def _run(
    function: "PipesFunction",
    request: "flask.Request",
    pipes: PipesContext,
    forwarding: AbstractContextManager[None],
) -> "ResponseReturnValue":
    try:
        with pipes, forwarding:  # nothing is forwarded any more when the session closes
            return _complete_response(function(request, pipes))
    except PipesMessagesNotStoredError as error:
        _logger.exception("[pipes] messages of run %s are lost", pipes.run_id)
        return _error_body(error), error.status
    except SystemExit as error:  # it would end a thread of the server, and leave the call without an answer
        raise RuntimeError(f"The function called sys.exit({error.code!r}).") from error


class _RequestMessageWriter(PipesMessageWriter[PipesCloudStorageMessageWriterChannel]):
    """Opens the process's writer for one request, and keeps hold of that request's channel."""

    channel: PipesCloudStorageMessageWriterChannel
    forwards_output: bool

    def __init__(self, writer: PipesCloudStorageMessageWriter, execution: Execution, timeout: float | None) -> None:
        self._writer = writer
        self._execution = execution
        self._timeout = timeout

    @contextmanager
    def open(self, params: PipesParams) -> Iterator[PipesCloudStorageMessageWriterChannel]:
        with self._writer.open_channel(params, timeout=self._timeout) as self.channel:
            self.forwards_output = bool(params.get(PipesBlobStoreMessageWriter.INCLUDE_STDIO_IN_MESSAGES_KEY))
            yield self.channel

    def get_opened_extras(self) -> PipesExtras:
        request = OpenedExtras(closes_with_request=True)
        return {**self._writer.get_opened_extras(), **self._execution.opened_extras, **request}


def _warn_if_any_bucket_may_be_named() -> None:
    if Admission.from_environment().buckets is None:
        _logger.warning(
            "[pipes] %s is not set: calls may name any bucket that this function can reach. Set it to the bucket of "
            "your Dagster resource, and %s to its key prefix.",
            BUCKETS_VARIABLE,
            KEY_PREFIX_VARIABLE,
        )


def _check_method(request: "flask.Request") -> None:
    if request.method != "POST":
        raise PipesRequestError(f"Expected the HTTP method POST, got {request.method[:100]!r}.")


def _run_timeout(request: "flask.Request") -> float | None:
    """Return how long the run may take: the timeout that the request names, less what the last flush needs."""
    header = request.headers.get(TIMEOUT_HEADER)
    if header is None:
        return None
    if not re.fullmatch(r"[1-9][0-9]{0,5}", header):
        raise PipesRequestError(f"Expected the header {TIMEOUT_HEADER} to be whole seconds, got {header[:100]!r}.")
    timeout = int(header)
    return timeout - min(FLUSH_RESERVE, timeout / 10)


def _refusal(error: GcfPipesError) -> "ResponseReturnValue":
    _logger.error("[pipes] call refused: %s: %s", error.code, error, exc_info=error.__cause__)
    headers = {ERROR_HEADER: error.code}
    if not isinstance(
        error, PipesDuplicateCallError
    ):  # of a session that another call has claimed, nothing is known here
        headers[CHUNK_COUNT_HEADER] = "0"
    return _error_body(error), error.status, headers


def _error_body(error: GcfPipesError) -> "dict[str, Any]":
    return {"error": {"code": error.code, "message": str(error)}}


def _send_chunk_count_with_response(writer: _RequestMessageWriter) -> None:
    """Add the header to whatever response ends this request, an error's as well."""
    import flask  # noqa: PLC0415 - only a deployed function has Flask

    @flask.after_this_request
    def add_header(response: "flask.Response") -> "flask.Response":
        response.headers[CHUNK_COUNT_HEADER] = str(writer.channel.chunk_count)
        return response


def _complete_response(result: "ResponseReturnValue | None") -> "flask.Response":
    """Build the response while the session is open, so that one that cannot be built fails the session too."""
    import flask  # noqa: PLC0415 - only a deployed function has Flask

    response = flask.make_response(("", 204) if result is None else result)
    response.make_sequence()
    return response
