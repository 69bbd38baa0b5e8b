"""The task `report`: what the function tells Dagster, message by message."""

from typing import Any, Final, get_args

from dagster import DagsterInvariantViolationError
from dagster._check import CheckError
from dagster._core.definitions.metadata.external_metadata import metadata_value_from_external
from dagster_pipes import PIPES_METADATA_TYPE_INFER, PipesMetadataType
from gcf_pipes._shared.halves import Half
from gcf_pipes._shared.protocol import PROTOCOL, USAGE_PARAM

from dagster_gcf_pipes._conformance.calls import Caller, dumps
from dagster_gcf_pipes._conformance.findings import Checks, NotMetError, NotThereError, expect
from dagster_gcf_pipes._conformance.sessions import Session
from dagster_gcf_pipes._messages.parser import read_usage

ASSET: Final = "conformance/orders"
LEVELS: Final = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")
ORDER: Final = (
    *("log" for _ in LEVELS),
    "report_asset_materialization",
    "report_asset_check",
    "report_custom_message",
)
METADATA_TYPES: Final = frozenset(get_args(PipesMetadataType)) - {PIPES_METADATA_TYPE_INFER}
_INVALID: Final = (
    CheckError,
    DagsterInvariantViolationError,
    KeyError,
    TypeError,
    ValueError,
    AttributeError,
)
"""What Dagster raises for metadata that it cannot take."""
OK: Final = 200


def report(caller: Caller) -> Checks:
    """Call the task once."""
    session = caller.call("report")
    return {
        "logs": lambda: _check_logs(session),
        "materialization": lambda: _check_materialization(session),
        "asset-check": lambda: _check_asset_check(session),
        "custom-message": lambda: _check_custom_message(session),
        "message-order": lambda: _check_order(session),
        "own-response": lambda: _check_response(session),
        "closes-with-request": lambda: _check_closes_with_request(session),
        "closed-usage": lambda: _check_usage(session),
        "versions": lambda: _check_versions(session),
    }


def _check_logs(session: Session) -> str:
    expected = [{"message": f"conformance: {level}", "level": level} for level in LEVELS]
    logged = [
        {"message": params.get("message"), "level": str(params.get("level")).upper()}
        for params in session.params_of("log")
    ]
    expect(sorted(map(dumps, logged)) == sorted(map(dumps, expected)), dumps(expected), dumps(logged), session.uri)
    return "one line of each level"


def _check_materialization(session: Session) -> str:
    reports = session.params_of("report_asset_materialization")
    expect(len(reports) == 1, "one materialization", len(reports), session.uri)
    params = reports[0]
    expect(params.get("asset_key") == ASSET, f"the asset key {ASSET!r}", dumps(params.get("asset_key")), session.uri)
    expect(params.get("data_version") == "v1", "the data version 'v1'", dumps(params.get("data_version")), session.uri)
    metadata = params.get("metadata")
    values = list(metadata.values()) if isinstance(metadata, dict) else []
    missing = METADATA_TYPES - {value.get("type") for value in values if isinstance(value, dict)}
    expect(not missing, "metadata of each type", f"none of the types {sorted(missing)}", session.uri)
    for name, value in dict(metadata or {}).items():
        _check_metadata_value(name, value, session)
    return f"metadata of {len(METADATA_TYPES)} types"


def _check_metadata_value(name: str, value: Any, session: Session) -> None:
    try:
        metadata_value_from_external(value["raw_value"], value["type"])
    except _INVALID as error:
        expect(False, f"metadata that Dagster accepts in {name!r}", f"{dumps(value)} ({error})", session.uri)


def _check_asset_check(session: Session) -> str:
    expected = {"asset_key": ASSET, "check_name": "conformance", "passed": True, "severity": "WARN"}
    reports = [{name: params.get(name) for name in expected} for params in session.params_of("report_asset_check")]
    expect(reports == [expected], dumps([expected]), dumps(reports), session.uri)
    return "one check that passed"


def _check_custom_message(session: Session) -> str:
    expected = [{"payload": {"conformance": "custom"}}]
    messages = session.params_of("report_custom_message")
    expect(messages == expected, dumps(expected), dumps(messages), session.uri)
    return "its payload"


def _check_order(session: Session) -> str:
    """Check the order of what came: another requirement names what is missing."""
    kinds = [_kind(message) for message in session.messages]
    expected = [f"log {level}" if method == "log" else method for method, level in zip(ORDER, _levels(), strict=True)]
    came = [kind for kind in kinds if kind in expected]
    wanted = [kind for kind in expected if kind in came]
    expect(len(came) > 1, "several messages", len(came), session.uri)
    expect(came == wanted, ", ".join(wanted), ", ".join(came), session.uri)
    return f"{len(came)} messages in order"


def _levels() -> list[str]:
    return [*LEVELS, *("" for _ in ORDER[len(LEVELS) :])]


def _kind(message: Any) -> str:
    params = message.get("params")
    is_log = message["method"] == "log" and isinstance(params, dict)
    return f"log {str(params.get('level')).upper()}" if is_log else str(message["method"])


def _check_response(session: Session) -> str:
    answer = session.answer
    right = answer.status == OK and answer.json == {"task": "report"}
    expect(right, 'HTTP 200 with {"task": "report"}', answer.description)
    return "status and body"


def _check_closes_with_request(session: Session) -> str:
    said = session.opened_extras.get("closes_with_request")
    if said is None or said is False:
        raise NotThereError("`closes_with_request` is not in `opened`: Dagster trusts only a 2xx response")
    expect(said is True, "`closes_with_request` to be true", dumps(said), session.chunk_uri(1))
    return "`closes_with_request` is true"


def _check_usage(session: Session) -> str:
    usage = (session.closed_params or {}).get(USAGE_PARAM)
    if usage is None:
        raise NotThereError("`usage` is not in `closed`: Dagster cannot estimate the cost of the call")
    valid = read_usage(usage)
    expect(isinstance(usage, dict) and valid == usage, "figures of the documented types", dumps(usage), session.uri)
    return ", ".join(sorted(valid))


def _check_versions(session: Session) -> str:
    headers, extras = session.answer.headers, session.opened_extras
    answered = Half.parse(headers.get("dagster-pipes-protocol"), headers.get("dagster-pipes-version"))
    opened = Half.parse(extras.get("protocol"), extras.get("version"))
    if answered is None and opened is None and not ("dagster-pipes-protocol" in headers or "protocol" in extras):
        raise NotThereError("the function does not say its version: Dagster cannot tell a version that does not fit")
    got = f"{headers.get('dagster-pipes-protocol')!r} in the response and {extras.get('protocol')!r} in `opened`"
    if answered is None or answered != opened or answered.protocol != PROTOCOL:
        raise NotMetError(f"Expected the protocol {PROTOCOL} and one version, got {got}, at {session.chunk_uri(1)}.")
    return answered.protocol_text
