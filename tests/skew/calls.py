"""Makes calls with the Dagster side of this environment, and prints what came of each as JSON.

    python calls.py FUNCTION_URL URL_THAT_DELIVERS_TWICE BUCKET

It works with each version of `dagster_gcf_pipes`: it uses nothing new.
"""

import io
import json
import logging
import os
import signal
import sys
from contextlib import redirect_stdout
from threading import Thread
from typing import Any

from dagster import AssetExecutionContext, DagsterInstance, MaterializeResult, asset, materialize

import dagster_gcf_pipes
from dagster_gcf_pipes import PipesCloudFunctionClient

MANY = os.urandom(1_000_000).hex()


def call(case: str, url: str, bucket: str, *, mode: str = "reports", extras: Any = None, **settings: Any) -> Any:
    """Call the function from an asset; return what Dagster has of the run."""

    @asset
    def orders(context: AssetExecutionContext, client: PipesCloudFunctionClient) -> MaterializeResult[Any]:
        event = {"mode": mode, "case": case, "bucket": bucket}
        return client.run(context=context, function_url=url, event=event, extras=extras).get_materialize_result()

    client = PipesCloudFunctionClient(bucket=bucket, **settings)
    with DagsterInstance.ephemeral() as instance:
        result = materialize([orders], resources={"client": client}, instance=instance, raise_on_error=False)
        failure = result.failure_data_for_node("orders")
        materialized = result.get_asset_materialization_events()
        logs = [(entry.level, entry.user_message) for entry in instance.all_logs(result.run_id)]
    return {
        "success": result.success,
        "failure": failure.user_failure_data.description if failure and failure.user_failure_data else None,
        "extras": [event.materialization.metadata["extras"].value for event in materialized],
        "logged": sum(message == "logged by the function" for _, message in logs),
        "fixes": [message for level, message in logs if level == logging.WARNING and "Fix:" in message],
    }


def make_calls(url: str, twice: str, bucket: str) -> dict[str, Any]:
    """Make the calls that end by themselves."""
    return {
        "success": call("success", url, bucket, extras={"rows": 3}),
        "exception": call("exception", url, bucket, mode="raises"),
        "output": call("output", url, bucket, forward_logs=True),
        "large context": call("large context", url, bucket, extras={"many": MANY}),
        "delivered twice": call("delivered twice", twice, bucket),
    }


def main(url: str, twice: str, bucket: str) -> None:
    """Make the calls. Meanwhile, the main thread makes one that is interrupted at the end, as by Ctrl-C."""

    def make_calls_and_interrupt() -> None:
        calls.update(make_calls(url, twice, bucket))
        os.kill(os.getpid(), signal.SIGINT)

    calls: dict[str, Any] = {}
    others = Thread(target=make_calls_and_interrupt, daemon=True)
    with redirect_stdout(io.StringIO()) as printed:
        others.start()
        calls["cancel"] = call("cancel", url, bucket, mode="loops")
        others.join()
    lines = printed.getvalue().count("printed by the function")
    print(json.dumps({"package": dagster_gcf_pipes.__file__, "calls": calls, "printed": lines}))


if __name__ == "__main__":
    main(*sys.argv[1:])
