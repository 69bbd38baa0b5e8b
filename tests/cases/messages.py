"""What the function sends while it runs."""

from collections.abc import Iterator
from typing import Any

from dagster import (
    AssetCheckSeverity,
    AssetCheckSpec,
    AssetExecutionContext,
    AssetKey,
    AssetSpec,
    MetadataValue,
    TableColumnLineage,
    TableRecord,
    multi_asset,
)

from dagster_gcf_pipes import PipesCloudFunctionClient, PipesCloudFunctionCompletedInvocation
from tests.cases.case import case
from tests.cases.contexts import DAYS
from tests.cases.stage import Stage

PAYLOADS: list[Any] = [None, 0, -1.5, True, "", "text", [], {}, [[1, [2]], {"a": {"b": None}}], "ünï ☃ 😀 \u2028 \x00"]
LEVELS = ("debug", "info", "warning", "error", "critical")
CHECK = AssetCheckSpec("conformance", asset="orders")


@case
def every_message_of_one_call(stage: Stage) -> None:
    """One call sends a line of each level, a materialization, a check and a custom message, and Dagster shows all."""
    run = stage.run("report", check_specs=[CHECK])
    assert run.success
    assert [entry for entry in run.levels if entry[1].startswith("conformance")] == [
        (level, f"conformance: {level.upper()}") for level in LEVELS
    ]
    (materialization,) = run.materializations
    assert (materialization.tags or {})["dagster/data_version"] == "v1"
    (check,) = run.checks
    assert (check.check_name, check.passed, check.severity) == ("conformance", True, AssetCheckSeverity.WARN)
    assert run.custom_messages == [{"conformance": "custom"}]
    assert run.response == {"task": "report"}


@case
def metadata_of_every_type(stage: Stage) -> None:
    """A metadata value of each type of Pipes has that type in Dagster."""
    run = stage.run("report", check_specs=[CHECK])
    metadata = run.metadata
    plain = {
        "text": MetadataValue.text("some words"),
        "url": MetadataValue.url("https://example.com/orders?day=1"),
        "path": MetadataValue.path("/tmp/orders.parquet"),
        "notebook": MetadataValue.notebook("/tmp/orders.ipynb"),
        "json": MetadataValue.json({"nested": [1, None, {"deep": True}]}),
        "md": MetadataValue.md("**bold**"),
        "float": MetadataValue.float(1.5),
        "int": MetadataValue.int(3),
        "bool": MetadataValue.bool(True),
        "dagster_run": MetadataValue.dagster_run(run.run_id),
        "asset": MetadataValue.asset(AssetKey("orders")),
        "null": MetadataValue.null(),
        "timestamp": MetadataValue.timestamp(1704067200.0),
    }
    assert {type_: metadata[type_] for type_ in plain} == plain
    table, schema, lineage = (metadata[each] for each in ("table", "table_schema", "table_column_lineage"))
    assert table.records == [TableRecord({"rows": 3}), TableRecord({"rows": 4})]  # type: ignore[attr-defined]
    assert schema.schema.columns == table.schema.columns  # type: ignore[attr-defined]
    assert schema.schema.columns[0].constraints.nullable is False  # type: ignore[attr-defined]
    assert isinstance(lineage.value, TableColumnLineage)
    assert lineage.value.deps_by_column["rows"][0].column_name == "id"


@case
def metadata_without_a_type(stage: Stage) -> None:
    """A metadata value without a type gets the one that it has in Python."""
    values: dict[str, Any] = {"text": "ünï ☃", "int": 3, "float": 1.5, "bool": False, "null": None, "list": [1, "a"]}
    metadata = stage.run("materialize", {"reports": [{"metadata": values}]}).metadata
    assert {name: metadata[name].value for name in values} == values
    assert isinstance(metadata["int"], type(MetadataValue.int(3)))


@case
def nested_metadata(stage: Stage) -> None:
    """A metadata value that is nested fifty levels deep arrives whole."""
    value: Any = "leaf"
    for _ in range(50):
        value = {"next": [value]} if _ % 2 else [value]
    reports = [{"metadata": {"deep": {"raw_value": {"root": value}, "type": "json"}}}]
    assert stage.run("materialize", {"reports": reports}).metadata["deep"].value == {"root": value}


