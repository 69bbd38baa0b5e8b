"""Several calls of one function, at once or one after another."""

import threading
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

from dagster import AssetExecutionContext, MaterializeResult, asset

from dagster_gcf_pipes import PipesCloudFunctionClient
from tests.cases.case import LOGGING, RESPONSE, case
from tests.cases.contexts import DAYS
from tests.cases.shown import Shown
from tests.cases.stage import Stage
from tests.waiting import wait_until

ONE_READER = "its calls share a reader of the bucket"


def runs_at_once(stage: Stage, tags: list[str], failing: frozenset[str] = frozenset()) -> dict[str, Shown]:
    """Make a run for each tag, all at once."""
    together = Barrier(len(tags))

    def run(tag: str) -> Shown:
        together.wait(60)
        return stage.run("lines", {"count": 100, "tag": tag, "fails": tag in failing})

    with ThreadPoolExecutor(len(tags)) as pool:
        return dict(zip(tags, pool.map(run, tags), strict=True))


@case
def eight_runs_at_once(stage: Stage) -> None:
    """Eight runs at once in one process of the function mix no line, materialization, custom message or response."""
    for tag, run in runs_at_once(stage, [f"run-{number}" for number in range(8)]).items():
        assert run.success
        assert run.lines == [f"{tag} {number}" for number in range(100)]
        assert run.metadata["tag"].value == tag
        assert run.custom_messages == [tag]
        assert run.response == {"tag": tag}


@case
def failures_beside_successes(stage: Stage) -> None:
    """Of six runs at once, three fail, each with its own exception and lines, and three succeed."""
    tags = [f"run-{number}" for number in range(6)]
    failing = frozenset(tags[::2])
    for tag, run in runs_at_once(stage, tags, failing).items():
        assert run.success == (tag not in failing)
        assert run.lines == [f"{tag} {number}" for number in range(100)]
        assert [f"{tag} fails" in error for error in run.errors] == [True] * (tag in failing)


@case
def ten_runs_one_after_another(stage: Stage) -> None:
    """Runs one after another in one process leave neither lines nor threads to the next."""
    for number in range(10):
        run = stage.run("lines", {"count": 2, "tag": str(number)})
        assert run.lines == [f"{number} 0", f"{number} 1"]
    wait_until(lambda: not [each for each in threading.enumerate() if each.name.startswith("pipes ")])


@case
def two_assets_of_one_run(stage: Stage) -> None:
    """Two assets of one run that share the resource get their own messages."""

    def calling(name: str) -> object:
        @asset(name=name)
        def calls(context: AssetExecutionContext, cloud_function: PipesCloudFunctionClient) -> MaterializeResult:
            event = stage.event("lines", {"count": 20, "tag": name})
            return cloud_function.run(context=context, function_url=stage.url, event=event).get_materialize_result()

        return calls

    run = stage.materialize([calling("one"), calling("two")], [])
    assert {each.asset_key.path[-1]: each.metadata["tag"].value for each in run.materializations} == {
        "one": "one",
        "two": "two",
    }
    for name in ("one", "two"):
        assert [line for line in run.lines if line.startswith(name)] == [f"{name} {n}" for n in range(20)]


@case(not_on={LOGGING: ONE_READER, RESPONSE: ONE_READER})
def many_calls_of_one_step(stage: Stage) -> None:
    """`run_many` makes twenty calls in one step, and each response belongs to its event."""
    keys = [f"k{number}" for number in range(20)]
    responses: dict[str, object] = {}

    @asset
    def pages(context: AssetExecutionContext, cloud_function: PipesCloudFunctionClient) -> MaterializeResult:
        events = {key: stage.event("log", {"lines": [["info", f"{key} line"]]}) for key in keys}
        calls = cloud_function.run_many(context=context, function_url=stage.url, events=events)
        responses.update({key: call.response.json() for key, call in calls.succeeded.items() if call.response})
        return calls.get_materialize_result()

    run = stage.materialize(pages, [])
    assert run.success
    assert responses == {key: {"logged": 1} for key in keys}
    assert sorted(line for line in run.lines if " line" in line) == sorted(f"[{key}] {key} line" for key in keys)


@case(not_on={LOGGING: ONE_READER, RESPONSE: ONE_READER})
def a_call_for_each_partition(stage: Stage) -> None:
    """`run_partitions` calls the function once for each partition of the range, and materializes each."""
    tags = {"dagster/asset_partition_range_start": "2024-01-03", "dagster/asset_partition_range_end": "2024-01-05"}

    @asset(partitions_def=DAYS)
    def sales(context: AssetExecutionContext, cloud_function: PipesCloudFunctionClient) -> MaterializeResult:
        event = stage.event("materialize", {"reports": [{"metadata": {"rows": 3}}]})
        return cloud_function.run_partitions(
            context=context, function_url=stage.url, event=event
        ).get_materialize_result()

    run = stage.materialize(sales, [], run={"tags": tags})
    assert run.success
    assert sorted(each.partition or "" for each in run.materializations) == ["2024-01-03", "2024-01-04", "2024-01-05"]
    assert stage.noted() == ["started"] * 3
