"""The Dagster contexts that can call a function, and what the function knows of its step."""

from typing import Any

import pytest
from dagster import (
    AssetCheckExecutionContext,
    AssetCheckKey,
    AssetCheckResult,
    AssetCheckSpec,
    AssetExecutionContext,
    AssetSelection,
    DagsterInstance,
    Definitions,
    MaterializeResult,
    RunRequest,
    asset,
    asset_check,
    build_asset_check_context,
    build_asset_context,
    build_op_context,
    build_schedule_context,
    build_sensor_context,
    define_asset_job,
    materialize,
    multi_asset_check,
    sensor,
)

from dagster_gcf_pipes import PipesCloudFunctionClient, PipesCloudFunctionRequestError
from dagster_gcf_pipes.testing import LocalPipesCloudFunctionClient
from tests.dagster_runs import check_evaluations, step_error
from tests.functions.reports.main import main as reports
from tests.quotes import Quote


@pytest.fixture
def client() -> PipesCloudFunctionClient:
    return LocalPipesCloudFunctionClient(functions={"reports": reports})


@asset(key=["lake", "orders"])
def orders() -> None:
    pass


def check_of(event: dict[str, Any], answers: list[Any], **arguments: Any) -> Any:
    @asset_check(asset=orders, **arguments)
    def not_empty(context: AssetCheckExecutionContext, cloud_function: PipesCloudFunctionClient) -> AssetCheckResult:
        invocation = cloud_function.run(context=context, function="reports", event=event)
        answers.append(invocation.response.json())
        return invocation.get_asset_check_result()

    return not_empty


def test_a_plain_asset_check_calls_a_function_which_knows_the_asset(client: PipesCloudFunctionClient) -> None:
    answers: list[Any] = []
    event = {"checks": [{"check_name": "not_empty", "passed": True, "metadata": {"rows": 3}}], "one_asset": True}
    check = check_of(event, answers)
    result = materialize([orders, check], resources={"cloud_function": client})
    (evaluation,) = result.get_asset_check_evaluations()
    assert evaluation.asset_check_key == AssetCheckKey(orders.key, "not_empty")
    assert evaluation.passed
    assert evaluation.metadata["rows"].value == 3
    assert answers == [
        {
            "asset_key": "lake/orders",
            "asset_keys": ["lake/orders"],
            "code_version": None,
            "provenance": {"lake/orders": None},
        }
    ]


def test_a_check_of_a_step_that_fails_is_kept(client: PipesCloudFunctionClient) -> None:
    event = {"checks": [{"check_name": "not_empty", "passed": False}], "fails": True}
    check = check_of(event, [], blocking=True)
    with DagsterInstance.ephemeral() as instance:
        resources = {"cloud_function": client}
        result = materialize([orders, check], resources=resources, instance=instance, raise_on_error=False)
        (evaluation,) = check_evaluations(instance, result.run_id)
    assert "after all was reported" in step_error(result, "lake__orders_not_empty")
    assert not evaluation.passed
    assert evaluation.blocking


def test_a_step_with_several_checks_knows_all_assets_that_it_checks(client: PipesCloudFunctionClient) -> None:
    answers: list[Any] = []
    specs = [AssetCheckSpec("fresh", asset=["lake", "orders"]), AssetCheckSpec("fresh", asset="customers")]
    checks = [
        {"check_name": "fresh", "passed": True, "asset_key": "lake/orders"},
        {"check_name": "fresh", "passed": False, "severity": "WARN", "asset_key": "customers"},
    ]

    @multi_asset_check(specs=specs)
    def all_fresh(context: AssetCheckExecutionContext, cloud_function: PipesCloudFunctionClient) -> Any:
        invocation = cloud_function.run(context=context, function="reports", event={"checks": checks})
        answers.append(invocation.response.json()["asset_keys"])
        yield from invocation.get_results()

    job = define_asset_job("checks", selection=AssetSelection.checks(all_fresh))
    definitions = Definitions(asset_checks=[all_fresh], jobs=[job], resources={"cloud_function": client})
    result = definitions.resolve_job_def("checks").execute_in_process()
    assert {each.asset_key.to_user_string(): each.passed for each in result.get_asset_check_evaluations()} == {
        "lake/orders": True,
        "customers": False,
    }
    assert answers == [["customers", "lake/orders"]]


def test_an_asset_check_that_a_test_calls_directly_works(client: PipesCloudFunctionClient) -> None:
    answers: list[Any] = []
    event = {"checks": [{"check_name": "not_empty", "passed": True}], "one_asset": True}
    check = check_of(event, answers)
    assert check(build_asset_check_context(), cloud_function=client).passed
    assert answers[0]["asset_key"] == "lake/orders"


def test_an_asset_with_checks_of_its_own_knows_the_asset_alone(client: PipesCloudFunctionClient) -> None:
    answers: list[Any] = []

    @asset(check_specs=[AssetCheckSpec("fresh", asset="customers")], code_version="7")
    def customers(context: AssetExecutionContext, cloud_function: PipesCloudFunctionClient) -> MaterializeResult:
        event = {"checks": [{"check_name": "fresh", "passed": True}], "one_asset": True}
        invocation = cloud_function.run(context=context, function="reports", event=event)
        answers.append(invocation.response.json())
        return invocation.get_materialize_result()

    assert materialize([customers], resources={"cloud_function": client}).success
    assert (answers[0]["asset_keys"], answers[0]["code_version"]) == (["customers"], "7")


@pytest.mark.parametrize(
    ("build", "advice"),
    [
        (build_sensor_context, "got SensorEvaluationContext.\nFix: Return a `RunRequest` for a job"),
        (build_schedule_context, "got ScheduleEvaluationContext.\nFix: Return a `RunRequest` for a job"),
        (lambda: None, "got NoneType.\nFix: Call `run` in an asset, an op or an asset check"),
        (build_op_context, "In a test, call the asset or the op itself with `build_asset_context()`"),
        (build_asset_context, "In a test, call the asset or the op itself with `build_asset_context()`"),
        (object, "got object.\nFix: Call `run` in an asset, an op or an asset check"),
    ],
)
def test_a_context_without_a_step_is_refused_with_what_to_do(
    client: PipesCloudFunctionClient, build: Any, advice: str
) -> None:
    with pytest.raises(PipesCloudFunctionRequestError) as caught:
        client.run(context=build(), function="reports")
    assert advice in str(caught.value.description)


def test_the_error_of_a_context_that_a_test_builds_is_quoted(client: PipesCloudFunctionClient, quote: Quote) -> None:
    with pytest.raises(PipesCloudFunctionRequestError) as caught:
        client.run(context=build_asset_context(), function="reports")
    quote("context_built_by_a_test", str(caught.value.description))


def test_a_sensor_that_calls_a_function_fails_with_what_to_do(client: PipesCloudFunctionClient, quote: Quote) -> None:
    @sensor(asset_selection=[orders])
    def calling(context: Any, cloud_function: PipesCloudFunctionClient) -> RunRequest:
        cloud_function.run(context=context, function="reports")
        return RunRequest()

    with (
        build_sensor_context(resources={"cloud_function": client}) as context,
        pytest.raises(PipesCloudFunctionRequestError) as caught,
    ):
        calling(context)
    quote("called_by_a_sensor", str(caught.value.description))
