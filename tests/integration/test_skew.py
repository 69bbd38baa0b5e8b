"""Halves of different versions work together, or an error or a warning says which side to upgrade."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import requests
from dagster import DagsterInstance, ExecuteInProcessResult, materialize
from gcf_pipes._shared import halves
from gcf_pipes._shared.protocol import (
    CAPABILITIES,
    FORWARD_LOGS,
    PROTOCOL,
    PROTOCOL_HEADER,
    VERSION,
    VERSION_HEADER,
)
from google.cloud import storage
from werkzeug import Request, Response

from dagster_gcf_pipes import (
    PipesCloudFunctionClient,
    PipesCloudFunctionEventContextInjector,
    PipesCloudStorageMessageReader,
    _calling,
)
from dagster_gcf_pipes.local import Emulator, FunctionServer, run_function
from tests.conftest import FUNCTIONS
from tests.dagster_runs import calling_asset, failure_text, logged, step_error
from tests.integration.test_interop import materialized, session_asset
from tests.quotes import Quote
from tests.serving import serving
from tests.sessions import call, stored_sessions

OTHER_HALF = """
from gcf_pipes import pipes_function
from gcf_pipes._shared import halves

halves.PROTOCOL, halves.VERSION = {protocol}, "{version}"

@pipes_function
def main(request, pipes):
    pipes.log.info("the code runs")
"""
UPGRADE_FUNCTION = "Fix: Upgrade the function: set `gcf-pipes` in its requirements.txt to 0.9.0, and deploy it again."
UPGRADE_DAGSTER = "Fix: Upgrade Dagster's side: `pip install --upgrade dagster-gcf-pipes` where Dagster runs."


Messages: TypeAlias = Callable[[], list[Any]]


@contextmanager
def other_half(folder: Path, emulator: Emulator, *, protocol: int, version: str) -> Iterator[str]:
    """Run a function with another version of gcf_pipes; yield its URL."""
    (folder / "main.py").write_text(OTHER_HALF.format(protocol=protocol, version=version))
    with run_function(folder / "main.py", emulator_url=emulator.url) as server:
        yield server.url


@contextmanager
def proxy(url: str, *, keeps_request: bool = True, keeps_response: bool = True) -> Iterator[str]:
    """Run a proxy that removes the headers of ours from the requests or the responses; yield its URL."""

    def kept(headers: Any, *, keep: bool) -> list[tuple[str, str]]:
        hop_by_hop = {"host", "content-length", "connection", "transfer-encoding"}
        ours = () if keep else (PROTOCOL_HEADER, VERSION_HEADER)
        return [(name, text) for name, text in headers if name not in ours and name.lower() not in hop_by_hop]

    @Request.application
    def forward(request: Request) -> Response:
        headers = dict(kept(request.headers, keep=keeps_request))
        response = requests.post(url, data=request.get_data(), headers=headers, timeout=60)
        return Response(response.content, response.status_code, kept(response.headers.items(), keep=keeps_response))

    with serving(forward) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture
def messages(storage_client: storage.Client, bucket: str) -> Messages:
    """Returns all messages in the bucket."""
    return lambda: [message for session in stored_sessions(storage_client, bucket).values() for message in session]


class Runs:
    """Runs of an asset that calls a function, and what Dagster logs of them."""

    def __init__(self, instance: DagsterInstance, bucket: str) -> None:
        self._instance = instance
        self._bucket = bucket

    def run(self, url: str, event: dict[str, Any] | None = None, **settings: Any) -> ExecuteInProcessResult:
        client = PipesCloudFunctionClient(bucket=self._bucket, max_attempts=1, **settings)
        resources = {"cloud_function": client}
        orders = calling_asset(url, event or {})
        return materialize([orders], resources=resources, instance=self._instance, raise_on_error=False)

    def warnings(self, result: ExecuteInProcessResult) -> list[str]:
        logs = self._instance.all_logs(result.run_id)
        return [entry.user_message for entry in logs if entry.level == logging.WARNING]

    def lines(self, result: ExecuteInProcessResult) -> list[str]:
        return logged(self._instance, result.run_id)


@pytest.fixture
def runs(instance: DagsterInstance, bucket: str) -> Runs:
    return Runs(instance, bucket)


@pytest.mark.parametrize("version", ["0.0.1", "7.1.0", "0.2.0.dev1+local", "garbage"])
def test_with_one_protocol_any_versions_work_together(
    runs: Runs, emulator: Emulator, tmp_path: Path, version: str
) -> None:
    with other_half(tmp_path, emulator, protocol=PROTOCOL, version=version) as url:
        results = [runs.run(url, forward_logs=forward_logs) for forward_logs in (False, True)]
    assert [(result.success, runs.lines(result), runs.warnings(result)) for result in results] == [
        (True, ["the code runs"], [])
    ] * 2


def this_half(monkeypatch: pytest.MonkeyPatch, *, protocol: int, version: str) -> None:
    """Give Dagster's side another version."""
    monkeypatch.setattr(halves, "PROTOCOL", protocol)
    monkeypatch.setattr(halves, "VERSION", version)


