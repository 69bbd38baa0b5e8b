"""A value of each type of metadata that Pipes has."""

from typing import Any

METADATA: dict[str, Any] = {
    "text": "a text",
    "url": "https://example.com/",
    "path": "/tmp/orders",
    "notebook": "/tmp/orders.ipynb",
    "json": {"rows": [1, 2]},
    "md": "**bold**",
    "float": 0.5,
    "int": 3,
    "bool": True,
    "dagster_run": "00000000-0000-0000-0000-000000000000",
    "asset": "conformance/orders",
    "null": None,
    "table": {"records": [{"rows": 3}], "schema": [{"name": "rows", "type": "int"}]},
    "table_schema": {"columns": [{"name": "rows", "type": "int"}]},
    "table_column_lineage": {"deps_by_column": {"rows": [{"asset_key": "raw", "column_name": "rows"}]}},
    "timestamp": 1704067200.0,
}
