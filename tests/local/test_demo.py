"""`just demo` as a user runs it. It leaves nothing running, and nothing in the home folder."""

import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from dagster_gcf_pipes.local._processes import python_command, run_process
from tests.marked import nothing_left_running

ROOT = Path(__file__).parents[2]
DEMO = python_command("-m", "dagster_gcf_pipes", "dev", "--function", f"example={ROOT / 'cloud_function'}", "--")
DEMO += python_command("-m", "examples.demo")


@pytest.fixture
def environment(tmp_path: Path) -> Iterator[Mapping[str, str]]:
    """The variables that the recipe sets, and an empty home folder that stays empty."""
    home = tmp_path / "home"
    home.mkdir()
    recipe = {
        "FUNCTION": "example",
        "JUST": "just",
        "LAKE_URI": str(tmp_path / "lake"),
        "WEATHER_SOURCE_URI": str(ROOT / "examples" / "data" / "weather.csv"),
    }
    with nothing_left_running() as marked:
        yield {**marked, **recipe, "HOME": str(home), "PYTHONPATH": str(ROOT)}
    assert os.listdir(home) == []


def test_the_demo_materializes_every_asset(environment: Mapping[str, str], tmp_path: Path) -> None:
    demo = subprocess.run(DEMO, env=environment, capture_output=True, text=True, check=False)
    assert demo.returncode == 0, demo.stdout + demo.stderr
    summary = [line.split() for line in demo.stdout.splitlines() if " success " in line]
    assert [line[:3] for line in summary] == [
        ["customers", "-", "success"],
        ["monthly_weather", "2012-01-01", "success"],
        ["monthly_weather", "2015-07-01", "success"],
    ]
    assert "checked every_day_once: passed" in demo.stdout
    assert "just rows customers" in demo.stdout
    assert {path.name for path in (tmp_path / "lake").iterdir()} == {"customers", "monthly_weather"}


@pytest.mark.parametrize(
    ("moment", "stop_signal", "code"),
    [
        (r"(starting example)", signal.SIGHUP, 129),
        (r"(Dagster calls the function)", signal.SIGTERM, 143),
        (r"(generated 500 of )", signal.SIGINT, 130),
    ],
)
def test_a_stopped_demo_leaves_nothing_running(
    moment: str, stop_signal: signal.Signals, code: int, environment: Mapping[str, str]
) -> None:
    with run_process(DEMO, ready=moment, env=environment, stop_signal=stop_signal, stop_timeout=30) as demo:
        pass
    assert demo.process.returncode == code
    assert "All assets were materialized" not in demo.output
    assert demo.output.endswith("Everything is stopped.\n")


def test_more_ctrl_c_do_not_prevent_the_demo_from_stopping(environment: Mapping[str, str]) -> None:
    with run_process(DEMO, ready=r"(calls the function)", env=environment, stop_signal=signal.SIGINT) as demo:
        demo.process.send_signal(signal.SIGINT)
        while demo.process.poll() is None:
            demo.process.send_signal(signal.SIGINT)
    assert demo.process.returncode == 130