def test_a_function_of_an_older_protocol_refuses_the_call(
    runs: Runs, emulator: Emulator, tmp_path: Path, messages: Messages, monkeypatch: pytest.MonkeyPatch, quote: Quote
) -> None:
    this_half(monkeypatch, protocol=2, version="0.9.0")
    with other_half(tmp_path, emulator, protocol=1, version="0.1.0") as url:
        text = failure_text(runs.run(url))
    assert text.endswith(UPGRADE_FUNCTION)
    assert messages() == []
    quote("function_of_an_older_protocol", text)


def test_a_function_of_a_newer_protocol_refuses_the_call(
    runs: Runs, emulator: Emulator, tmp_path: Path, messages: Messages, monkeypatch: pytest.MonkeyPatch, quote: Quote
) -> None:
    this_half(monkeypatch, protocol=1, version="0.1.0")
    with other_half(tmp_path, emulator, protocol=2, version="0.9.0") as url:
        text = failure_text(runs.run(url))
    assert text.endswith(UPGRADE_DAGSTER)
    assert messages() == []
    quote("function_of_a_newer_protocol", text)


@pytest.mark.parametrize(("protocol", "fix"), [(1, UPGRADE_FUNCTION), (3, UPGRADE_DAGSTER)])
def test_behind_a_proxy_that_removes_headers_the_run_fails_too(
    runs: Runs, emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, protocol: int, fix: str
) -> None:
    this_half(monkeypatch, protocol=2, version="0.9.0")
    with (
        other_half(tmp_path, emulator, protocol=protocol, version="0.1.0") as url,
        proxy(url, keeps_request=False, keeps_response=False) as proxy_url,
    ):
        result = runs.run(proxy_url)
    text = failure_text(result)
    assert "Could not read and handle all messages of the function: Expected both sides to have one version" in text
    assert text.endswith(fix)
    assert runs.lines(result) == []


def test_a_session_by_hand_fails_too(emulator: Emulator, bucket: str, tmp_path: Path) -> None:
    injector, reader = (
        PipesCloudFunctionEventContextInjector(bucket=bucket),
        PipesCloudStorageMessageReader(bucket=bucket),
    )
    with other_half(tmp_path, emulator, protocol=PROTOCOL + 1, version="0.9.0") as url:
        result, lines = materialized(session_asset(url, {}, injector, reader))
    assert UPGRADE_DAGSTER in step_error(result)
    assert lines == []


def test_a_proxy_that_removes_headers_changes_nothing_else(runs: Runs, function: FunctionServer) -> None:
    with proxy(function.url, keeps_request=False, keeps_response=False) as url:
        result = runs.run(url, {"mode": "ok"}, forward_logs=True)
    assert (result.success, runs.warnings(result)) == (True, [])


