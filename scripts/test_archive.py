"""Installs the archive like the platform's builder, in a folder of its own, and calls it: `just deployable`.

The requirements go into a clean environment, with their hashes checked. functions-framework serves the unpacked files.
Dagster calls the function through a Cloud Storage emulator. Then the same with `dagster-gcf-pipes dev --isolated`.
"""

import json
import os
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from zipfile import ZipFile

from google.cloud import storage

from dagster_gcf_pipes import PipesCloudFunctionClient
from dagster_gcf_pipes._environment import LOCAL_FUNCTIONS_VARIABLE
from dagster_gcf_pipes.local import available_emulators, run_emulator
from dagster_gcf_pipes.local._dev import run_local
from dagster_gcf_pipes.local._processes import run_process
from dagster_gcf_pipes.local._settings import DevSettings, FunctionSettings
from tests.dagster_runs import calling_asset, run

ROOT = Path(__file__).parent.parent
BUCKET = "messages"


def main() -> None:
    """Build, unpack, install, serve and call."""
    with tempfile.TemporaryDirectory() as scratch, run_emulator(available_emulators()[0]) as emulator:
        source, environment = unpack(Path(scratch)), Path(scratch, "venv")
        install(source, environment)
        os.environ["STORAGE_EMULATOR_HOST"] = emulator.url
        create_bucket()
        with serve(source, environment) as url:
            call(url, table_uri=str(Path(scratch, "customers")))
        settings = DevSettings([FunctionSettings("example", source)], BUCKET)
        with run_local(settings, isolated=True) as variables:
            os.environ.update(variables)
            call(json.loads(variables[LOCAL_FUNCTIONS_VARIABLE])["example"], table_uri=str(Path(scratch, "isolated")))


def unpack(scratch: Path) -> Path:
    """Build the archive as `just archive` does, and unpack it into an empty folder."""
    archive, source = scratch / "function.zip", scratch / "workspace"
    subprocess.run([sys.executable, "scripts/build_archive.py", "cloud_function", archive], cwd=ROOT, check=True)
    with ZipFile(archive) as files:
        files.extractall(source)
    return source


def install(source: Path, environment: Path) -> None:
    """Install the requirements in a clean environment, each with its hash."""
    venv.create(environment, with_pip=True)
    pip = [str(environment / "bin/python"), "-m", "pip", "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "--quiet", "--require-hashes", "-r", "requirements.txt"], cwd=source, check=True)
    installed = subprocess.run([*pip, "freeze"], check=True, capture_output=True, text=True).stdout
    if "gcf-pipes" in installed or "dagster==" in installed:
        raise SystemExit(f"Expected neither gcf-pipes nor Dagster among the requirements, got:\n{installed}")


def create_bucket() -> None:
    """Create the bucket of the messages."""
    with closing(storage.Client(project="local")) as client:
        client.create_bucket(BUCKET)


@contextmanager
def serve(source: Path, environment: Path) -> Iterator[str]:
    """Serve the function with the default environment variables of `terraform/`."""
    address = ["--host", "127.0.0.1", "--port", "0"]
    # not `python -m`, which would also find the modules of this repository
    command = [str(environment / "bin/functions-framework"), "--target", "main", "--source", str(source / "main.py")]
    variables = {
        "GCF_PIPES_BUCKETS": BUCKET,
        "GCF_PIPES_KEY_PREFIX": "dagster-pipes",
        "LOG_EXECUTION_ID": "true",
        "THREADS": "1",
        "GUNICORN_LOG_LEVEL": "info",
    }
    with run_process([*command, *address], ready=r"Listening at: (http://\S+)", env=variables) as server:
        yield server.ready


def call(url: str, *, table_uri: str) -> None:
    """Materialize an asset with the function."""
    event = {"task": "customers", "table_uri": table_uri, "rows": 20}
    result, lines = run(calling_asset(url, event), PipesCloudFunctionClient(bucket=BUCKET))
    if not result.success:
        raise SystemExit(f"Expected the run to succeed, but it failed: {result.all_node_events}")
    (materialization,) = result.asset_materializations_for_node("orders")
    if materialization.metadata["rows"].value != 20:
        raise SystemExit(f"Expected 20 rows, got {materialization.metadata}")
    sys.stdout.write("".join(f"{line}\n" for line in lines))


if __name__ == "__main__":
    main()
