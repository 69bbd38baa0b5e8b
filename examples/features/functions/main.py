"""The functions that the snippets call. Each function is an entry point."""

from datetime import date, timedelta
from typing import Any

import flask
from dagster_pipes import PipesContext
from gcf_pipes import pipes_function, report_partition_materialization


@pipes_function
def orders(request: flask.Request, pipes: PipesContext) -> dict[str, Any]:
    """Compute the step's assets."""
    rows = request.get_json().get("rows", 3)
    for asset_key in pipes.asset_keys:
        pipes.log.info(f"computing {asset_key}")
        pipes.report_asset_materialization(asset_key=asset_key, metadata={"rows": rows}, data_version=f"{rows} rows")
    return {"rows": rows}


@pipes_function
def checked_orders(request: flask.Request, pipes: PipesContext) -> None:
    """Compute one asset, check it, and send what there is to know of it."""
    rows = request.get_json().get("rows", 3)
    pipes.report_asset_materialization(metadata={"rows": rows})
    pipes.report_asset_check("not_empty", passed=rows > 0, metadata={"rows": rows})
    pipes.report_custom_message({"table": "orders", "rows": rows})


@pipes_function
def quality(request: flask.Request, pipes: PipesContext) -> None:
    """Check the step's assets."""
    rows = request.get_json().get("rows", 3)
    for asset_key in pipes.asset_keys:
        pipes.report_asset_check("not_empty", passed=rows > 0, metadata={"rows": rows}, asset_key=asset_key)


@pipes_function
def resize(request: flask.Request, pipes: PipesContext) -> None:
    """Resize an image."""
    uri = request.get_json()["uri"]
    pipes.log.info(f"resizing {uri}")
    pipes.report_custom_message({"uri": uri, "bytes": len(uri)})


@pipes_function
def crawl(request: flask.Request, pipes: PipesContext) -> dict[str, Any]:
    """Fetch a page, and return its size."""
    url = request.get_json()["url"]
    pipes.log.info(f"fetching {url}")
    if url.endswith(".invalid"):
        raise LookupError(f"no such host: {url}")
    return {"bytes": len(url)}


@pipes_function
def unreliable(request: flask.Request, pipes: PipesContext) -> None:
    """Fail until Dagster has tried again."""
    attempt = pipes.retry_number or int(pipes.extras.get("attempt", 0))
    if attempt == 0:
        raise ConnectionError("the warehouse is away")
    pipes.report_asset_materialization(metadata={"attempt": attempt})


@pipes_function
def describe(request: flask.Request, pipes: PipesContext) -> None:
    """Show what a function knows of its run."""
    provenance = pipes.provenance
    seen = {
        "code_version": pipes.code_version,
        "computed_from": provenance["input_data_versions"] if provenance else {},
        "extras": dict(pipes.extras),
    }
    pipes.report_asset_materialization(metadata={"seen": {"raw_value": seen, "type": "json"}})


@pipes_function
def partitioned(request: flask.Request, pipes: PipesContext) -> None:
    """Compute a partition, or a range of them."""
    keys, window = pipes.partition_key_range, pipes.partition_time_window
    if keys["start"] == request.get_json().get("missing"):
        raise LookupError(f"no data of {keys['start']}")
    metadata = {"first": keys["start"], "last": keys["end"], "until": window["end"] if window else "any time"}
    pipes.report_asset_materialization(metadata, data_version=f"{keys['start']} to {keys['end']}")


@pipes_function
def day_by_day(request: flask.Request, pipes: PipesContext) -> None:
    """Compute a range of days, and report each."""
    keys, missing = pipes.partition_key_range, request.get_json().get("missing")
    first, last = date.fromisoformat(keys["start"]), date.fromisoformat(keys["end"])
    for number in range((last - first).days + 1):
        key = (first + timedelta(days=number)).isoformat()
        if key != missing:
            metadata = {"first": key, "last": key}
            report_partition_materialization(pipes, key, metadata=metadata, data_version=f"readings of {key}")


@pipes_function
def selected(request: flask.Request, pipes: PipesContext) -> None:
    """Compute and check what is selected."""
    for asset_key in pipes.extras["assets"]:
        pipes.report_asset_materialization(asset_key=asset_key, metadata={"rows": 3})
    for asset_key in pipes.extras["checks"]:
        pipes.report_asset_check("not_empty", passed=True, asset_key=asset_key)
