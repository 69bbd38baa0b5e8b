"""What an entry point did: its response, and what it reported."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

from dagster_pipes import PIPES_METADATA_TYPE_INFER, PipesMessage

from dagster_gcf_pipes._messages.parser import partition_report

if TYPE_CHECKING:
    from werkzeug.test import TestResponse


class LogLine(NamedTuple):
    """A line of `pipes.log`.

    Attributes:
        level: "DEBUG", "INFO", "WARNING", "ERROR" or "CRITICAL".
        message: Its text.
    """

    level: str
    message: str


@dataclass(frozen=True)
class ReportedMaterialization:
    """What `pipes.report_asset_materialization` or `gcf_pipes.report_partition_materialization` reported.

    Attributes:
        metadata: As the function passed it.
        data_version: The data version, or None.
    """

    metadata: Mapping[str, Any]
    data_version: str | None


@dataclass(frozen=True)
class ReportedCheck:
    """What `pipes.report_asset_check` reported.

    Attributes:
        passed: Whether the check passed.
        severity: "WARN" or "ERROR".
        metadata: As the function passed it.
    """

    passed: bool
    severity: str
    metadata: Mapping[str, Any]


@dataclass(frozen=True)
class InvocationResult:
    """What an entry point did.

    Attributes:
        response: Its response. An exception makes it a 500.
        succeeded: Whether Dagster would show a success: the function raised nothing, did not close its context with an
            exception, and returned 2xx.
        error: The exception that the function raised, or None.
        logs: The lines of `pipes.log`.
        materializations: The reported materializations, by asset key.
        partition_materializations: The partitions of a range that were reported one by one, by asset key and partition.
        checks: The reported checks, by asset key and check name.
        custom_messages: The payloads of `pipes.report_custom_message`.
        stdout: What it printed, as `forward_logs` shows it in Dagster.
        stderr: The same of stderr, with the traceback of the exception.
    """

    response: "TestResponse"
    succeeded: bool
    error: BaseException | None
    logs: Sequence[LogLine]
    materializations: Mapping[str, ReportedMaterialization]
    partition_materializations: Mapping[tuple[str, str], ReportedMaterialization]
    checks: Mapping[tuple[str, str], ReportedCheck]
    custom_messages: Sequence[Any]
    stdout: str
    stderr: str


def read_result(
    response: "TestResponse", error: BaseException | None, messages: Sequence[PipesMessage]
) -> InvocationResult:
    """Return what the messages of a session say.

    Args:
        response: The function's response.
        error: What the function raised, or None.
        messages: The messages, in order.
    """

    def params_of(method: str) -> list[Mapping[str, Any]]:
        return [message["params"] or {} for message in messages if message["method"] == method]

    def printed(stream: str) -> str:
        return "".join(each["text"] for each in params_of("log_external_stream") if each["stream"] == stream)

    return InvocationResult(
        response=response,
        succeeded=["exception" in each for each in params_of("closed")] == [False],
        error=error,
        logs=tuple(LogLine(each["level"], each["message"]) for each in params_of("log")),
        materializations={
            each["asset_key"]: ReportedMaterialization(_metadata(each), each["data_version"])
            for each in params_of("report_asset_materialization")
        },
        partition_materializations={
            (each["asset_key"], each["partition"]): ReportedMaterialization(_metadata(each), each["data_version"])
            for each in filter(None, map(partition_report, messages))
        },
        checks={
            (each["asset_key"], each["check_name"]): ReportedCheck(each["passed"], each["severity"], _metadata(each))
            for each in params_of("report_asset_check")
        },
        custom_messages=tuple(
            (message["params"] or {})["payload"]
            for message in messages
            if message["method"] == "report_custom_message" and not partition_report(message)
        ),
        stdout=printed("stdout"),
        stderr=printed("stderr"),
    )


def _metadata(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metadata as the function passed it: Pipes wraps values without a type."""
    return {
        name: value["raw_value"] if value["type"] == PIPES_METADATA_TYPE_INFER else value
        for name, value in (params["metadata"] or {}).items()
    }
