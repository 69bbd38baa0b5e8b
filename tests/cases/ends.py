"""Calls that are ended from outside, and functions that go on after their end."""

from dagster import DagsterRunStatus

from tests.cases.case import LOGGING, NODEJS, RESPONSE, case
from tests.cases.stage import Stage

NO_CLOSE = "its context has no `close`"
NO_MARKER = "without a bucket, nothing tells the function"


@case(not_on={LOGGING: NO_MARKER, RESPONSE: NO_MARKER})
def a_cancelled_run_stops_a_function_that_logs(stage: Stage) -> None:
    """The next Pipes call of a function whose run was cancelled fails, and so the function ends."""
    run = stage.run_and_cancel("loops", when=lambda: stage.wait_for_note("started"))
    assert run.status is DagsterRunStatus.CANCELED
    assert "[pipes] the run is terminated: telling the function to stop" in run.text
    stage.wait_for_note("stopped by PipesCancelledError")


@case(not_on={LOGGING: NO_MARKER, RESPONSE: NO_MARKER})
def a_cancelled_run_stops_a_function_that_watches(stage: Stage) -> None:
    """A function that makes no Pipes call can watch for the cancellation, and stop."""
    run = stage.run_and_cancel("watches", when=lambda: stage.wait_for_note("started"))
    assert run.status is DagsterRunStatus.CANCELED
    stage.wait_for_note("has seen the cancellation")


@case(not_on={LOGGING: NO_MARKER, RESPONSE: NO_MARKER})
def a_function_that_ignores_the_cancellation(stage: Stage) -> None:
    """A cancelled run ends although its function goes on, and the function's later messages are refused."""
    run = stage.run_and_cancel("goes_on", when=lambda: stage.wait_for_note("started"))
    assert run.status is DagsterRunStatus.CANCELED
    stage.wait_for_note("has seen the cancellation")
    assert "ended" not in stage.noted()
    stage.open_gate()
    stage.wait_for_note("ended")
    assert "refused with PipesCancelledError" in stage.noted()


@case
def the_deadline(stage: Stage) -> None:
    """A function that is close to its timeout is stopped at a Pipes call, and says so before the timeout."""
    run = stage.run("loops", settings={"function_timeout": 3})
    assert "PipesDeadlineExceededError" in run.error
    assert "The function ran out of time" in run.error
    assert "still here" in run.lines
    assert stage.noted() == ["started", "stopped by PipesDeadlineExceededError"]


@case
def work_that_goes_on_after_the_response(stage: Stage) -> None:
    """Work that the function leaves behind sends nothing after the end, and the run is what it was."""
    run = stage.run("leaves_work")
    assert run.success
    assert run.response == {"returned": True}
    stage.open_gate()
    stage.wait_for_note("the line was refused")
    assert run.lines == []


@case(not_on={NODEJS: NO_CLOSE})
def a_context_closed_by_hand(stage: Stage) -> None:
    """A function that closes its context early and returns succeeds, with its lines and its response."""
    run = stage.run("closes_early")
    assert run.success
    assert run.lines == ["before the close"]
    assert run.response == {"closed": True}


@case(not_on={NODEJS: NO_CLOSE})
def a_failure_after_the_context_is_closed(stage: Stage) -> None:
    """An exception after the function has closed its context still fails the step."""
    run = stage.run("closes_early", {"fails": True})
    assert "after the close" in run.error
    assert run.lines == ["before the close"]
