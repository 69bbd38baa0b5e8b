"""Assets and their checks."""

import pytest
from dagster import AssetCheckKey, AssetKey, AssetSelection, DagsterInstance

from examples.features import (
    asset_checks,
    assets,
    blocking_checks,
    code_versions,
    data_versions,
    graph_assets,
    multi_asset_checks,
    multi_assets,
    observable_source_assets,
    results,
    retry_policy,
    selected_checks,
)
from tests.features.runs import evaluated, failure_text, materialized, reported, run_assets, run_job, step_keys

NO_ROWS = {"ops": {"orders_not_empty": {"config": {"rows": 0}}}}


def check(asset: str) -> AssetSelection:
    return AssetSelection.checks(AssetCheckKey(AssetKey(asset), "not_empty"))


def test_assets(instance: DagsterInstance) -> None:
    run = run_assets(assets, instance)
    assert run.is_success
    events = materialized(instance, run)
    assert {key: reported(event)["rows"] for key, event in events.items()} == {"orders": 3, "revenue": 1}


def test_a_downstream_asset_alone(instance: DagsterInstance) -> None:
    run = run_assets(assets, instance, AssetSelection.assets("revenue"))
    assert list(materialized(instance, run)) == ["revenue"]


def test_multi_assets(instance: DagsterInstance) -> None:
    run = run_assets(multi_assets, instance)
    assert run.is_success
    assert sorted(materialized(instance, run)) == ["customers", "items", "payments"]


@pytest.mark.parametrize("selected", [["items"], ["customers", "payments"]])
def test_a_subset_of_a_multi_asset(instance: DagsterInstance, selected: list[str]) -> None:
    run = run_assets(multi_assets, instance, AssetSelection.assets(*selected))
    assert run.is_success
    assert sorted(materialized(instance, run)) == selected


def test_graph_backed_assets(instance: DagsterInstance) -> None:
    run = run_assets(graph_assets, instance)
    assert run.is_success
    (event,) = materialized(instance, run).values()
    assert reported(event)["bytes"] == 9
    assert step_keys(instance, run, "STEP_SUCCESS") == ["thumbnails.resize_photo", "thumbnails.count_bytes"]


def test_asset_checks(instance: DagsterInstance) -> None:
    run = run_assets(asset_checks, instance)
    assert run.is_success
    evaluation = evaluated(instance, run)["orders:not_empty"]
    assert (evaluation.passed, reported(evaluation)) == (True, {"rows": 3})
    materialization = instance.get_latest_materialization_event(AssetKey("orders"))
    assert materialization
    assert evaluation.target_materialization_data
    assert evaluation.target_materialization_data.run_id == materialization.run_id


def test_a_check_without_its_asset(instance: DagsterInstance) -> None:
    first = run_assets(asset_checks, instance, AssetSelection.assets("orders").without_checks())
    assert not evaluated(instance, first)
    run = run_assets(asset_checks, instance, check("orders"))
    assert run.is_success
    assert not materialized(instance, run)
    target = evaluated(instance, run)["orders:not_empty"].target_materialization_data
    assert target
    assert target.run_id == first.run_id


def test_blocking_checks(instance: DagsterInstance) -> None:
    run = run_assets(blocking_checks, instance, run_config=NO_ROWS)
    assert run.is_failure
    assert not evaluated(instance, run)["orders:not_empty"].passed
    assert list(materialized(instance, run)) == ["orders"]
    assert step_keys(instance, run, "STEP_START") == ["orders", "orders_not_empty"]


def test_a_blocking_check_that_passes_lets_the_assets_downstream_start(instance: DagsterInstance) -> None:
    run = run_assets(blocking_checks, instance)
    assert run.is_success
    assert list(materialized(instance, run)) == ["orders", "revenue"]


def test_multi_asset_checks(instance: DagsterInstance) -> None:
    run = run_assets(multi_asset_checks, instance)
    assert run.is_success
    evaluations = evaluated(instance, run)
    assert {key: event.passed for key, event in evaluations.items()} == {
        "customers:not_empty": True,
        "orders:not_empty": True,
    }


def test_a_subset_of_multi_asset_checks(instance: DagsterInstance) -> None:
    run = run_assets(multi_asset_checks, instance, check("customers"))
    assert run.is_success
    assert list(evaluated(instance, run)) == ["customers:not_empty"]


@pytest.mark.parametrize(
    ("selection", "computed", "checked"),
    [
        (check("items"), [], ["items:not_empty"]),
        (AssetSelection.assets("items").without_checks(), ["items"], []),
        (AssetSelection.all(), ["customers", "items"], ["customers:not_empty", "items:not_empty"]),
    ],
)
def test_selected_checks(
    instance: DagsterInstance, selection: AssetSelection, computed: list[str], checked: list[str]
) -> None:
    run = run_assets(selected_checks, instance, selection)
    assert run.is_success
    assert (sorted(materialized(instance, run)), sorted(evaluated(instance, run))) == (computed, checked)


def test_a_step_cannot_compute_one_asset_and_check_only_another(instance: DagsterInstance) -> None:
    """The page says so: Pipes knows one list of assets, and refuses others."""
    run = run_assets(selected_checks, instance, AssetSelection.assets("items").without_checks() | check("customers"))
    assert run.is_failure
    assert "Invalid asset key. Expected one of `['items']`, got `customers`" in failure_text(instance, run)


def test_observable_source_assets(instance: DagsterInstance) -> None:
    run = run_job(observable_source_assets, instance, "files_job")
    assert run.is_success
    (observation,) = instance.fetch_observations(AssetKey("files"), limit=2).records
    assert observation.asset_observation
    assert observation.asset_observation.data_version == "5 bytes"


def test_results(instance: DagsterInstance) -> None:
    run = run_assets(results, instance)
    assert run.is_success
    events = materialized(instance, run)
    assert {key: reported(event) for key, event in events.items()} == {
        "orders": {"rows": 3},
        "stock": {"rows": 3},
        "summary": {"bytes": 5},
    }
    assert sorted(evaluated(instance, run)) == ["orders:not_empty", "stock:not_empty", "summary:not_empty"]


def test_retry_policies(instance: DagsterInstance) -> None:
    run = run_assets(retry_policy, instance)
    assert run.is_success
    assert reported(materialized(instance, run)["orders"]) == {"attempt": 1}
    assert step_keys(instance, run, "STEP_UP_FOR_RETRY") == ["orders"]


def test_code_versions(instance: DagsterInstance) -> None:
    run = run_assets(code_versions, instance)
    event = materialized(instance, run)["orders"]
    assert reported(event)["seen"]["code_version"] == "2"
    assert event.tags
    assert event.tags["dagster/code_version"] == "2"


def test_data_versions_and_provenance(instance: DagsterInstance) -> None:
    run_assets(data_versions, instance, run_config={"ops": {"orders": {"config": {"rows": 7}}}})
    run = run_assets(data_versions, instance)
    events = materialized(instance, run)
    tags = {key: event.tags or {} for key, event in events.items()}
    assert tags["orders"]["dagster/data_version"] == "3 rows"
    assert tags["revenue"]["dagster/input_data_version/orders"] == "3 rows"
    assert reported(events["revenue"])["seen"]["computed_from"] == {"orders": "7 rows"}
