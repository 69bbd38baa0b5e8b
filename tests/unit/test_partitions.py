"""What the function side checks of a report of one partition, before it sends it."""

from datetime import date
from typing import Any
from unittest.mock import MagicMock

import pytest
from dagster_pipes import DagsterPipesError, PipesContext
from gcf_pipes import pipes_function, report_partition_materialization
from gcf_pipes._shared.protocol import VERSION

from dagster_gcf_pipes.testing import InvocationResult, ReportedMaterialization, invoke

DAYS = ("2024-01-03", "2024-01-05")


def reporting(*reports: dict[str, Any], **arguments: Any) -> InvocationResult:
    """Return what a function does that makes these reports: of the asset as a whole, if a report has no partition."""

    @pipes_function
    def main(_: Any, pipes: PipesContext) -> None:
        for report in reports:
            if "partition" in report:
                report_partition_materialization(pipes, **report)
            else:
                pipes.report_asset_materialization(**report)

    return invoke(main, **{"partition_key_range": DAYS, **arguments})


def test_each_report_is_in_the_result() -> None:
    metadata = {"rows": 3, "preview": {"raw_value": "**bold**", "type": "md"}}
    result = reporting(
        {"partition": "2024-01-03", "metadata": metadata, "data_version": "v1"}, {"partition": "2024-01-04"}
    )
    assert result.partition_materializations == {
        ("asset", "2024-01-03"): ReportedMaterialization(metadata, "v1"),
        ("asset", "2024-01-04"): ReportedMaterialization({}, None),
    }
    assert (result.materializations, result.custom_messages, result.succeeded) == ({}, (), True)


def test_in_a_call_for_one_partition_it_reports_the_asset() -> None:
    report = {"partition": "2024-01-03", "metadata": {"rows": 3}, "data_version": "v1"}
    for arguments in ({"partition_key": "2024-01-03"}, {"partition_key_range": ("2024-01-03", "2024-01-03")}):
        result = reporting(report, **{"partition_key_range": None, **arguments})
        assert result.materializations == {"asset": ReportedMaterialization({"rows": 3}, "v1")}
        assert result.partition_materializations == {}


@pytest.mark.parametrize(
    ("reports", "arguments", "text"),
    [
        pytest.param([{"partition": date(2024, 1, 3)}], {}, "to be a string, got date", id="a date"),
        pytest.param(
            [{"partition": "a"}, {"partition": "a"}], {}, "one report of each partition, got 'a' twice", id="twice"
        ),
        pytest.param([{}, {"partition": "a"}], {}, "for the asset 'asset', got both", id="after the whole asset"),
        pytest.param([{"partition": "a"}, {}], {}, "already been materialized", id="before the whole asset"),
        pytest.param([{"partition": "a"}], {"partition_key_range": None}, "got a step without", id="no partitions"),
        pytest.param([{"partition": "a"}], {"partition_key_range": ("b", "b")}, "call, 'b', got 'a'", id="another one"),
        pytest.param(
            [{"partition": "a", "asset_key": "x"}], {}, "Invalid asset key. Expected one of", id="another asset"
        ),
        pytest.param([{"partition": "a"}], {"asset_keys": ["x", "y"]}, "without passing an asset key", id="no asset"),
        pytest.param(
            [{"partition": "a", "data_version": 1}], {}, "parameter `data_version` of `report_p", id="version"
        ),
        pytest.param(
            [{"partition": "a", "metadata": {"a": {}}}], {}, "parameter `metadata` of `report_p", id="metadata"
        ),
        pytest.param([{"partition": "a", "metadata": {"a": date}}], {}, "JSON serializable", id="not JSON"),
    ],
)
def test_bad_reports_are_refused_as_pipes_refuses_them(
    reports: list[dict[str, Any]], arguments: dict[str, Any], text: str
) -> None:
    result = reporting(*reports, **arguments)
    assert isinstance(result.error, DagsterPipesError)
    assert text in str(result.error)
    assert len(result.partition_materializations) <= 1


def test_a_report_that_was_refused_can_be_made_again() -> None:
    @pipes_function
    def main(_: Any, pipes: PipesContext) -> None:
        with pytest.raises(DagsterPipesError):
            report_partition_materialization(pipes, "a", metadata={"rows": object()})  # type: ignore[dict-item]
        report_partition_materialization(pipes, "a", metadata={"rows": 1})

    assert set(invoke(main, partition_key_range=DAYS).partition_materializations) == {("asset", "a")}


def test_a_reader_that_does_not_take_them_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dagster_gcf_pipes.testing._invoke.PARTITIONS_PARAM", "of another version")
    result = reporting({"partition": "a"})
    assert f"Fix: Install dagster-gcf-pipes {VERSION} or later where Dagster runs" in str(result.error)
    assert (result.partition_materializations, result.custom_messages) == ({}, ())


def test_outside_of_dagster_it_does_nothing() -> None:
    """There, `open_dagster_pipes` returns a mock."""
    report_partition_materialization(MagicMock(), "a")
    with pytest.raises(DagsterPipesError, match="to be a string, got MagicMock"):
        report_partition_materialization("a", MagicMock())  # type: ignore[arg-type]
