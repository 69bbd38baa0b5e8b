"""`dagster-gcf-pipes dev` as a user runs it: functions, an emulator and a command, and nothing left of them."""

import json
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import pytest
import requests

from dagster_gcf_pipes.local._processes import ChildProcess, python_command, run_process
from tests.marked import nothing_left_running
from tests.waiting import wait_until

FUNCTION = """
import os
from pathlib import Path

from gcf_pipes import pipes_function
{more}

@pipes_function
def handle(request, pipes):
    print("printed", flush=True)
    pipes.report_asset_materialization(metadata={{"answer": {answer}}})
    return {{"environment": dict(os.environ), "folder": os.getcwd(), "answer": {answer}}}


def plain(request):
    return {{"environment": dict(os.environ), "folder": os.getcwd(), "answer": {answer}}}
"""
CALL = """
import dagster as dg
from dagster_gcf_pipes import PipesCloudFunctionClient

@dg.asset
def orders(context: dg.AssetExecutionContext, client: PipesCloudFunctionClient):
    return client.run(context=context, function="orders").get_materialize_result()

client = PipesCloudFunctionClient(bucket=dg.EnvVar("PIPES_BUCKET"), project="my-project", region="europe-west1")
with dg.DagsterInstance.ephemeral() as instance:
    result = dg.materialize([orders], resources={"client": client}, instance=instance)
print("answer:", result.asset_materializations_for_node("orders")[0].metadata["answer"].value)
"""
PARENT_OF_A_STUBBORN_CHILD = """
import signal, subprocess, sys
ignore = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); print('stubborn', flush=True); signal.pause()"
child = subprocess.Popen([sys.executable, "-c", ignore], stdout=subprocess.PIPE, start_new_session=False)
child.stdout.readline()
print("child runs", flush=True)
"""


def write_function(folder: Path, answer: int = 1, more: str = "") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "main.py").write_text(FUNCTION.format(answer=answer, more=more))
    return folder


def dev_command(*arguments: str, command: Sequence[str] = ()) -> list[str]:
    return python_command("-m", "dagster_gcf_pipes", "dev", *arguments, *(["--", *command] if command else []))


@pytest.fixture
def environment() -> Iterator[Mapping[str, str]]:
    with nothing_left_running() as environment:
        yield environment


@pytest.fixture
def orders(tmp_path: Path) -> str:
    return f"orders={write_function(tmp_path / 'orders')}:handle"


@pytest.fixture
def plain(tmp_path: Path) -> str:
    """The option for a function without Pipes, which anybody can call."""
    return f"orders={write_function(tmp_path / 'orders')}:plain"


def serving(*arguments: str, env: Mapping[str, str]) -> AbstractContextManager[ChildProcess]:
    """Run it without a command. The group of `ready` is the JSON with the functions' URLs."""
    ready = r"export GCF_PIPES_LOCAL_FUNCTIONS='(\{.*\})'"
    return run_process(dev_command(*arguments), ready=ready, env=env, stop_signal=signal.SIGINT, stop_timeout=30)


def url_of_orders(dev: ChildProcess) -> str:
    return str(json.loads(dev.ready)["orders"])


def answer(url: str) -> int | None:
    """Return the answer of the plain function, or None while it does not listen, or fails."""
    try:
        response = requests.post(url, json={}, timeout=10)
    except requests.ConnectionError:
        return None
    return int(response.json()["answer"]) if response.ok else None


def test_a_command_calls_the_local_function_by_its_name(orders: str, environment: Mapping[str, str]) -> None:
    command = dev_command("--function", orders, command=python_command("-c", CALL))
    dev = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (dev.returncode, dev.stdout) == (0, "answer: 1\n"), dev.stderr
    assert "orders | printed\n" in dev.stderr


@pytest.mark.parametrize(
    ("code", "expected"), [("sys.exit(3)", 3), ("os.kill(os.getpid(), signal.SIGKILL)", 137), ("pass", 0)]
)
def test_the_exit_code_is_that_of_the_command(
    code: str, expected: int, orders: str, environment: Mapping[str, str]
) -> None:
    command = python_command("-c", f"import os, signal, sys; {code}")
    dev = subprocess.run(dev_command("--function", orders, command=command), env=environment, check=False)
    assert dev.returncode == expected


def test_what_the_command_leaves_running_is_stopped(orders: str, environment: Mapping[str, str]) -> None:
    command = dev_command("--function", orders, command=python_command("-c", PARENT_OF_A_STUBBORN_CHILD))
    dev = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (dev.returncode, dev.stdout) == (0, "child runs\n")


