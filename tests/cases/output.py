"""What the function prints, and the levels of its lines."""

from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO

from tests.cases.case import case
from tests.cases.stage import Stage

STDOUT = ["printed 0", "ünï ☃ 😀", "", "printed 3"]
STDERR = ["an error 0", "an error 1"]


@contextmanager
def step_output() -> Iterator[tuple[StringIO, StringIO]]:
    """Yield what the step prints to stdout and to stderr in the block."""
    stdout, stderr = StringIO(), StringIO()
    with redirect_stdout(stdout), redirect_stderr(stderr):
        yield stdout, stderr


@case
def output_that_is_forwarded(stage: Stage) -> None:
    """With `forward_logs`, what the function prints is in the stdout and stderr of the step, in order."""
    with step_output() as (stdout, stderr):
        run = stage.run("prints", {"stdout": STDOUT, "stderr": STDERR}, settings={"forward_logs": True})
    assert run.success
    assert stdout.getvalue().splitlines()[-len(STDOUT) :] == STDOUT
    assert [line for line in stderr.getvalue().splitlines() if line in STDERR] == STDERR
    assert run.lines == []


@case
def output_that_is_not_forwarded(stage: Stage) -> None:
    """Without `forward_logs`, what the function prints stays in its own log."""
    with step_output() as (stdout, stderr):
        assert stage.run("prints", {"stdout": STDOUT, "stderr": STDERR}).success
    assert "printed 0" not in stdout.getvalue()
    assert "an error 0" not in stderr.getvalue()
    stage.server.child.wait_for_output("printed 3")


@case
def lines_below_the_level(stage: Stage) -> None:
    """With `event_log_level`, lines of lower levels are in the step's stdout in place of its event log."""
    lines = [[level, f"at {level}"] for level in ("debug", "info", "warning", "error")]
    with step_output() as (stdout, _):
        run = stage.run("log", {"lines": lines}, settings={"event_log_level": "warning"})
    assert run.lines == ["at warning", "at error"]
    assert "at debug" in stdout.getvalue()
    assert "at info" in stdout.getvalue()
    assert "at warning" not in stdout.getvalue()


@case
def the_level_of_each_line(stage: Stage) -> None:
    """Lines of all five levels keep their levels and their order, also if they share entries."""
    levels = ("debug", "info", "info", "warning", "error", "critical", "debug")
    run = stage.run("log", {"lines": [[level, f"{number} {level}"] for number, level in enumerate(levels)]})
    found = [(level, line) for level, text in run.levels for line in text.split("\n")]
    assert found == [(level, f"{number} {level}") for number, level in enumerate(levels)]