def test_a_call_that_needs_what_the_function_lacks_is_refused(
    runs: Runs, function: FunctionServer, messages: Messages, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_calling, "FORWARD_LOGS", "teleport")
    monkeypatch.setattr(halves, "VERSION", "0.9.0")
    text = failure_text(runs.run(function.url, {"mode": "ok"}, forward_logs=True))
    assert f"Expected the function's gcf_pipes {VERSION} to announce `teleport`, which dagster-gcf-pipes 0.9.0" in text
    assert UPGRADE_FUNCTION in text
    assert messages() == []


BY_HAND = {"mode": "answers", "status": 200}


def test_a_function_that_does_not_forward_its_output_gets_a_warning(runs: Runs, emulator: Emulator) -> None:
    with run_function(FUNCTIONS / "by_hand" / "main.py", emulator_url=emulator.url) as server:
        asked, not_asked = runs.run(server.url, BY_HAND, forward_logs=True), runs.run(server.url, BY_HAND)
    assert (asked.success, not_asked.success) == (True, True)
    assert [
        f"[pipes] Expected the function's gcf_pipes {VERSION} to announce `{FORWARD_LOGS}`" in warning
        for warning in runs.warnings(asked)
    ] == [True]
    assert runs.warnings(not_asked) == []


def test_the_stock_writer_sends_output_after_closed(
    runs: Runs, emulator: Emulator, tmp_path: Path, quote: Quote
) -> None:
    source = (FUNCTIONS / "stock" / "main.py").read_text()
    (tmp_path / "main.py").write_text(source.replace("    for number", "    print('printed')\n        for number"))
    with run_function(tmp_path / "main.py", emulator_url=emulator.url) as server:
        quote("output_after_closed", failure_text(runs.run(server.url, {"count": 1}, forward_logs=True)))


@pytest.mark.parametrize(
    "header", ["", "0", "-1", "1.0", "banana", "1 A", "1, 1", "1 forward_logs, 1 forward_logs", "1 " + "a" * 4000]
)
def test_a_malformed_header_is_refused(function: FunctionServer, bucket: str, messages: Messages, header: str) -> None:
    response = call(function.url, bucket, {"mode": "ok"}, headers={PROTOCOL_HEADER: header})
    error = response.json()["error"]
    assert (response.status_code, error["code"]) == (400, "bad_request")
    ours = halves.Half.ours(CAPABILITIES).protocol_text
    assert f"Expected the header {PROTOCOL_HEADER} to be like {ours!r}, got " in error["message"]
    assert len(error["message"]) < 300
    assert messages() == []


@pytest.mark.parametrize("version", ["", "garbage", "1.0 <script>", "9" * 4000])
def test_a_malformed_version_does_not_matter(function: FunctionServer, bucket: str, version: str) -> None:
    headers = {PROTOCOL_HEADER: str(PROTOCOL), VERSION_HEADER: version}
    assert call(function.url, bucket, {"mode": "ok"}, headers=headers).json() == {"ok": True}


def test_a_call_without_headers_is_accepted(function: FunctionServer, bucket: str) -> None:
    assert call(function.url, bucket, {"mode": "ok"}).json() == {"ok": True}


LIAR = """
import gcf_pipes
from gcf_pipes._shared.halves import Half

texts = iter({texts!r})
Half.opened_extras = property(lambda half: dict.fromkeys(["protocol", "version"], next(texts)))

@gcf_pipes.pipes_function
def main(request, pipes): ...
"""
MALFORMED = ["banana", "1" * 1000, 1, None, ["1"], {"1": 1}, "1\n", "0", "99999 a"]


def test_a_function_whose_announcement_is_malformed_announces_nothing(
    runs: Runs, emulator: Emulator, tmp_path: Path
) -> None:
    # pipes_function asks twice for each `opened`: its writer has facts of its own
    (tmp_path / "main.py").write_text(LIAR.format(texts=[text for text in MALFORMED for _ in range(4)]))
    with run_function(tmp_path / "main.py", emulator_url=emulator.url) as server:
        for text in MALFORMED:
            result, forwarding = runs.run(server.url), runs.run(server.url, forward_logs=True)
            assert (text, result.success, len(runs.warnings(result))) == (text, True, 0)
            assert (text, forwarding.success, len(runs.warnings(forwarding))) == (text, True, 1)
