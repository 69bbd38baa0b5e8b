"""A call in process has the same outcome as over HTTP, with an emulator and a function in processes of their own."""

from typing import Any

import pytest
from dagster import AssetCheckSpec, AssetExecutionContext, DagsterInstance, asset, materialize

from dagster_gcf_pipes import PipesCloudFunctionClient, PipesCloudFunctionError
from dagster_gcf_pipes.local import FunctionServer
from dagster_gcf_pipes.testing import LocalPipesCloudFunctionClient
from tests.dagster_runs import check_evaluations, materializations
from tests.functions.behaviors.main import main

CHECKS = [AssetCheckSpec("not_empty", asset="orders"), AssetCheckSpec("fresh", asset="orders")]
FIGURES = {"cloud_function/peak_memory_mib", "cloud_function/cpu_seconds"}
VOLATILE = {"cloud_function/duration_seconds", "cloud_function/execution_id", "cloud_function/start", *FIGURES}


def outcome(client: PipesCloudFunctionClient, url: str, mode: str) -> dict[str, Any]:
    """Return all that a caller and Dagster see of a call."""
    seen: dict[str, Any] = {}

    @asset(check_specs=CHECKS)
    def orders(context: AssetExecutionContext, cloud_function: PipesCloudFunctionClient) -> Any:
        try:
            invocation = cloud_function.run(
                context=context, function_url=url, event={"mode": mode, "count": 3, "tag": "line"}, extras={"a": 1}
            )
        except PipesCloudFunctionError as error:
            seen["error"] = (type(error), error.description, error.allow_retries, sorted(error.metadata or {}))
            seen["http"] = (error.function_url, error.http_status)
            raise
        response = invocation.response
        seen["response"] = (response.status_code, response.text.replace(context.run.run_id, "RUN"))
        seen["headers"] = sorted({*response.headers} - {"Server", "Date", "Connection", "Content-Length"})
        seen["custom messages"] = invocation.get_custom_messages()
        yield from invocation.get_results()

    with DagsterInstance.ephemeral() as instance:
        run = materialize([orders], resources={"cloud_function": client}, raise_on_error=False, instance=instance)
        entries = [entry for entry in instance.all_logs(run.run_id) if not entry.is_dagster_event]
        reports: list[Any] = [*materializations(instance, run.run_id), *check_evaluations(instance, run.run_id)]
    seen["success"] = run.success
    seen["logs"] = sorted((each.level, each.user_message) for each in entries if "[pipes]" not in each.user_message)
    seen["reports"] = [{**each.metadata, **dict.fromkeys(VOLATILE & {*each.metadata})} for each in reports]
    return seen


@pytest.mark.parametrize(
    "mode",
    [
        "ok",
        "echo",
        "levels",
        "materialize",
        "materialize_and_raise",
        "raises",
        "exits",
        "aborts",
        "returns_none",
        "returns_nonsense",
        "returns_stream",
        "answers_500",
        "custom_not_serializable",
        "from_threads",
    ],
)
def test_the_outcome_is_that_of_real_http(
    function: FunctionServer, client: PipesCloudFunctionClient, mode: str
) -> None:
    in_process = LocalPipesCloudFunctionClient(functions={function.url: main})
    assert outcome(in_process, function.url, mode) == outcome(client, function.url, mode)
