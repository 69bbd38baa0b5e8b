from pathlib import Path

from dagster_gcf_pipes.testing import invoke, load_function

main = load_function(Path(__file__).parent)


def test_orders():
    result = invoke(main, {"table_uri": "gs://lake/orders"}, asset_keys="orders")
    assert result.succeeded
    assert result.materializations["orders"].metadata["rows"] == 3