@pytest.mark.parametrize(("stop_signal", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_stops_the_command_and_its_children(
    stop_signal: signal.Signals, code: int, orders: str, environment: Mapping[str, str]
) -> None:
    command = python_command("-c", f"{PARENT_OF_A_STUBBORN_CHILD}\nsignal.pause()")
    ready = "(child runs)"
    with run_process(
        dev_command("--function", orders, command=command), ready=ready, env=environment, stop_signal=stop_signal
    ) as dev:
        pass
    assert dev.process.returncode == code


def test_a_second_ctrl_c_kills_the_command(orders: str, environment: Mapping[str, str]) -> None:
    ignoring = "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN); print('ignoring', flush=True)"
    command = python_command("-c", f"{ignoring}\nwhile True: signal.pause()")
    with run_process(dev_command("--function", orders, command=command), ready="(ignoring)", env=environment) as dev:
        dev.process.send_signal(signal.SIGINT)
        dev.wait_for_output("stopping the command; Ctrl-C kills it")
        dev.process.send_signal(signal.SIGINT)
        assert dev.process.wait(15) == 130  # without the second signal it takes 20 s


def test_without_a_command_it_prints_what_to_export(plain: str, environment: Mapping[str, str]) -> None:
    with serving("--function", plain, env=environment) as dev:
        exported = dev.output
        assert answer(url_of_orders(dev)) == 1
    assert "export STORAGE_EMULATOR_HOST=http://127.0.0.1:" in exported
    assert "export PIPES_BUCKET=local-pipes\n" in exported
    assert dev.process.returncode == 130


def test_no_proxy_comes_between_the_processes(orders: str, environment: Mapping[str, str]) -> None:
    command = dev_command("--function", orders, command=python_command("-c", CALL))
    proxied = {**environment, "HTTP_PROXY": "http://127.0.0.1:9", "NO_PROXY": "example.com"}
    dev = subprocess.run(command, env=proxied, capture_output=True, text=True, check=False)
    assert (dev.returncode, dev.stdout) == (0, "answer: 1\n"), dev.stderr


def test_a_function_has_what_it_has_in_the_cloud(plain: str, environment: Mapping[str, str], tmp_path: Path) -> None:
    (tmp_path / "orders" / ".env").write_text("THREADS=3\nSHOP=acme  # a comment\nSTORAGE_EMULATOR_HOST=\n")
    with serving("--function", plain, env=environment) as dev:
        response = requests.post(url_of_orders(dev), json={}, timeout=10).json()
    variables = response["environment"]
    assert response["folder"] == str(tmp_path / "orders")
    assert {name: variables[name] for name in ("THREADS", "SHOP", "GCF_PIPES_BUCKETS")} == {
        "THREADS": "3",
        "SHOP": "acme",
        "GCF_PIPES_BUCKETS": "local-pipes",
    }
    assert variables["STORAGE_EMULATOR_HOST"].startswith("http://127.0.0.1:")


def test_a_changed_function_is_started_again_at_its_url(
    plain: str, environment: Mapping[str, str], tmp_path: Path
) -> None:
    with serving("--function", plain, env=environment) as dev:
        url = url_of_orders(dev)
        assert answer(url) == 1
        write_function(tmp_path / "orders", answer=2)
        wait_until(lambda: answer(url) == 2)
        assert "orders | [dev] main.py changed: starting the function again" in dev.output


def test_a_broken_function_starts_again_when_it_is_corrected(
    plain: str, environment: Mapping[str, str], tmp_path: Path
) -> None:
    with serving("--function", plain, env=environment) as dev:
        url = url_of_orders(dev)
        write_function(tmp_path / "orders", more="syntax error")
        dev.wait_for_output("orders | [dev] the function has stopped")
        assert "SyntaxError" in dev.output
        assert answer(url) is None
        write_function(tmp_path / "orders", answer=2)
        wait_until(lambda: answer(url) == 2)


def test_a_folder_that_is_created_again_is_followed(plain: str, environment: Mapping[str, str], tmp_path: Path) -> None:
    with serving("--function", plain, env=environment) as dev:
        url = url_of_orders(dev)
        shutil.rmtree(tmp_path / "orders")
        wait_until(lambda: answer(url) is None)
        write_function(tmp_path / "orders", answer=2)
        wait_until(lambda: answer(url) == 2)


def test_a_broken_env_file_stops_the_function_only(plain: str, environment: Mapping[str, str], tmp_path: Path) -> None:
    with serving("--function", plain, env=environment) as dev:
        (tmp_path / "orders" / ".env").write_bytes(b"SHOP=\xff\n")
        dev.wait_for_output("orders | [dev] the function cannot start: Cannot read ")
        (tmp_path / "orders" / ".env").unlink()
        wait_until(lambda: answer(url_of_orders(dev)) == 1)


def test_what_a_function_writes_does_not_start_it_again(
    plain: str, environment: Mapping[str, str], tmp_path: Path
) -> None:
    with serving("--function", plain, env=environment) as dev:
        (tmp_path / "orders" / "state.json").write_text("{}")
        (tmp_path / "orders" / "venv").mkdir()
        (tmp_path / "orders" / "venv" / "module.py").write_text("")
        write_function(tmp_path / "orders", answer=2)  # the only change that counts
        wait_until(lambda: answer(url_of_orders(dev)) == 2)
    assert "[dev] main.py changed:" in dev.output
    assert dev.output.count("changed:") == 1


def test_a_call_waits_for_a_function_that_is_started_again(
    orders: str, environment: Mapping[str, str], tmp_path: Path
) -> None:
    """The first attempt finds nobody: the function is broken until then."""
    with serving("--function", orders, env=environment) as dev:
        write_function(tmp_path / "orders", more="syntax error")
        dev.wait_for_output("orders | [dev] the function has stopped")
        variables = dict(line.split("=", 1) for line in dev.output.splitlines() if line.startswith("export "))
        exported = {name.removeprefix("export "): value.strip("'") for name, value in variables.items()}
        with run_process(
            python_command("-c", CALL), ready=r"(attempt 2 of 4)", env={**environment, **exported}
        ) as call:
            write_function(tmp_path / "orders", answer=2)
            call.wait_for_output("answer: 2")


def test_functions_are_told_apart_by_a_prefix(tmp_path: Path, environment: Mapping[str, str]) -> None:
    names = ("orders", "customers")
    functions = [f"--function={name}={write_function(tmp_path / name)}:plain" for name in names]
    with serving(*functions, env=environment) as dev:
        urls = json.loads(dev.ready)
        assert [answer(urls[name]) for name in names] == [1, 1]
    assert "orders    | [dev] listening at" in dev.output
    assert "customers | [dev] listening at" in dev.output


def test_pyproject_toml_names_functions_and_command(
    tmp_path: Path, environment: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    write_function(tmp_path / "orders")
    (tmp_path / "pyproject.toml").write_text(
        "[tool.dagster-gcf-pipes]\n"
        f"""command = "{sys.executable} -c 'import os; print(os.environ[\\"PIPES_BUCKET\\"])'"\n"""
        'bucket = "my-bucket"\n'
        'functions.orders = { source = "orders", entry_point = "handle" }\n'
    )
    dev = subprocess.run(dev_command(), cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert (dev.returncode, dev.stdout) == (0, "my-bucket\n"), dev.stderr


def test_a_function_that_does_not_start_ends_it(tmp_path: Path, environment: Mapping[str, str]) -> None:
    source = write_function(tmp_path / "orders", more="import no_such_module")
    command = dev_command("--function", f"orders={source}:handle", command=["echo", "reached"])
    dev = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert (dev.returncode, dev.stdout) == (1, "")
    assert "orders | ModuleNotFoundError: No module named 'no_such_module'" in dev.stderr
    assert (
        "orders did not start: ModuleNotFoundError: No module named 'no_such_module'\nFix: Install what" in dev.stderr
    )


@pytest.mark.parametrize(
    ("arguments", "pyproject", "requirements", "expected"),
    [
        ([], "", "", "Expected at least one function.\nFix: Pass `--function NAME=FOLDER`"),
        (["--function", "orders"], "", "", "Expected `--function` to be NAME=FOLDER"),
        (["--function", "orders=missing"], "", "", "got 'missing'.\nFix: Correct the path, or create the function"),
        (["--function", "orders=orders", "--", "no-such-command"], "", "", "Expected a command on the PATH"),
        (["--function", "a=orders", "--function", "a=orders"], "", "", "Expected each function once, got 'a' twice"),
        ([], "not TOML", "", "Expected pyproject.toml to be a TOML file"),
        (
            [],
            "[tool]\ndagster-gcf-pipes = 1",
            "",
            "`dagster-gcf-pipes` in pyproject.toml to be a table, got 1",
        ),
        ([], "[tool.dagster-gcf-pipes]\nfunction = 1", "", "got ['function']"),
        (
            [],
            "[tool.dagster-gcf-pipes]\nfunctions = 1",
            "",
            "Expected `functions` in [tool.dagster-gcf-pipes] of pyproject.toml to be a table",
        ),
        ([], "[tool.dagster-gcf-pipes]\ncommand = ['dg']", "", "pyproject.toml to be a string, got ['dg']"),
        ([], "[tool.dagster-gcf-pipes]\ncommand = 'dg \"dev'", "", "to be a command as in a shell"),
        ([], "[tool.dagster-gcf-pipes]\nbucket = 'gs://x'", "", "to be the name of a bucket, got 'gs://x'"),
        ([], "[tool.dagster-gcf-pipes.functions]\norders = {}", "", "Expected the function 'orders' in"),
        ([], "[tool.dagster-gcf-pipes.functions]\norders = {source = 1}", "", "Expected the function 'orders' in"),
        (
            ["--function", "orders=orders"],
            "",
            "# a comment\nflask\nno-such-package>=1.0  # why\ndagster<1 ; python_version>'3'\nother;python_version<'3'",
            "needs no-such-package>=1.0, dagster<1 ; python_version>'3', not installed here.\nFix: `pip install -r",
        ),
    ],
)
def test_wrong_input_gets_an_error_that_says_what_to_do(
    arguments: list[str], pyproject: str, requirements: str, expected: str, tmp_path: Path
) -> None:
    write_function(tmp_path / "orders")
    (tmp_path / "orders" / "requirements.txt").write_text(requirements)
    (tmp_path / "pyproject.toml").write_text(pyproject)
    dev = subprocess.run(dev_command(*arguments), cwd=tmp_path, capture_output=True, text=True, check=False)
    assert dev.returncode == 2
    assert expected in dev.stderr
    assert "Traceback" not in dev.stderr
