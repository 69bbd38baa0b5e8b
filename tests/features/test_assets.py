"""Assets."""

from dagster import DagsterInstance

from examples.features import assets
from tests.features.runs import materialized, metadata, run_assets


def test_assets(instance: DagsterInstance) -> None:
    run = run_assets(assets, instance)
    assert run.is_success
    events = materialized(instance, run)
    assert {key: metadata(event)["rows"] for key, event in events.items()} == {"orders": 3, "revenue": 1}