@case
def materializations_of_several_assets(stage: Stage) -> None:
    """One call materializes several assets, each with its own metadata and data version."""
    invocations: list[PipesCloudFunctionCompletedInvocation] = []
    keys = ("left", "right")

    @multi_asset(specs=[AssetSpec(["deep", key]) for key in keys])
    def both(context: AssetExecutionContext, cloud_function: PipesCloudFunctionClient) -> Iterator[Any]:
        reports = [{"asset_key": f"deep/{key}", "metadata": {"key": key}, "data_version": f"v {key}"} for key in keys]
        event = stage.event("materialize", {"reports": reports})
        yield from cloud_function.run(context=context, function_url=stage.url, event=event).get_results()

    run = stage.materialize(both, invocations)
    shown = {each.asset_key.path[-1]: each for each in run.materializations}
    assert {key: each.metadata["key"].value for key, each in shown.items()} == {key: key for key in keys}
    assert {(each.tags or {})["dagster/data_version"] for each in shown.values()} == {"v left", "v right"}


@case
def checks_that_pass_and_fail(stage: Stage) -> None:
    """A check has its result, severity and metadata, and a check that fails does not fail the step."""
    checks = [
        {"check_name": "fresh", "passed": True, "severity": "ERROR", "metadata": {"age": 1}},
        {"check_name": "not_empty", "passed": False, "severity": "WARN", "metadata": {"rows": 0}},
    ]
    specs = [AssetCheckSpec(str(check["check_name"]), asset="orders") for check in checks]
    run = stage.run("materialize", {"reports": [{}], "checks": checks}, check_specs=specs)
    assert run.success
    found = {each.check_name: (each.passed, each.severity.value) for each in run.checks}
    assert found == {"fresh": (True, "ERROR"), "not_empty": (False, "WARN")}
    metadata = {each.check_name: each.metadata for each in run.checks}
    assert metadata["fresh"]["age"].value == 1
    assert metadata["not_empty"]["rows"].value == 0


@case
def custom_messages_of_many_shapes(stage: Stage) -> None:
    """Custom messages of every type of JSON arrive unchanged and in order."""
    assert stage.run("custom", {"payloads": PAYLOADS}).custom_messages == PAYLOADS


@case
def lines_beyond_ascii(stage: Stage) -> None:
    """Lines with emoji, line separators, quotes, control characters and line breaks arrive unchanged."""
    texts = ["ünï ☃ 😀 日本", "a\u2028b\u2029c\x85d", '"quoted" \\n \\', "tab\tand\x1b[31m", "two\nlines", " ", "end"]
    run = stage.run("log", {"lines": [["info", text] for text in texts]}, settings={"log_lines_per_entry": 1})
    assert [text for _, text in run.levels] == texts


@case
def a_message_of_three_mebibytes(stage: Stage) -> None:
    """A message of 3 MiB arrives whole, between the lines before and after it."""
    run = stage.run("large", {"size": 3 * 1024 * 1024})
    assert [len(message["letters"]) for message in run.custom_messages] == [3 * 1024 * 1024]
    assert run.lines == ["before", "after"]


@case
def five_thousand_lines(stage: Stage) -> None:
    """5,000 lines of 200 characters arrive in order, each once."""
    run = stage.run("burst", {"lines": 5000, "size": 200})
    assert run.lines == [f"{number} ".ljust(200, "x") for number in range(5000)]


@case
def lines_while_the_function_runs(stage: Stage) -> None:
    """Dagster shows a line while the function runs: it returns only when the line was seen."""
    with stage.running("waits") as running:
        running.wait_for_line("before")
        assert stage.noted() == ["started"]
        stage.open_gate()
        run = running.result()
    assert run.success
    assert run.lines == ["before", "after"]


@case
def lines_of_several_threads(stage: Stage) -> None:
    """Lines that threads or tasks of one call log at once all arrive, those of each in order."""
    run = stage.run("at_once", {"workers": 4, "lines": 100})
    for worker in range(4):
        own = [line for line in run.lines if line.startswith(f"worker {worker} ")]
        assert own == [f"worker {worker} line {number}" for number in range(100)]
    assert len(run.lines) == 400


@case
def no_message_at_all(stage: Stage) -> None:
    """A function that reports nothing materializes its asset, without metadata of its own."""
    run = stage.run("custom", {"payloads": []})
    assert run.success
    assert [key for key in run.metadata if not key.startswith("cloud_function/")] == []


@case
def partitions_of_a_range_one_by_one(stage: Stage) -> None:
    """A call for a range reports each partition with its own metadata and data version."""
    days = ["2024-01-03", "2024-01-04", "2024-01-05"]
    tags = {"dagster/asset_partition_range_start": days[0], "dagster/asset_partition_range_end": days[-1]}
    run = stage.run("partitions", {"partitions": days}, partitions_def=DAYS, run={"tags": tags})
    assert run.success
    assert [each.partition for each in run.materializations] == days
    assert [each.metadata["day"].value for each in run.materializations] == days
    versions = [(each.tags or {})["dagster/data_version"] for each in run.materializations]
    assert versions == [f"version of {day}" for day in days]
