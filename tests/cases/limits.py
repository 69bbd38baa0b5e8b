"""Sizes and shapes at which calls and messages are refused."""

from tests.cases.case import case
from tests.cases.stage import Stage


@case
def a_message_nested_too_deep(stage: Stage) -> None:
    """A message that is nested more than 100 levels deep is refused at once, and the function may go on."""
    run = stage.run("nested", {"depth": 101})
    assert run.success
    assert "`report_custom_message` to be nested at most 100 levels deep" in run.response["refused"]
    assert run.custom_messages == []


@case
def a_message_nested_just_deep_enough(stage: Stage) -> None:
    """A message that is nested almost 100 levels deep arrives."""
    run = stage.run("nested", {"depth": 98})
    assert run.response == {"refused": None}
    assert len(run.custom_messages) == 1


@case
def an_event_too_large_for_the_platform(stage: Stage) -> None:
    """An event above 32 MiB is refused before anything is sent."""
    run = stage.run("log", {"lines": [], "letters": "x" * 33 * 1024 * 1024})
    assert "PipesCloudFunctionRequestError" in run.error
    assert stage.noted() == []


@case
def an_event_of_ten_megabytes(stage: Stage) -> None:
    """An event of 10 MB arrives whole."""
    run = stage.run("log", {"lines": [["info", "arrived"]], "letters": "x" * 10_000_000})
    assert run.lines == ["arrived"]
