"""The README's code runs as it stands there."""

import re
from pathlib import Path
from typing import Any

import pytest
from dagster import MetadataValue

from dagster_gcf_pipes import PipesCloudFunctionClient
from dagster_gcf_pipes.local import Emulator, run_function

README = Path(__file__).parent.parent / "README.md"
URL = "https://REGION-PROJECT.cloudfunctions.net/orders"


def code_blocks() -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", README.read_text(), re.DOTALL | re.MULTILINE)


def test_the_two_halves_of_the_readme_work_together(
    emulator: Emulator, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dagster_side, function_side = code_blocks()
    (tmp_path / "main.py").write_text(function_side)
    monkeypatch.setenv("PIPES_BUCKET", bucket)
    with run_function(tmp_path / "main.py", emulator_url=emulator.url) as server:
        namespace: dict[str, Any] = {}
        exec(dagster_side.replace(URL, server.url), namespace)
        job = namespace["defs"].resolve_implicit_global_asset_job_def()
        result = job.execute_in_process()
    (materialization,) = result.asset_materializations_for_node("orders")
    assert materialization.metadata["rows"] == MetadataValue.int(3)
    assert materialization.metadata["table"] == MetadataValue.text("gs://lake/orders")


@pytest.mark.parametrize("side", [0, 1])
def test_each_side_is_ten_lines_of_code(side: int) -> None:
    assert len([line for line in code_blocks()[side].splitlines() if line]) <= 10


def test_the_table_of_the_resource_names_every_field() -> None:
    documented = re.findall(r"^\| `(\w+)` \|", README.read_text(), re.MULTILINE)
    assert documented == list(PipesCloudFunctionClient.model_fields)
