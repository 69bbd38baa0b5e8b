"""A step that starts again: it adopts the function that its earlier attempt has called, and does not run it twice."""

import json
import logging
import os
import signal
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event
from types import MappingProxyType
from typing import Any

import pytest
import requests
from dagster import (
    AssetCheckSpec,
    AssetExecutionContext,
    DagsterInstance,
    DagsterRunStatus,
    JobDefinition,
    JobExecutionResult,
    MaterializeResult,
    ReexecutionOptions,
    RetryPolicy,
    asset,
    build_asset_context,
    execute_job,
    instance_for_test,
    materialize,
    reconstructable,
)
from gcf_pipes._shared.protocol import SessionPrefix
from gcf_pipes._shared.storage import ObjectStore
from google.cloud import storage
from pydantic import PrivateAttr

from dagster_gcf_pipes import PipesCloudFunctionCallError, PipesCloudFunctionClient
from dagster_gcf_pipes._contexts import selection
from dagster_gcf_pipes._launches import record_launch
from dagster_gcf_pipes._messages.cancel_marker import CancelMarker
from dagster_gcf_pipes._messages.record import SessionRecord
from dagster_gcf_pipes._reattach import HANDLE_METADATA_KEY, LaunchHandle
from dagster_gcf_pipes.local import Emulator, FunctionServer, run_function
from dagster_gcf_pipes.local._processes import python_command, run_process
from tests.conftest import FUNCTIONS
from tests.integration.adopting_job import BUCKET, SETTINGS, with_run_retries, with_step_retries, without_retries
from tests.sessions import bootstrap
from tests.waiting import in_background, wait_until

EXECUTE = "import sys; from tests.integration.adopting_job import execute; execute(sys.argv[1])"


@pytest.fixture(scope="module")
def counted(emulator: Emulator) -> Iterator[FunctionServer]:
    with run_function(FUNCTIONS / "counted", emulator_url=emulator.url) as server:
        yield server


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[DagsterInstance]:
    home = tmp_path / "home"
    home.mkdir()
    retries = {"run_retries": {"enabled": True}}  # of runs with the tag `dagster/max_retries`
    with instance_for_test(retries, temp_dir=str(home)) as instance:
        yield instance


@pytest.fixture
def other_bucket(storage_client: storage.Client) -> str:
    return str(storage_client.create_bucket(f"other-{uuid.uuid4().hex}").name)


@dataclass
class Adoption:
    """A job, what its function has noted, and what its runs have logged."""

    instance: DagsterInstance
    folder: Path
    bucket: str
    settings: dict[str, Any]
    environment: pytest.MonkeyPatch
    storage: storage.Client
    job: Callable[[], JobDefinition] = without_retries

    def configure(self, **settings: Any) -> None:
        self.settings |= settings
        self.environment.setenv(SETTINGS, json.dumps(self.settings))

    def run(self) -> JobExecutionResult:
        with execute_job(reconstructable(self.job), self.instance) as result:
            return result

    def run_again(self, *, all_steps: bool = False) -> JobExecutionResult:
        """Execute the last run again, from its failure or from the start."""
        (run,) = self.instance.get_runs(limit=1)
        options = (
            ReexecutionOptions(run.run_id) if all_steps else ReexecutionOptions.from_failure(run.run_id, self.instance)
        )
        tags = {} if all_steps else {"dagster/is_resume_retry": "true"}  # as the UI and the daemon have it
        with execute_job(reconstructable(self.job), self.instance, tags=tags, reexecution_options=options) as result:
            return result

    def run_and_kill(
        self, how: signal.Signals = signal.SIGKILL, before_signal: Callable[[], None] = lambda: None
    ) -> str:
        """Start a run in a process of its own, and end the process while the function runs. Return the run's id."""
        self.hold()
        before = len(self.executions)
        command = python_command("-c", EXECUTE, self.job.__name__)
        with run_process(command, ready="(line 0)") as child:
            wait_until(lambda: len(self.executions) > before)
            before_signal()
            child.process.send_signal(how)
            child.process.wait(60)
        (run,) = self.instance.get_runs(limit=1)
        if run.status is DagsterRunStatus.STARTED:
            self.instance.report_run_failed(run)  # as run monitoring does
        return run.run_id

    def hold(self) -> None:
        (self.folder / "hold").touch()

    def release(self) -> None:
        (self.folder / "hold").unlink()

    @property
    def executions(self) -> list[str]:
        path = self.folder / "executions"
        return path.read_text().splitlines() if path.exists() else []

    @property
    def newest_run(self) -> str:
        (run,) = self.instance.get_runs(limit=1)
        return run.run_id

    def session_has(self, run_id: str, name: str) -> bool:
        """Whether a session of a run has an object with that name."""
        names = [blob.name for blob in self.storage.list_blobs(self.bucket)]
        return any(f"/{run_id}/" in each and each.endswith(f"/{name}") for each in names)

    def session_is_alive(self) -> bool:
        """Whether the only session gets another chunk within three heartbeats."""
        count = len(list(self.storage.list_blobs(self.bucket)))
        Event().wait(0.6)
        return len(list(self.storage.list_blobs(self.bucket))) > count

    def lines(self, run_id: str) -> list[str]:
        """Return the entries of a run."""
        return [entry.user_message for entry in self.instance.all_logs(run_id)]

    def texts(self, run_id: str) -> list[str]:
        """Return the lines of the entries of a run."""
        return "\n".join(self.lines(run_id)).split("\n")


