"""Processes of the function that are killed, as the platform kills an instance without memory."""

from collections.abc import Callable
from dataclasses import dataclass

from tests.cases.case import LOGGING, RESPONSE, case
from tests.cases.stage import Stage
from tests.faults.matrix import chunk
from tests.faults.plan import UPLOAD, Action, Exchange, Fault, HangUp, Reply

NO_CLAIM = "nothing is stored before the user's code runs"


@dataclass(frozen=True)
class Kill(Action):
    """Kills the function at a request of it.

    Attributes:
        kill: Kills it.
        processed: Whether the request is processed before.
    """

    kill: Callable[[], None]
    processed: bool

    def apply(self, exchange: Exchange) -> Reply:
        if self.processed:
            exchange.forward()
        self.kill()
        return HangUp.RESET


@case
def killed_while_it_runs(stage: Stage) -> None:
    """The step fails with the lines before the crash, and the function does not run again."""
    with stage.own_function() as own, own.running("dies") as running:
        running.wait_for_line("before")
        own.open_gate()
        run = running.result()
    assert not run.success
    assert "PipesCloudFunctionCallError" in run.error
    assert run.lines == ["before"]
    assert stage.noted() == ["started"]


@case(not_on={LOGGING: NO_CLAIM, RESPONSE: NO_CLAIM})
def killed_before_it_opened(stage: Stage) -> None:
    """If the function dies before its first message is stored, the step fails, and a late delivery runs nothing."""
    with stage.own_function() as own:
        kill = Fault(chunk(UPLOAD, 1), Kill(own.kill, processed=False))
        with stage.links["writer"].planned(kill):
            run = own.run("log", {"lines": [["info", "never"]]})
    assert "attempt 1 got no response" in run.error
    assert run.lines == []
    assert stage.stored(run.run_id) == ["1.json", "cancel"]  # Dagster has claimed the session
    assert stage.noted() == []


@case(not_on={LOGGING: "nothing is stored", RESPONSE: "the response is the last message"})
def killed_between_its_last_message_and_the_response(stage: Stage) -> None:
    """A function that dies after `closed` is stored, and before it responds, has succeeded."""
    with stage.own_function() as own:
        kill = Fault(chunk(UPLOAD, 2), Kill(own.kill, processed=True))
        with stage.links["writer"].planned(kill):
            run = own.run("custom", {"payloads": ["done"]})
    assert run.success, run.text
    assert run.custom_messages == ["done"]
    assert stage.noted() == ["started"]


@case
def a_function_that_is_started_again(stage: Stage) -> None:
    """After a crash, the next run works with a fresh process."""
    with stage.own_function() as own:
        own.open_gate()
        assert not own.run("dies").success
    with stage.own_function() as own:
        assert own.run("waits").lines == ["before", "after"]
