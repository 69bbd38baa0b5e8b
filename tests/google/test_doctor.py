"""`dagster-gcf-pipes doctor`: a good set-up is ok throughout, and each mistake is found, with what fixes it."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import flask
import pytest
from gcf_pipes._shared.protocol import VERSION
from google.cloud import storage

from dagster_gcf_pipes.local import Emulator, FunctionServer, run_function
from tests.google.accounts import service_account_member
from tests.google.conftest import FUNCTION_HOST, FUNCTION_URL, Google
from tests.google.functions_api import HOST as FUNCTIONS_HOST
from tests.google.functions_api import FunctionsApi, permission_denied
from tests.google.guarded_storage import GuardedStorage
from tests.google.logging_api import HOST as LOGGING_HOST
from tests.google.logging_api import LoggingApi
from tests.google.logins import CALLER

PROJECT, REGION = "my-project", "europe-west1"
NAME = f"projects/{PROJECT}/locations/{REGION}/functions/orders"
LOCATION = f"--region={REGION} --project={PROJECT}"
DEPLOY = f"`gcloud functions deploy orders {LOCATION} --source=FOLDER"
OF_MACHINE = ["clock", "identity"]
OF_FUNCTION = ["function", "id_token", "access", "version"]
OF_SETTINGS = ["timeout", "concurrency", "execution_id", "admission"]
OF_BUCKET = ["bucket", "read", "create", "delete", "lifecycle"]
EVERY_CHECK = [*OF_MACHINE, *OF_FUNCTION, *OF_SETTINGS, *OF_BUCKET, "logs"]
METADATA_HOSTS = ("metadata.google.internal", "169.254.169.254")
RULE = {"action": {"type": "Delete"}, "condition": {"age": 3, "matchesPrefix": ["dagster-pipes/"]}}


@dataclass(frozen=True)
class Diagnosis:
    """What the command said.

    Attributes:
        code: Its exit code.
        findings: The findings, by check.
        output: All that it wrote.
    """

    code: int
    findings: dict[str, dict[str, str]]
    output: str

    def __getitem__(self, check: str) -> str:
        finding = self.findings[check]
        return f"{finding['status']}: {finding['text']} Fix: {finding['fix']}"

    @property
    def problems(self) -> list[str]:
        return [name for name, finding in self.findings.items() if finding["status"] == "problem"]


def run_doctor(*arguments: str, **env: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "dagster_gcf_pipes", "doctor", *arguments]
    return subprocess.run(command, env={**os.environ, **env}, capture_output=True, text=True, timeout=120, check=False)


def diagnose(*arguments: str, **env: str) -> Diagnosis:
    done = run_doctor(*arguments, "--json", **env)
    assert done.stderr == ""
    return Diagnosis(done.returncode, {each["check"]: each for each in json.loads(done.stdout)}, done.stdout)


@dataclass(frozen=True)
class Cloud:
    """A set-up that works, until a test changes it.

    Attributes:
        google: Google; the function is at `FUNCTION_URL`.
        functions: The Cloud Functions API, which knows the function.
        logs: The Cloud Logging API.
        storage: Cloud Storage.
        bucket: The name of the bucket.
        config: The function's `serviceConfig`.
        variables: The function's environment.
        arguments: Of the command.
        stack: Closes when the test ends.
    """

    google: Google
    functions: FunctionsApi
    logs: LoggingApi
    storage: GuardedStorage
    bucket: str
    config: dict[str, Any]
    variables: dict[str, str]
    arguments: list[str]
    environment: pytest.MonkeyPatch
    directory: Path
    stack: ExitStack = field(default_factory=ExitStack)

    def diagnose(self, *arguments: str, **env: str) -> Diagnosis:
        return diagnose(*self.arguments, *arguments, **env)

    def deploy(self, code: str) -> FunctionServer:
        """Run a function with this code behind `FUNCTION_URL`."""
        source = self.directory / "main.py"
        source.write_text(code)
        server = self.stack.enter_context(run_function(source, emulator_url=self.storage.emulator_url))
        self.google.function.backend = server.url
        return server


@pytest.fixture
def cloud(
    google: Google,
    emulator: Emulator,
    bucket: str,
    function: FunctionServer,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> Iterator[Cloud]:
    google.logins.metadata_server()
    google.function.backend = function.url
    functions, logs = FunctionsApi(google.accounts.issued), LoggingApi(google.accounts.issued)
    guarded = GuardedStorage(google.accounts, emulator.url, lifecycle_rules=[RULE])
    google.network.serve(FUNCTIONS_HOST, functions.app)
    google.network.serve(LOGGING_HOST, logs.app)
    google.network.serve("storage.googleapis.com", guarded.app())
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "")  # as unset
    monkeypatch.delenv("PIPES_BUCKET", raising=False)
    variables = {"LOG_EXECUTION_ID": "true", "THREADS": "8", "GCF_PIPES_BUCKETS": bucket, "SECRET": "s3cr3t"}
    config = {
        "service": f"projects/{PROJECT}/locations/{REGION}/services/load-orders",
        "uri": FUNCTION_URL,
        "timeoutSeconds": 540,
        "revision": "orders-00007-xyz",
        "maxInstanceRequestConcurrency": 8,
        "availableCpu": "1",
        "environmentVariables": variables,
    }
    functions.add(NAME, serviceConfig=config)
    arguments = ["--function=orders", f"--project={PROJECT}", f"--region={REGION}", f"--bucket={bucket}"]
    cloud = Cloud(google, functions, logs, guarded, bucket, config, variables, arguments, monkeypatch, tmp_path)
    with cloud.stack:
        yield cloud


# ------------------------------------------------------------------------------------------------- a set-up that works


def test_a_good_set_up_is_ok_throughout(cloud: Cloud) -> None:
    found = cloud.diagnose()
    assert [name for name, finding in found.findings.items() if finding["status"] == "ok"] == EVERY_CHECK, found.output
    assert found.code == 0
    assert found["identity"].startswith("ok: the service account attached to this machine (metadata server)")
    assert f"of {CALLER} for {FUNCTION_URL}" in found["id_token"]
    assert f"gcf_pipes {VERSION} is deployed" in found["version"]


def test_it_writes_nothing_and_runs_no_code(
    cloud: Cloud, storage_client: storage.Client, function: FunctionServer
) -> None:
    lines = list(function.child.output)
    cloud.diagnose()
    assert cloud.google.function.asked == [("GET", "/robots.txt")]
    assert list(function.child.output) == lines
    assert list(storage_client.list_blobs(cloud.bucket)) == []
    assert cloud.storage.asked == [
        *("storage.objects.list", "storage.objects.get", "storage.objects.create", "storage.objects.delete"),
        "storage.buckets.get",
    ]


RUNS = """
print("THE CODE RUNS", flush=True)
def main(request):
    print("THE CODE RUNS", flush=True)
    return "done"
