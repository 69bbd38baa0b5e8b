"""Functions that fail, and messages that Dagster cannot use."""

import re
from typing import Any

from dagster import AssetCheckSpec

from tests.cases.case import case
from tests.cases.stage import Stage


@case
def an_exception_with_its_cause(stage: Stage) -> None:
    """The step fails with the exception of the function, its stack and its cause, and with the lines before it."""
    run = stage.run("fail")
    assert not run.success
    assert "PipesCloudFunctionRaisedError" in run.error
    assert "conformance failure" in run.error
    for text in (run.exception, run.traceback):
        assert "conformance failure" in text
        assert "conformance cause" in text
    assert run.lines == ["conformance: before"]
    assert run.materializations == []
    assert stage.noted() == ["started"]


@case
def a_long_chain_of_causes(stage: Stage) -> None:
    """Of 25 exceptions that caused each other, Dagster shows the twenty nearest to the failure, and says so."""
    run = stage.run("chain", {"count": 25})
    assert "number 24" in run.error
    assert set(re.findall(r"number (\d+)", run.exception)) == {str(number) for number in range(5, 25)}
    assert "5 earlier exceptions left out" in run.exception


@case
def an_exception_with_a_long_text(stage: Stage) -> None:
    """Of a text of 100 kB, Dagster shows the start and the end."""
    run = stage.run("long_error", {"size": 100_000})
    assert "the start xxx" in run.error
    assert "the start xxx" in run.exception
    assert "xxx the end" in run.exception
    assert "x" * 50_000 not in run.exception


@case
def a_status_of_the_function(stage: Stage) -> None:
    """A status of the function that is not 2xx fails the step with its body, and the function runs once."""
    run = stage.run("status", {"status": 503, "body": "no rows today"})
    assert "The function returned HTTP 503, expected 2xx. Its body: no rows today" in run.error
    assert run.lines == ["conformance: status"]
    assert stage.noted() == ["started"]


@case
def a_status_of_a_missing_page(stage: Stage) -> None:
    """A 404 of the function's own is not taken for one of the platform."""
    error = stage.run("status", {"status": 404, "body": "no such day"}).error
    assert "The function returned HTTP 404, expected 2xx. Its body: no such day" in error


@case
def a_handled_exception(stage: Stage) -> None:
    """An exception that the function handles itself fails nothing."""
    run = stage.run("handles")
    assert run.success
    ((level, line),) = run.levels
    assert level == "warning"
    assert line.startswith("went on after: ")


@case
def a_value_that_json_cannot_express(stage: Stage) -> None:
    """A custom message that is not JSON fails the call at once, with the name of the message."""
    error = stage.run("unserializable").error
    assert "the Pipes message `report_custom_message` to be JSON" in error


@case
def an_asset_of_another_step(stage: Stage) -> None:
    """A materialization of an asset that the step does not have fails it, and names the asset."""
    run = stage.run("materialize", {"reports": [{"asset_key": "not/mine"}]})
    assert not run.success
    assert "not/mine" in run.error


@case
def an_asset_reported_twice(stage: Stage) -> None:
    """A second materialization of an asset fails the call."""
    run = stage.run("materialize", {"reports": [{}, {}]})
    assert not run.success
    assert "has already been materialized" in run.error


@case
def a_check_that_the_asset_does_not_have(stage: Stage) -> None:
    """The result of a check that the step does not have fails it, and names the check."""
    checks = [{"check_name": "unheard_of", "passed": True}]
    specs = [AssetCheckSpec("fresh", asset="orders")]
    run = stage.run("materialize", {"reports": [{}], "checks": checks}, check_specs=specs)
    assert not run.success
    assert "unheard_of" in run.error


@case
def a_metadata_type_that_does_not_exist(stage: Stage) -> None:
    """A metadata value of an unknown type fails the call, and names the type."""
    reports: list[dict[str, Any]] = [{"metadata": {"rows": {"raw_value": 3, "type": "rowcount"}}}]
    run = stage.run("materialize", {"reports": reports})
    assert not run.success
    assert "rowcount" in run.error


@case
def reports_before_a_failure(stage: Stage) -> None:
    """What the function reported before it failed stays in Dagster."""
    event = {
        "reports": [{"metadata": {"rows": 3}, "data_version": "v1"}],
        "checks": [{"check_name": "fresh", "passed": False, "severity": "WARN"}],
        "fails": True,
    }
    run = stage.run("materialize", event, check_specs=[AssetCheckSpec("fresh", asset="orders")])
    assert not run.success
    assert "after all was reported" in run.error
    assert run.metadata["rows"].value == 3
    assert [(each.check_name, each.passed) for each in run.checks] == [("fresh", False)]


@case
def a_task_without_code(stage: Stage) -> None:
    """An exception of the language itself, not of the user, fails the step with its text."""
    run = stage.run("no_such_task")
    assert not run.success
    assert "no_such_task" in run.error