@pytest.fixture
def adoption(
    counted: FunctionServer,
    bucket: str,
    storage_client: storage.Client,
    instance: DagsterInstance,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Adoption:
    folder = tmp_path / "function"
    folder.mkdir()
    adoption = Adoption(instance, folder, bucket, {}, monkeypatch, storage_client)
    monkeypatch.setenv(BUCKET, bucket)
    adoption.configure(
        url=counted.url,
        folder=str(folder),
        calls=["a"],
        reattach=True,
        managed=True,
    )
    return adoption


def test_a_step_that_fails_after_its_call_adopts_the_success(adoption: Adoption) -> None:
    adoption.job = with_step_retries
    (adoption.folder / "step_fails").touch()
    result = adoption.run()
    assert result.success
    assert adoption.executions == ["a"]
    lines = adoption.lines(result.run_id)
    assert lines.count("line 0") == lines.count("line 1") == 2
    assert any("the function has succeeded, so it does not run again" in line for line in lines)
    (materialization,) = result.asset_materializations_for_node("orders")
    assert materialization.metadata["rows"].value == 2
    assert materialization.metadata["cloud_function/adopted_from"].value == result.run_id
    assert [blob.name.rpartition("/")[2] for blob in adoption.storage.list_blobs(adoption.bucket)] == ["1.json"]


def test_a_run_adopts_the_function_that_a_killed_run_has_called(adoption: Adoption) -> None:
    killed = adoption.run_and_kill()
    adoption.release()
    result = adoption.run_again()
    assert result.success
    assert adoption.executions == ["a"]
    lines = adoption.lines(result.run_id)
    assert [line for line in lines if line.startswith("line")] == ["line 0", "line 1"]
    (materialization,) = result.asset_materializations_for_node("orders")
    assert materialization.metadata["cloud_function/adopted_from"].value == killed


def test_no_line_is_lost_if_a_run_is_killed_while_it_is_behind(adoption: Adoption) -> None:
    adoption.configure(event={"burst": 10_000})
    expected = [f"burst {number}" for number in range(10_000)]

    def burst(run_id: str) -> list[str]:
        return [line for line in adoption.texts(run_id) if line.startswith("burst")]

    def has_joined_lines() -> bool:
        return any("\n" in line for line in adoption.lines(adoption.newest_run))

    killed = adoption.run_and_kill(before_signal=lambda: wait_until(has_joined_lines))
    adoption.release()
    result = adoption.run_again()
    assert result.success
    assert burst(killed) == expected[: len(burst(killed))]
    assert burst(result.run_id) == expected
    assert adoption.executions == ["a"]


def test_a_run_adopts_a_function_that_still_runs(adoption: Adoption) -> None:
    adoption.run_and_kill()
    run = in_background(adoption.run_again)
    wait_until(lambda: any("the function may still run" in line for line in adoption.lines(adoption.newest_run)))
    adoption.release()
    result = run.result(60)
    assert result.success
    assert adoption.executions == ["a"]


def test_an_evicted_step_leaves_its_function_to_the_next_attempt(adoption: Adoption) -> None:
    adoption.job = with_run_retries
    evicted = adoption.run_and_kill(signal.SIGTERM)
    assert "[pipes] the step ends before its function, which goes on: the run's retry adopts it" in adoption.lines(
        evicted
    )
    adoption.release()
    assert adoption.run_again().success
    assert adoption.executions == ["a"]


def test_an_evicted_step_without_a_successor_stops_its_function(adoption: Adoption) -> None:
    evicted = adoption.run_and_kill(signal.SIGTERM)
    assert any(
        "[pipes] the run is terminated: telling the function to stop" in line for line in adoption.lines(evicted)
    )


def test_a_cancelled_run_stops_its_function_although_the_step_has_a_retry_policy(adoption: Adoption) -> None:
    adoption.job = with_step_retries

    def cancel() -> None:
        (run,) = adoption.instance.get_runs(limit=1)
        adoption.instance.report_run_canceling(run)  # Dagster does so before it sends the signal

    cancelled = adoption.run_and_kill(signal.SIGTERM, before_signal=cancel)
    assert any("telling the function to stop" in line for line in adoption.lines(cancelled))
    adoption.release()
    assert adoption.run_again().success
    assert adoption.executions == ["a", "a"]


def test_a_function_that_failed_runs_again(adoption: Adoption) -> None:
    (adoption.folder / "fails").touch()
    assert not adoption.run().success
    (adoption.folder / "fails").unlink()
    result = adoption.run_again()
    assert result.success
    assert adoption.executions == ["a", "a"]
    assert (
        "[pipes] calling anew: the function that an earlier attempt of this step called has failed"
        in adoption.lines(result.run_id)
    )


def test_two_equal_calls_of_a_step_adopt_two_sessions(adoption: Adoption) -> None:
    adoption.job = with_step_retries
    adoption.configure(calls=["a", "b", "a"])
    (adoption.folder / "step_fails").touch()
    result = adoption.run()
    assert result.success
    assert adoption.executions == ["a", "b", "a"]
    adopted = [line for line in adoption.lines(result.run_id) if line.startswith("[pipes] adopting")]
    assert len(adopted) == len(set(adopted)) == 3


def test_calls_in_another_order_adopt_the_same_sessions(adoption: Adoption) -> None:
    (adoption.folder / "step_fails").touch()
    adoption.configure(calls=["a", "b"])
    assert not adoption.run().success
    adoption.configure(calls=["b", "a"])
    assert adoption.run_again().success
    assert adoption.executions == ["a", "b"]


def test_a_changed_event_stops_the_function_that_it_replaces(adoption: Adoption) -> None:
    killed = adoption.run_and_kill()
    adoption.configure(calls=["b"])
    run = in_background(adoption.run_again)
    wait_until(lambda: adoption.session_has(killed, "cancel"))
    adoption.release()
    assert run.result(60).success
    assert adoption.executions == ["a", "b"]


@pytest.mark.parametrize("how", ["not reattached", "all steps"])
def test_a_call_that_is_not_adopted_is_stopped(adoption: Adoption, how: str) -> None:
    killed = adoption.run_and_kill()
    adoption.configure(reattach=how != "not reattached")
    run = in_background(lambda: adoption.run_again(all_steps=how == "all steps"))
    wait_until(lambda: adoption.session_has(killed, "cancel"))
    adoption.release()
    assert run.result(60).success
    assert adoption.executions == ["a", "a"]


def test_dagster_reads_the_handle(adoption: Adoption) -> None:
    reattach = pytest.importorskip("dagster._core.pipes.reattach")
    result = adoption.run()
    handle = reattach.find_latest_launch_handle_for_run(
        instance=adoption.instance, run=result.dagster_run, step_key="orders", client_name="PipesCloudFunctionClient"
    )
    assert (handle.step_key, handle.retry_number) == ("orders", 0)
    assert handle.external_run_id.startswith(f"gs://{adoption.bucket}/dagster-pipes/{result.run_id}/orders/")
    assert handle.extras["function"] == adoption.settings["url"]


def test_a_session_without_its_messages_is_not_adopted(adoption: Adoption) -> None:
    """The client is no resource of Dagster's here, so it deletes the messages as soon as the call has ended."""
    adoption.job = with_step_retries
    adoption.configure(managed=False)
    (adoption.folder / "step_fails").touch()
    result = adoption.run()
    assert result.success
    assert adoption.executions == ["a", "a"]
    assert any(
        "is done, and its call has failed or its messages are deleted" in line for line in adoption.lines(result.run_id)
    )


def test_a_function_that_died_with_its_step_is_called_anew(adoption: Adoption) -> None:
    adoption.run_and_kill()
    (adoption.folder / "dies").touch()
    adoption.release()
    wait_until(lambda: not adoption.session_is_alive())
    (adoption.folder / "dies").unlink()
    result = adoption.run_again()
    assert result.success
    assert adoption.executions == ["a", "a"]
    assert "[pipes] calling anew: the adopted function has shown no sign of life" in adoption.lines(result.run_id)
    (materialization,) = result.asset_materializations_for_node("orders")
    assert "cloud_function/adopted_from" not in materialization.metadata


def test_another_bucket_is_another_call(adoption: Adoption, other_bucket: str) -> None:
    adoption.run_and_kill()
    adoption.release()
    adoption.environment.setenv(BUCKET, other_bucket)
    assert adoption.run_again().success
    assert adoption.executions == ["a", "a"]
    assert [blob.name.rpartition("/")[2] for blob in adoption.storage.list_blobs(other_bucket)] == ["1.json"]


class DeliveredLate(PipesCloudFunctionClient):
    """A client whose first POST is not sent, and arrives just before that of the next attempt."""

    _posts: list[str] = PrivateAttr(default_factory=list)

    def get_http_session(self) -> requests.Session:
        self._posts.append("")
        if len(self._posts) == 1:
            raise ConnectionError("the process stops before it sends the request")
        (session,) = {blob.name.rpartition("/")[0] for blob in self.get_storage_client().list_blobs(self.bucket)}
        event = json.loads(os.environ[SETTINGS])
        body = {**bootstrap(self.bucket, session), "folder": event["folder"]}
        in_background(lambda: requests.post(event["url"], json=body, timeout=60))
        first = self.get_storage_client().bucket(self.bucket).blob(f"{session}/1.json")
        wait_until(first.exists)
        return super().get_http_session()


def test_a_late_delivery_of_the_first_attempt_is_followed(adoption: Adoption) -> None:
    """The context is in the bucket, where the first attempt has put it."""

    @asset(retry_policy=RetryPolicy(max_retries=1))
    def orders(context: AssetExecutionContext, cloud_function: PipesCloudFunctionClient) -> MaterializeResult:
        event = {"folder": str(adoption.folder)}
        url = adoption.settings["url"]
        return cloud_function.run(context=context, function_url=url, event=event).get_materialize_result()

    client = DeliveredLate(bucket=adoption.bucket, inline_context_limit=0)
    result = materialize([orders], resources={"cloud_function": client}, instance=adoption.instance)
    assert result.success
    assert len(adoption.executions) == 1
    lines = adoption.lines(result.run_id)
    assert "[pipes] the function that an earlier attempt of this step called has not started" in lines
    assert any("the call got HTTP 409" in line for line in lines)
    assert [line for line in lines if line.startswith("line")] == ["line 0", "line 1"]


def test_a_step_deletes_nothing_that_another_attempt_has_adopted(adoption: Adoption) -> None:
    @asset
    def orders(context: AssetExecutionContext, cloud_function: PipesCloudFunctionClient) -> MaterializeResult:
        event = {"folder": str(adoption.folder)}
        url = adoption.settings["url"]
        invocation = cloud_function.run(context=context, function_url=url, event=event)
        step = context.get_step_execution_context()
        (own,) = launched(adoption.instance, context.run_id)
        record_launch(step, replace(own, attempt="another"), "[pipes] adopting the call")
        return invocation.get_materialize_result()

    client = PipesCloudFunctionClient(bucket=adoption.bucket)
    assert materialize([orders], resources={"cloud_function": client}, instance=adoption.instance).success
    assert len(list(adoption.storage.list_blobs(adoption.bucket))) > 1


@pytest.mark.parametrize("blocking", [True, False])
def test_no_attempt_adopts_a_blocking_check_that_failed(adoption: Adoption, *, blocking: bool) -> None:
    (adoption.folder / "check_fails").touch()

    @asset(check_specs=[AssetCheckSpec("has_rows", asset="orders", blocking=blocking)])
    def orders(context: AssetExecutionContext, cloud_function: PipesCloudFunctionClient) -> MaterializeResult:
        event = MappingProxyType({"folder": str(adoption.folder), "check": "has_rows"})
        url = adoption.settings["url"]
        return cloud_function.run(context=context, function_url=url, event=event).get_materialize_result()

    client = PipesCloudFunctionClient(bucket=adoption.bucket)
    resources = {"cloud_function": client}
    result = materialize([orders], resources=resources, instance=adoption.instance, raise_on_error=False)
    assert result.success != blocking
    assert [handle.over for handle in launched(adoption.instance, result.run_id)] == [False, True][: 1 + blocking]


def test_another_query_is_another_call(adoption: Adoption) -> None:
    (adoption.folder / "step_fails").touch()
    adoption.configure(url=f"{adoption.settings['url']}?day=1")
    assert not adoption.run().success
    adoption.configure(url=adoption.settings["url"].replace("day=1", "day=2"))
    assert adoption.run_again().success
    assert adoption.executions == ["a", "a"]


def test_another_code_version_is_another_call() -> None:
    def version(code_version: str | None) -> object:
        @asset(code_version=code_version)
        def orders(context: AssetExecutionContext) -> None:
            versions.append(selection(context))

        orders(build_asset_context())
        return versions.pop()

    versions: list[object] = []
    assert version("1") == version("1")
    assert len({str(version(code_version)) for code_version in ("1", "2", None)}) == 3


def launched(instance: DagsterInstance, run_id: str) -> list[LaunchHandle]:
    """Return the launch handles of a run."""
    events = [entry.dagster_event for entry in instance.all_logs(run_id) if entry.dagster_event]
    metadata = [event.engine_event_data.metadata for event in events if event.is_engine_event]
    texts = [str(each[HANDLE_METADATA_KEY].value) for each in metadata if HANDLE_METADATA_KEY in each]
    return [handle for text in texts if (handle := LaunchHandle.from_json(text))]


def test_a_step_of_a_run_that_has_ended_calls_nothing(adoption: Adoption) -> None:
    """Dagster took the process of the run for dead, and may have retried the run."""

    @asset
    def orders(context: AssetExecutionContext, cloud_function: PipesCloudFunctionClient) -> MaterializeResult:
        context.instance.report_run_failed(context.run)
        url = adoption.settings["url"]
        return cloud_function.run(context=context, function_url=url).get_materialize_result()

    client = PipesCloudFunctionClient(bucket=adoption.bucket)
    with pytest.raises(PipesCloudFunctionCallError, match="The run has the status FAILURE: the step does not call"):
        materialize([orders], resources={"cloud_function": client}, instance=adoption.instance)
    assert adoption.executions == []


def test_the_function_is_stopped_if_nobody_knows_whether_the_run_is_cancelled(
    adoption: Adoption, caplog: pytest.LogCaptureFixture
) -> None:
    store = ObjectStore(adoption.bucket, adoption.storage)
    prefix = SessionPrefix(adoption.bucket, "dagster-pipes/session")
    marker = CancelMarker(store, prefix, logging.getLogger("test"))

    def stop(reason: str) -> None:
        marker.stop(SessionRecord(), reason)

    def find_adopter() -> str:
        raise OSError("the database does not answer")

    with pytest.raises(KeyboardInterrupt), marker.write_if_interrupted(stop, find_adopter):
        raise KeyboardInterrupt
    assert sorted(blob.name for blob in adoption.storage.list_blobs(adoption.bucket)) == [
        "dagster-pipes/session/1.json",
        "dagster-pipes/session/cancel",
    ]
    assert "or the status of the run cannot be read (the database does not answer)" in caplog.text
