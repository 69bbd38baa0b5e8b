"""Faults on request let users test what their code does when a call fails."""

import asyncio
import threading
import time
from http import HTTPStatus
from typing import Any

import flask
import pytest
from dagster import (
    AssetExecutionContext,
    DagsterInstance,
    HookContext,
    RetryPolicy,
    asset,
    failure_hook,
    materialize,
)
from dagster_pipes import PipesContext
from gcf_pipes import pipes_function

from dagster_gcf_pipes import (
    PipesCloudFunctionAccessError,
    PipesCloudFunctionCallError,
    PipesCloudFunctionClient,
)
from dagster_gcf_pipes.testing import LocalPipesCloudFunctionClient
from tests.dagster_runs import logged, materializations
from tests.testing_kit import entry_points
from tests.testing_kit.test_local_client import call

done: list[str] = []


@pytest.fixture(autouse=True)
def _nothing_done() -> None:
    done.clear()


@pipes_function
def three_steps(request: flask.Request, pipes: PipesContext) -> str:
    """Do three things, and tell of each."""
    pipes.log.info("one")
    done.append("one")
    pipes.log.info("two")
    done.append("two")
    pipes.report_asset_materialization(metadata={"rows": 3})
    done.append("three")
    return "all done"


def client_with(**arguments: Any) -> LocalPipesCloudFunctionClient:
    return LocalPipesCloudFunctionClient(functions={"orders": three_steps}, **arguments)


@asset
def orders(context: AssetExecutionContext, cloud_function: PipesCloudFunctionClient) -> Any:
    return cloud_function.run(context=context, function="orders").get_materialize_result()


def test_a_busy_platform_costs_attempts() -> None:
    client = client_with(fail_with=429, times=2)
    assert call(client, function="orders").response.text == "all done"
    assert [each.attempts for each in client.calls] == [3]
    assert done == ["one", "two", "three"]


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504, 418, HTTPStatus.BAD_GATEWAY])
def test_a_platform_that_always_fails_fails_the_call(status: int) -> None:
    client = client_with(fail_with=status, times=100)
    with pytest.raises(PipesCloudFunctionCallError, match=f"HTTP {status}"):
        call(client, function="orders")
    assert done == []


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_refused_caller_gets_the_access_error(status: int) -> None:
    with pytest.raises(PipesCloudFunctionAccessError, match=f"HTTP {status}"):
        call(client_with(fail_with=status), function="orders")


def test_a_lost_response_is_no_failure() -> None:
    client = client_with(lose_response=True, times=2)
    assert materialize([orders], resources={"cloud_function": client}).success
    assert done == ["one", "two", "three"]
    assert call(client, function="orders").response.text == "all done"  # the copy that came with the messages


@pytest.mark.parametrize(
    ("calls", "lines", "steps"),
    [
        (0, [], []),
        (1, ["one"], ["one"]),
        (2, ["one", "two"], ["one", "two"]),
        (3, ["one", "two"], ["one", "two", "three"]),  # it dies when it returns
        (9, ["one", "two"], ["one", "two", "three"]),
    ],
)
def test_an_instance_dies_after_so_many_pipes_calls(calls: int, lines: list[str], steps: list[str]) -> None:
    with DagsterInstance.ephemeral() as instance:
        client = client_with(die_after=calls)
        run = materialize([orders], resources={"cloud_function": client}, instance=instance, raise_on_error=False)
        assert logged(instance, run.run_id) == lines
        assert len(materializations(instance, run.run_id)) == (calls > 2)
    failure = run.failure_data_for_node("orders")
    assert failure
    assert "PipesCloudFunctionCallError: The call got HTTP 503" in failure.error_display_string
    assert (run.success, done) == (False, steps)


