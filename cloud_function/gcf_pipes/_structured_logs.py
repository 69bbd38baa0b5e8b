"""Structured log lines, so that Cloud Logging finds a line by trace, execution, Dagster run, job, asset and partition.

On Cloud Run, stdlib logging prints one JSON object per line. Its `message` is the handler's usual text with the
traceback, which Error Reporting looks for. `print` does not change; functions-framework labels its lines with the
execution id if `LOG_EXECUTION_ID` is set. Outside Cloud Run nothing changes.

Sources: https://cloud.google.com/logging/docs/structured-logging (the special fields),
    https://cloud.google.com/error-reporting/docs/formatting-error-messages (`message` with a stack trace)
"""

import json
import logging
import sys
from typing import TYPE_CHECKING, Any, Final

from dagster_pipes import PipesContext

from gcf_pipes._execution import Execution, Platform
from gcf_pipes._pipes_log import use_our_handler
from gcf_pipes._shared.log_levels import standard_level
from gcf_pipes._stdio import LABELS_FIELD, not_forwarded

if TYPE_CHECKING:
    from collections.abc import Iterator

TRACE_FIELD: Final = "logging.googleapis.com/trace"
SPECIAL_PREFIX: Final = "logging.googleapis.com/"
_TIME_FIELDS: Final = frozenset({"time", "timestamp", "timestampSeconds", "timestampNanos"})
_HARMLESS_SPECIAL_FIELDS: Final = frozenset({LABELS_FIELD, "logging.googleapis.com/sourceLocation"})
MAX_LABEL: Final = 1024
"""Characters of a label. It is on every line, and a step may have hundreds of assets."""

_OUR_LABELS: Final = frozenset({"execution_id", "dagster_run_id", "dagster_job", "dagster_asset", "dagster_partition"})
_FIELDS: Final = "gcf_pipes_log_fields"


def label_request_logs(execution: Execution) -> None:
    """Label log lines from now until the end of the request, including Flask's log of an exception."""
    import flask

    setattr(flask.g, _FIELDS, {**_trace_field(execution), LABELS_FIELD: _execution_labels(execution)})
    if _is_structured(execution.platform):
        _structure_log_lines()


def label_run_logs(pipes: PipesContext, execution: Execution) -> dict[str, str]:
    """Add labels of Dagster's run to log lines from now on, and let `pipes.log` print too.

    Returns:
        All the labels.
    """
    labels: dict[str, str] = _request_fields()[LABELS_FIELD]
    labels.update(_run_labels(pipes))
    use_our_handler(pipes)
    if _is_structured(execution.platform):
        pipes.log.addHandler(_pipes_log_handler())
    return labels


def request_log_fields() -> dict[str, Any]:
    """Return the special fields of the current request's log lines, without the labels of Dagster's run."""
    fields = _request_fields() if "flask" in sys.modules else {}
    return {**fields, LABELS_FIELD: {**fields[LABELS_FIELD]}} if fields else {}


class StructuredFormatter(logging.Formatter):
    """Turns the output of another formatter into a structured log line of the current request.

    Args:
        inner: Formats the message with its traceback. A JSON object keeps its fields, except those by which Cloud
            Logging finds, dates, groups and drops lines: callers who can make the function log a text must not choose
            them. Special fields that are kept: `message`, `httpRequest`, `logging.googleapis.com/sourceLocation`, and
            labels in `logging.googleapis.com/labels` except ours. Replaced: `severity`, by the record's. Dropped:
            `time`, `timestamp`, `timestampSeconds`, `timestampNanos`, and all others that start with
            `logging.googleapis.com/`.
    """

    def __init__(self, inner: logging.Formatter | None = None) -> None:
        super().__init__()
        self._inner = inner or logging.Formatter()

    def format(self, record: logging.LogRecord) -> str:
        """Format a record as one line of JSON."""
        entry = _as_object(self._inner.format(record))
        labels = {name: value for name, value in entry.pop(LABELS_FIELD, {}).items() if name not in _OUR_LABELS}
        fields = _request_fields()
        ours = {"severity": standard_level(record.levelno), **fields}
        return json.dumps({**entry, **ours, LABELS_FIELD: {**labels, **fields.get(LABELS_FIELD, {})}}, default=str)


class _PipesLogHandler(logging.StreamHandler):  # type: ignore[type-arg]  # it takes none in Python 3.10
    """Prints records of `pipes.log` without forwarding them: Dagster has them already."""

    def emit(self, record: logging.LogRecord) -> None:
        with not_forwarded():
            super().emit(record)


def _pipes_log_handler() -> logging.Handler:
    handler = _PipesLogHandler(sys.__stderr__)
    handler.setFormatter(StructuredFormatter())
    return handler


def _structure_log_lines() -> None:
    """Give each current handler that prints a formatter that wraps its own."""
    from werkzeug.local import LocalProxy

    for handler in _printing_handlers():
        if not isinstance(handler.formatter, StructuredFormatter):
            handler.setFormatter(StructuredFormatter(handler.formatter))
            if type(handler.stream) is LocalProxy:
                # a proxy of the request's `wsgi.errors`, where functions-framework writes a line and its end apart,
                # so that the lines of concurrent requests mix
                handler.setStream(sys.__stderr__)


def _printing_handlers() -> "Iterator[logging.StreamHandler[Any]]":
    from flask.logging import default_handler

    for handler in (*logging.getLogger().handlers, logging.lastResort, default_handler):
        if not isinstance(handler, logging.StreamHandler) or isinstance(handler, logging.FileHandler):
            continue
        # a handler with its own `format`, such as google-cloud-logging's, prints a structure of its own
        if type(handler).format is logging.Handler.format:
            yield handler


def _is_structured(platform: Platform) -> bool:
    return platform.service is not None


def _request_fields() -> dict[str, Any]:
    import flask

    fields: dict[str, Any] = flask.g.get(_FIELDS, {}) if flask.has_app_context() else {}
    return fields


def _trace_field(execution: Execution) -> dict[str, str]:
    if not execution.trace or not execution.platform.project_id:
        return {}
    return {TRACE_FIELD: f"projects/{execution.platform.project_id}/traces/{execution.trace.trace_id}"}


def _execution_labels(execution: Execution) -> dict[str, str]:
    return {"execution_id": execution.execution_id} if execution.execution_id else {}


def _run_labels(pipes: PipesContext) -> dict[str, str]:
    labels = {"dagster_run_id": pipes.run_id}
    if pipes.job_name:
        labels["dagster_job"] = pipes.job_name
    if pipes.is_asset_step:
        labels["dagster_asset"] = ",".join(map(str, pipes.asset_keys))
    if pipes.is_partition_step:
        start, end = (pipes.partition_key_range.get(bound) for bound in ("start", "end"))
        labels["dagster_partition"] = f"{start}" if start == end else f"{start}...{end}"
    return {name: value[:MAX_LABEL] for name, value in labels.items()}


def _as_object(text: str) -> dict[str, Any]:
    if text.startswith("{"):
        try:
            entry = json.loads(text)
        except (ValueError, RecursionError):
            return {"message": text}
        if isinstance(entry.get(LABELS_FIELD, {}), dict):
            return {name: value for name, value in entry.items() if _is_harmless(name)}
    return {"message": text}


def _is_harmless(field: str) -> bool:
    return field in _HARMLESS_SPECIAL_FIELDS or not (field in _TIME_FIELDS or field.startswith(SPECIAL_PREFIX))
