"""The functions that the snippets call. Each function is an entry point."""

from typing import Any

import flask
from dagster_pipes import PipesContext
from gcf_pipes import pipes_function


@pipes_function
def orders(request: flask.Request, pipes: PipesContext) -> dict[str, Any]:
    """Compute the step's assets."""
    rows = request.get_json().get("rows", 3)
    for asset_key in pipes.asset_keys:
        pipes.log.info(f"computing {asset_key}")
        pipes.report_asset_materialization(asset_key=asset_key, metadata={"rows": rows}, data_version=f"{rows} rows")
    return {"rows": rows}
