"""The snippets of partitions. `test_daemon.py` has those of backfills."""

import pytest
from dagster import AssetSelection, DagsterInstance, MultiPartitionKey

from examples.features import partitions
from tests.features.runs import materialized, reported, run_assets

ANY_TIME = "any time"


@pytest.mark.parametrize(
    ("asset", "key", "until"),
    [
        pytest.param("daily_sales", "2024-01-03", "2024-01-04T00:00:00+00:00", id="daily"),
        pytest.param("monthly_sales", "2024-02-01", "2024-03-01T00:00:00+00:00", id="monthly"),
        pytest.param("hourly_sales", "2024-10-27-02:00", "2024-10-27T02:00:00+01:00", id="hourly, before the change"),
        pytest.param("hourly_sales", "2024-10-27-02:00+0100", "2024-10-27T03:00:00+01:00", id="hourly, after it"),
        pytest.param("regional_sales", "north/east", ANY_TIME, id="static"),
        pytest.param("regional_sales", "köln", ANY_TIME, id="static, no ASCII"),
        pytest.param("regional_sales", 'the "rest"', ANY_TIME, id="static, quotes"),
        pytest.param("customer_sales", "Zoë & Söhne", ANY_TIME, id="dynamic"),
        pytest.param(
            "regional_sales_by_day",
            MultiPartitionKey({"day": "2024-01-03", "region": "köln"}),
            "2024-01-04T00:00:00+00:00",
            id="two dimensions",
        ),
    ],
)
def test_partitions(instance: DagsterInstance, asset: str, key: str, until: str) -> None:
    instance.add_dynamic_partitions("customers", ["Zoë & Söhne"])
    run = run_assets(partitions, instance, AssetSelection.assets(asset), partition_key=key)
    assert run.is_success
    event = materialized(instance, run)[asset]
    assert event.partition == key
    assert reported(event) == {"first": key, "last": key, "until": until}
    assert (event.tags or {})["dagster/data_version"] == f"{key} to {key}"