@pytest.mark.parametrize("calls", [1, 9])
def test_a_death_is_not_logged_as_an_error_of_the_function(
    calls: int, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(PipesCloudFunctionCallError, match="HTTP 503"):
        call(client_with(die_after=calls, forward_logs=True), function="orders")
    of_others = ("dagster", "sqlalchemy")  # an in-memory instance of another test may be collected now
    assert [record.getMessage() for record in caplog.records if not record.name.startswith(of_others)] == []
    output = capsys.readouterr()
    assert "the test asked for" not in output.out + output.err


def test_an_exception_on_the_way_to_a_death_is_lost_too(caplog: pytest.LogCaptureFixture) -> None:
    client = LocalPipesCloudFunctionClient(functions={"orders": entry_points.raises}, die_after=9)
    with pytest.raises(PipesCloudFunctionCallError, match="HTTP 503"):
        call(client, function="orders")
    assert "Exception on" not in caplog.text


def test_a_death_ends_an_asyncio_loop() -> None:
    @pipes_function
    def main(request: flask.Request, pipes: PipesContext) -> None:
        async def work() -> None:
            pipes.log.info("from a task")

        async def both() -> None:
            await asyncio.gather(work(), return_exceptions=True)
            done.append("after the death")

        asyncio.run(both())

    client = LocalPipesCloudFunctionClient(functions={"orders": main}, die_after=0)
    with pytest.raises(PipesCloudFunctionCallError, match="HTTP 503"):
        call(client, function="orders")
    assert done == []


def test_a_dead_instance_is_given_up_within_seconds() -> None:
    started = time.monotonic()
    with pytest.raises(PipesCloudFunctionCallError, match="no sign of life"):
        call(client_with(die_after=1), function="orders")
    assert time.monotonic() - started < 10  # with the default heartbeats, 30


def test_code_that_catches_exceptions_dies_too() -> None:
    @pipes_function
    def main(request: flask.Request, pipes: PipesContext) -> None:
        while True:
            try:
                pipes.log.info("still here")
            except Exception:  # noqa: BLE001
                continue

    client = LocalPipesCloudFunctionClient(functions={"orders": main}, die_after=3)
    with pytest.raises(PipesCloudFunctionCallError, match="4 messages"):
        call(client, function="orders")


def test_users_can_test_their_retries_and_hooks() -> None:
    failed: list[str] = []

    @failure_hook
    def note(context: HookContext) -> None:
        failed.append(str(context.op_exception))

    @asset(retry_policy=RetryPolicy(max_retries=1), hooks={note})
    def retried(context: AssetExecutionContext, cloud_function: PipesCloudFunctionClient) -> Any:
        return cloud_function.run(context=context, function="orders").get_materialize_result()

    def succeeds(client: LocalPipesCloudFunctionClient) -> bool:
        return materialize([retried], resources={"cloud_function": client}, raise_on_error=False).success

    client = client_with(die_after=1)
    assert succeeds(client)
    assert [each.context["retry_number"] for each in client.calls] == [0, 1]
    assert not succeeds(client_with(die_after=1, times=2))
    assert len(failed) == 1


def test_an_instance_of_a_plain_function_cannot_die() -> None:
    with pytest.raises(ValueError, match=r"for `die_after`, got \['orders'\]"):
        LocalPipesCloudFunctionClient(functions={"orders": lambda request: ""}, die_after=1)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"fail_with": 429, "die_after": 0}, "Expected one of `fail_with`, `lose_response` and `die_after`"),
        ({"fail_with": 200}, "Expected `fail_with` to be an HTTP status from 400 to 599, got 200"),
        ({"die_after": -1}, "Expected `die_after` to be 0 or more Pipes calls, got -1"),
        ({"fail_with": 429, "times": 0}, "Expected `times` to be 1 or more attempts, got 0"),
        ({"fail_with": "429"}, "Expected `fail_with` to be an HTTP status from 400 to 599, got '429'"),
        ({"fail_with": 429.0}, "got 429.0"),
        ({"die_after": "3"}, "Expected `die_after` to be 0 or more Pipes calls, got '3'"),
        ({"die_after": True}, "got True"),
        ({"lose_response": "yes"}, "Expected `lose_response` to be True or False, got 'yes'"),
        ({"fail_with": 429, "lose_response": None}, "got None"),
        ({"fail_with": 429, "times": "2"}, "Expected `times` to be 1 or more attempts, got '2'"),
        ({"fail_with": 429, "times": 1.5}, "got 1.5"),
        ({"fail_with": 429, "times": True}, "got True"),
        ({"times": 2}, "Expected a fault that happens to 2 attempts, got only `times`.\nFix: Pass `fail_with`"),
    ],
)
def test_an_impossible_fault_is_refused(arguments: Any, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        client_with(**arguments)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # of the thread that ends
def test_threads_of_a_dead_instance_end_too() -> None:
    @pipes_function
    def main(request: flask.Request, pipes: PipesContext) -> None:
        def work() -> None:
            pipes.log.info("from the thread")
            done.append("after the death")

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()

    client = LocalPipesCloudFunctionClient(functions={"orders": main}, die_after=0)
    with pytest.raises(PipesCloudFunctionCallError, match="1 message in 1 chunk"):
        call(client, function="orders")
    assert done == []