"""


def test_a_plain_function_is_reached_and_does_not_run(cloud: Cloud) -> None:
    server = cloud.deploy(RUNS)
    found = cloud.diagnose()
    assert found["access"].startswith("ok: ")
    assert found["version"].startswith("skipped: the function does not say it.")
    assert found.code == 0
    assert [line for line in server.child.output if "THE CODE RUNS" in line] == ["THE CODE RUNS"]  # its import


def test_everything_is_done_as_the_impersonated_account(cloud: Cloud) -> None:
    login = cloud.google.logins.user_through_delegates()
    delegates = [f"--impersonation-delegates={each}" for each in login.fields["impersonation_delegates"]]
    found = cloud.diagnose(f"--impersonate-service-account={CALLER}", *delegates)
    assert found.problems == []
    assert f"the service account {CALLER}, impersonated by the user" in found["identity"]
    assert cloud.storage.callers == {service_account_member(CALLER)}


def test_a_function_given_by_its_url_is_not_looked_up(cloud: Cloud) -> None:
    found = diagnose(f"--url={FUNCTION_URL}/some/path?key=s3cr3t", f"--bucket={cloud.bucket}", f"--project={PROJECT}")
    assert list(found.findings) == [*OF_MACHINE, *OF_FUNCTION, *OF_BUCKET, "logs"]
    assert [name for name, finding in found.findings.items() if finding["status"] != "ok"] == ["function"]
    assert "pass --function" in found["function"]
    assert cloud.functions.asked == []
    assert cloud.google.function.asked == [("GET", "/robots.txt")]
    assert "s3cr3t" not in found.output


def test_without_a_function_only_the_rest_is_checked(cloud: Cloud) -> None:
    assert list(diagnose(PIPES_BUCKET=cloud.bucket).findings) == [*OF_MACHINE, *OF_BUCKET]


def test_without_a_bucket_the_rest_is_checked(cloud: Cloud) -> None:
    found = diagnose()
    assert (list(found.findings), found.code) == ([*OF_MACHINE, "bucket"], 0)
    assert "pass --bucket, or set PIPES_BUCKET" in found["bucket"]


# ------------------------------------------------------------------------------------------------------------ mistakes


def nobody(cloud: Cloud) -> None:
    cloud.google.accounts.attached = None
    for host in METADATA_HOSTS:
        del cloud.google.network.routes.ports[host, 80]


def as_user(cloud: Cloud) -> None:
    cloud.google.logins.user_alone()


def impersonating(cloud: Cloud) -> None:
    cloud.arguments.append(f"--impersonate-service-account={CALLER}")
    cloud.google.logins.user_impersonating()


def logged_out(cloud: Cloud) -> None:
    cloud.google.logins.user_alone().revoke()


def no_role_on_the_account(cloud: Cloud) -> None:
    impersonating(cloud)
    cloud.google.accounts.token_creators.clear()


def no_id_tokens(cloud: Cloud) -> None:
    impersonating(cloud)
    cloud.google.accounts.statuses["iam"] = [None, 403]


def redeploy(**fields: Any) -> Callable[[Cloud], None]:
    return lambda cloud: cloud.functions.add(NAME, **{"serviceConfig": cloud.config, **fields})


def without(variable: str) -> Callable[[Cloud], object]:
    return lambda cloud: cloud.variables.pop(variable)


def lacking(permission: str) -> Callable[[Cloud], None]:
    return lambda cloud: cloud.storage.missing.add(permission)


def rule(**condition: Any) -> Callable[[Cloud], None]:
    def replace(cloud: Cloud) -> None:
        cloud.storage.lifecycle_rules[:] = [{**RULE, "condition": condition}]

    return replace


ANOTHER_VERSION = """
import gcf_pipes._entrypoint
gcf_pipes._entrypoint.VERSION = "0.99.0"
@gcf_pipes.pipes_function
def main(request, pipes): ...
"""


def storage_command(role: str) -> str:
    return f"--member=serviceAccount:pipes@local.iam.gserviceaccount.com --role=roles/storage.{role}`"


@pytest.mark.parametrize(
    ("check", "mistake", "text", "fix"),
    [
        ("clock", lambda c: setattr(c.google.accounts, "clock_offset", 120), "120 s behind", "timedatectl set-ntp"),
        ("identity", nobody, "Expected Google credentials, found none", "gcloud auth application-default login"),
        ("identity", logged_out, "Could not get an access token as the user", "Log in again"),
        ("identity", no_role_on_the_account, "PERMISSION_DENIED", "roles/iam.serviceAccountTokenCreator"),
        ("id_token", no_id_tokens, "Could not get an ID token as the service account", "impersonate"),
        ("function", redeploy(state="FAILED"), "expected its state to be ACTIVE, got FAILED", "deploy it again"),
        ("function", redeploy(environment="GEN_1"), "first generation", "--gen2"),
        ("function", lambda c: c.functions.functions.clear(), "does not exist", "gcloud functions list"),
        ("access", as_user, "requires an ID token, and the user", "Set `impersonate_service_account`"),
        (
            "access",
            lambda c: c.google.function.invokers.clear(),
            "lacks `roles/run.invoker`",
            f"`gcloud run services add-iam-policy-binding load-orders {LOCATION} --member=serviceAccount:{CALLER}",
        ),
        ("access", lambda c: setattr(c.google.function, "ingress", False), "ingress", "--ingress-settings=all"),
        ("access", lambda c: c.google.function.audiences.clear(), "made for another audience", "set `audience`"),
        ("access", lambda c: setattr(c.google.function, "statuses", [429]), "All instances were busy", "--max-inst"),
        (
            "access",
            lambda c: setattr(c.google.function, "redirect_to", "https://u:s3cr3t@login.example/x?s3cr3t"),
            "a redirect to https://login.example/x.",
            "own https URL",
        ),
        ("version", lambda c: c.deploy(ANOTHER_VERSION), "gcf_pipes 0.99.0 is deployed", f"gcf_pipes {VERSION}"),
        ("concurrency", without("THREADS"), "8 calls at once, but has threads for 4", f"{DEPLOY} --update-env-vars=TH"),
        ("execution_id", without("LOG_EXECUTION_ID"), "is not set", f"{DEPLOY} --update-env-vars=LOG_EXECUTION_ID=t"),
        ("admission", without("GCF_PIPES_BUCKETS"), "any bucket", f"{DEPLOY} --update-env-vars=GCF_PIPES_BUCKETS=buc"),
        (
            "admission",
            lambda c: c.variables.update(GCF_PIPES_BUCKETS="lake, pond"),
            "GCF_PIPES_BUCKETS is lake,pond, so the function refuses",
            f"{DEPLOY} '--update-env-vars=^;^GCF_PIPES_BUCKETS=lake,pond,bucket-",
        ),
        (
            "admission",
            lambda c: c.variables.update(GCF_PIPES_KEY_PREFIX="dagster-pip/"),
            "GCF_PIPES_KEY_PREFIX is dagster-pip, so the function refuses the key prefix dagster-pipes",
            f"{DEPLOY} --update-env-vars=GCF_PIPES_KEY_PREFIX=dagster-pipes`",
        ),
        ("bucket", lambda c: c.arguments.append("--bucket=no-such"), "'no-such' does not exist", "buckets create gs"),
        ("bucket", lacking("storage.objects.list"), "Cannot list gs://", storage_command("objectViewer")),
        ("read", lacking("storage.objects.get"), "Cannot read gs://", storage_command("objectViewer")),
        ("create", lacking("storage.objects.create"), "Cannot create gs://", storage_command("objectCreator")),
        ("delete", lacking("storage.objects.delete"), "Cannot delete gs://", storage_command("objectUser")),
        ("lifecycle", lambda c: c.storage.lifecycle_rules.clear(), "no lifecycle rule", "--lifecycle-file="),
        ("lifecycle", rule(age=3, matchesPrefix=["another/"]), "no lifecycle rule", "its 1 present one"),
        ("lifecycle", rule(age=3, matchesSuffix=[".tmp"]), "no lifecycle rule", "--lifecycle-file="),
        ("lifecycle", rule(age=3, isLive=False), "no lifecycle rule", "--lifecycle-file="),
        (
            "logs",
            lambda c: c.logs.faults.append(permission_denied("logging.logEntries.list", f"projects/{PROJECT}")),
            "permission denied",
            "`roles/logging.viewer`",
        ),
    ],
)
def test_a_mistake_is_found(cloud: Cloud, check: str, mistake: Callable[[Cloud], None], text: str, fix: str) -> None:
    mistake(cloud)
    found = cloud.diagnose()
    assert found.problems[0] == check
    expected = {"identity": 1, "bucket": 1, "function": 1}
    assert len(found.problems) == expected.get(check, 1) or check == "bucket"
    assert text in found[check]
    assert fix in found.findings[check]["fix"]
    assert found.code == 1
    assert "s3cr3t" not in found.output
    assert [token for token in cloud.google.accounts.issued if token.rpartition(".")[2] in found.output] == []
