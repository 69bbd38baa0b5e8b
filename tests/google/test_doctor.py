"""`dagster-gcf-pipes doctor`: a good set-up is ok throughout, and each mistake is found, with what fixes it."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from copy import deepcopy
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from gcf_pipes._shared.protocol import CAPABILITIES, PROTOCOL, VERSION
from google.cloud import storage

from dagster_gcf_pipes._cli import main
from dagster_gcf_pipes.local import Emulator, FunctionServer, run_function
from tests.google.accounts import service_account_member
from tests.google.conftest import FUNCTION_HOST, FUNCTION_URL, Google
from tests.google.functions_api import HOST as FUNCTIONS_HOST
from tests.google.functions_api import FunctionsApi, permission_denied
from tests.google.guarded_storage import GuardedStorage
from tests.google.logging_api import HOST as LOGGING_HOST
from tests.google.logging_api import LoggingApi
from tests.google.logins import CALLER
from tests.quotes import Quote
from tests.storage.servers import answering

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
COMMAND = [sys.executable, "-m", "dagster_gcf_pipes", "doctor"]
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

    @classmethod
    def of(cls, code: int, output: str) -> "Diagnosis":
        return cls(code, {each["check"]: each for each in json.loads(output)}, output)

    @property
    def problems(self) -> list[str]:
        return [name for name, finding in self.findings.items() if finding["status"] == "problem"]


def run_doctor(*arguments: str, **env: str) -> "subprocess.CompletedProcess[str]":
    """Run the command in a process of its own, without the warnings of Google's libraries about an old Python."""
    command = [*COMMAND, *arguments]
    env = {**os.environ, "PYTHONWARNINGS": "ignore", **env}
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)


def diagnose(*arguments: str, **env: str) -> Diagnosis:
    """Run the command in this process, which has imported Dagster already."""
    done = CliRunner().invoke(main, ["doctor", *arguments, "--json"], env=env)
    assert (done.stderr, done.exit_code in (0, 1)) == ("", True)
    return Diagnosis.of(done.exit_code, done.stdout)


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
    guarded = GuardedStorage(google.accounts, emulator.url, lifecycle_rules=[deepcopy(RULE)])
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
    done = run_doctor(*cloud.arguments, "--json")
    assert done.stderr == ""
    found = Diagnosis.of(done.returncode, done.stdout)
    assert [name for name, finding in found.findings.items() if finding["status"] == "ok"] == EVERY_CHECK, found.output
    assert found.code == 0
    assert found["identity"].startswith("ok: the service account attached to this machine (metadata server)")
    assert f"of {CALLER} for {FUNCTION_URL}" in found["id_token"]
    assert f"gcf_pipes {VERSION} is deployed" in found["version"]


def test_it_writes_nothing_and_runs_no_code(
    cloud: Cloud, storage_client: storage.Client, function: FunctionServer
) -> None:
    output = function.child.output
    cloud.diagnose()
    assert cloud.google.function.asked == [("GET", "/robots.txt")]
    assert function.child.output == output
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
    assert server.child.output.count("THE CODE RUNS") == 1  # when it is imported


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
    assert "pass --function in place of --url" in found["function"]
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


Mistake = Callable[[Cloud], object]


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


def redeployed(**fields: Any) -> Mistake:
    return lambda cloud: cloud.functions.add(NAME, **{"serviceConfig": cloud.config, **fields})


def without(*variables: str) -> Mistake:
    return lambda cloud: [cloud.variables.pop(variable) for variable in variables]


def having(**variables: str) -> Mistake:
    return lambda cloud: cloud.variables.update(variables)


def called_with(argument: str) -> Mistake:
    return lambda cloud: cloud.arguments.append(argument)


def lacking(*permissions: str) -> Mistake:
    return lambda cloud: cloud.storage.missing.update(f"storage.{permission}" for permission in permissions)


def guarded(**fields: Any) -> Mistake:
    """Change how the platform guards the function."""
    return lambda cloud: vars(cloud.google.function).update(fields)


def without_rule(cloud: Cloud) -> None:
    cloud.storage.lifecycle_rules.clear()


def rule_for_another_prefix(cloud: Cloud) -> None:
    cloud.storage.lifecycle_rules[0]["condition"]["matchesPrefix"] = ["another/"]


def clock_is_behind(cloud: Cloud) -> None:
    cloud.google.accounts.clock_offset = 120


def logs_are_denied(cloud: Cloud) -> None:
    cloud.logs.faults.append(permission_denied("logging.logEntries.list", f"projects/{PROJECT}"))


def another_version(cloud: Cloud) -> None:
    cloud.deploy(ANOTHER_HALF.format(protocol=PROTOCOL, capabilities=[*CAPABILITIES]))


def newer_protocol(cloud: Cloud) -> None:
    cloud.deploy(ANOTHER_HALF.format(protocol=PROTOCOL + 1, capabilities=[*CAPABILITIES]))


def fewer_capabilities(cloud: Cloud) -> None:
    cloud.deploy(ANOTHER_HALF.format(protocol=PROTOCOL, capabilities=[]))


def no_announcement(cloud: Cloud) -> None:
    cloud.deploy(WITHOUT_ANNOUNCEMENT)


ANOTHER_HALF = """
import gcf_pipes._entrypoint
from gcf_pipes._shared import halves

halves.PROTOCOL, halves.VERSION, gcf_pipes._entrypoint.CAPABILITIES = {protocol}, "0.99.0", {capabilities}

@gcf_pipes.pipes_function
def main(request, pipes): ...
"""
WITHOUT_ANNOUNCEMENT = """
import gcf_pipes
from gcf_pipes._shared.halves import Half

Half.headers = {"Dagster-Pipes-Version": "0.0.9"}

@gcf_pipes.pipes_function
def main(request, pipes): ...
"""
GRANT = "--member=serviceAccount:pipes@local.iam.gserviceaccount.com --role=roles/storage."


@pytest.mark.parametrize(
    ("mistakes", "expected"),
    [
        ([clock_is_behind], {"clock": ("s behind Google's", "`sudo timedatectl set-ntp true`")}),
        ([nobody], {"identity": ("Expected Google credentials, found none", "gcloud auth application-default login")}),
        ([logged_out], {"identity": ("Could not get an access token as the user", "Log in again")}),
        ([no_role_on_the_account], {"identity": ("PERMISSION_DENIED", "roles/iam.serviceAccountTokenCreator")}),
        ([no_id_tokens], {"id_token": ("Could not get an ID token as the service account", "impersonate")}),
        (
            [redeployed(state="FAILED"), called_with("--bucket=no-such")],
            {
                "function": ("expected its state to be ACTIVE, got FAILED", "deploy it again"),
                "bucket": ("the bucket 'no-such' does not exist", "`gcloud storage buckets create gs://no-such"),
            },
        ),
        (
            [redeployed(environment="GEN_1"), lacking("objects.list", "objects.get")],
            {
                "function": ("first generation", "--gen2"),
                "bucket": ("Cannot list gs://", f"{GRANT}objectViewer`"),
                "read": ("Cannot read gs://", f"{GRANT}objectViewer`"),
            },
        ),
        (
            [called_with("--function=customers"), lacking("objects.create", "objects.delete"), without_rule],
            {
                "function": ("it does not exist", f"`gcloud functions list --project={PROJECT}`"),
                "create": ("Cannot create gs://", f"{GRANT}objectCreator`"),
                "delete": ("Cannot delete gs://", f"{GRANT}objectUser`"),
                "lifecycle": ("no lifecycle rule", "--lifecycle-file=lifecycle.json`"),
            },
        ),
        (
            [as_user, without("THREADS", "LOG_EXECUTION_ID", "GCF_PIPES_BUCKETS"), logs_are_denied],
            {
                "access": ("requires an ID token, and the user", "Set `impersonate_service_account`"),
                "concurrency": ("8 calls at once, but has threads for 4", f"{DEPLOY} --update-env-vars=THREADS=8`"),
                "execution_id": ("is not set", f"{DEPLOY} --update-env-vars=LOG_EXECUTION_ID=true`"),
                "admission": ("calls may name any bucket", f"{DEPLOY} --update-env-vars=GCF_PIPES_BUCKETS=bucket-"),
                "logs": ("permission denied", "`roles/logging.viewer`"),
            },
        ),
        (
            [guarded(invokers=set()), having(GCF_PIPES_BUCKETS="lake, pond"), rule_for_another_prefix],
            {
                "access": (
                    "lacks `roles/run.invoker`",
                    f"`gcloud run services add-iam-policy-binding load-orders {LOCATION} --member=serviceAccount:",
                ),
                "admission": (
                    "GCF_PIPES_BUCKETS is lake,pond, so the function refuses",
                    f"{DEPLOY} '--update-env-vars=^;^GCF_PIPES_BUCKETS=lake,pond,bucket-",
                ),
                "lifecycle": ("no lifecycle rule", "The file replaces the bucket's rules: add its 1 present rule."),
            },
        ),
        (
            [guarded(ingress=False), having(GCF_PIPES_KEY_PREFIX="dagster-pip/")],
            {
                "access": ("the function's ingress setting blocks this network", "`--ingress-settings=all`"),
                "admission": (
                    "GCF_PIPES_KEY_PREFIX is dagster-pip, so the function refuses the key prefix dagster-pipes",
                    f"{DEPLOY} --update-env-vars=GCF_PIPES_KEY_PREFIX=dagster-pipes`",
                ),
            },
        ),
        ([guarded(audiences=set())], {"access": ("made for another audience", "set `audience` of the resource")}),
        ([guarded(statuses=[429])], {"access": ("All instances were busy", "Raise `--max-instances`")}),
        (
            [guarded(redirect_to="https://u:s3cr3t@login.example/x?s3cr3t")],
            {"access": ("a redirect to https://login.example/x.", "the function's own https URL")},
        ),
        ([newer_protocol], {"version": ("2 from the function's gcf_pipes 0.99.0", "Upgrade Dagster's side: `pip")}),
        ([fewer_capabilities], {"version": ("gcf_pipes 0.99.0 to announce `forward_logs`", f"to {VERSION}, and")}),
        ([no_announcement], {"version": ("gcf_pipes 0.0.9 to announce `forward_logs`", f"to {VERSION}, and")}),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, dict) else "",
)
def test_mistakes_are_found(cloud: Cloud, mistakes: list[Mistake], expected: dict[str, tuple[str, str]]) -> None:
    for make in mistakes:
        make(cloud)
    found = cloud.diagnose()
    assert (found.problems, found.code) == (list(expected), 1), found.output
    for check, (text, fix) in expected.items():
        assert text in found.findings[check]["text"]
        assert fix in found.findings[check]["fix"]
    assert "s3cr3t" not in found.output
    assert [token for token in cloud.google.accounts.issued if token.rpartition(".")[2] in found.output] == []


def test_another_version_with_the_same_protocol_is_no_problem(cloud: Cloud) -> None:
    another_version(cloud)
    found = cloud.diagnose()
    assert found.problems == []
    assert f"gcf_pipes 0.99.0 is deployed, which works with this dagster-gcf-pipes {VERSION}" in found["version"]


def test_a_check_that_needs_another_one_is_skipped(cloud: Cloud) -> None:
    nobody(cloud)
    found = cloud.diagnose()
    assert {name for name in EVERY_CHECK if found[name].startswith("skipped: it needs `identity`")} == {
        *(*OF_FUNCTION[:3], *OF_SETTINGS, *OF_BUCKET, "logs"),
    }
    assert cloud.google.function.asked == []
    assert [*cloud.functions.asked, *cloud.storage.asked, *cloud.logs.asked] == []


def test_what_this_identity_may_not_look_up_is_skipped(cloud: Cloud) -> None:
    cloud.environment.setitem(sys.modules, "google.cloud.logging", None)  # as if it were not installed
    lacking("buckets.get")(cloud)
    cloud.config["timeoutSeconds"] = 60
    found = cloud.diagnose()
    assert found.code == 0
    assert found["lifecycle"].startswith("skipped: this identity lacks `storage.buckets.get`")
    assert found["logs"].startswith("skipped: google-cloud-logging is not installed: `pip install 'dagster-gcf-pipes[")
    assert "60 s, the platform's default" in found["timeout"]


@pytest.mark.parametrize(
    ("url", "check", "reason"),
    [
        (f"https://{REGION}-{PROJECT}.cloudfunctions.net/orders", "access", "might run your code"),
        (FUNCTION_URL, "logs", "pass --project"),
    ],
)
def test_a_url_that_says_too_little(cloud: Cloud, url: str, check: str, reason: str) -> None:
    found = diagnose(f"--url={url}")
    assert reason in found[check]
    assert found.findings[check]["status"] == "skipped"


def test_a_public_function_needs_no_id_token(cloud: Cloud) -> None:
    cloud.google.function.invokers.add("allUsers")
    as_user(cloud)
    found = cloud.diagnose()
    assert found["id_token"].startswith("skipped: the user ")
    assert found["access"].startswith("ok: ")
    assert found.code == 0


# ------------------------------------------------------------------------------------------------------ on this machine


@pytest.fixture
def here(google: Google, emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Google:
    """A machine on which nobody is logged in, with an emulator."""
    monkeypatch.delenv("PIPES_BUCKET", raising=False)
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", emulator.url)
    return google


def test_on_this_machine_nothing_else_is_asked(here: Google, function: FunctionServer, bucket: str) -> None:
    found = diagnose(f"--url={function.url}", PIPES_BUCKET=bucket)
    assert found.code == 0
    assert [name for name, finding in found.findings.items() if finding["status"] == "ok"] == [
        *("access", "version", "bucket", "read"),
    ]
    assert "of the emulator" in found["bucket"]
    assert "an emulator has no permissions" in found["create"]
    assert here.network.routes.asked == []


def test_a_function_that_is_not_started_is_named(here: Google, bucket: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = "http://127.0.0.1:{1}".format(*listener.getsockname())
    found = diagnose(f"--url={url}", f"--bucket={bucket}")
    assert found.problems == ["access"]
    assert "refused the connection. Fix: Start the function: `functions-framework" in found["access"]


def test_an_emulator_is_of_no_use_to_a_function_in_the_cloud(cloud: Cloud, emulator: Emulator) -> None:
    found = cloud.diagnose(STORAGE_EMULATOR_HOST=emulator.url)
    assert found.problems == ["bucket"]
    assert found.findings["bucket"]["fix"] == "`unset STORAGE_EMULATOR_HOST`"


# ----------------------------------------------------------------------------------------------------- hostile servers


@pytest.mark.parametrize(
    "response",
    [
        b"nonsense",
        b"HTTP/1.1 404 \xff\x1b[31m\r\nDagster-Pipes-Version: \x1b[31m\r\nno colon\r\n\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: http://[\x1b[2J\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffff\r\n",
        b"HTTP/1.1 404 Not Found\r\n" + b"".join(b"X-%d: x\r\n" % number for number in range(1000)),
        b"",
    ],
)
def test_nonsense_in_place_of_a_response_is_a_problem(here: Google, response: bytes) -> None:
    with answering(response) as url:
        found = diagnose(f"--url={url}")
    assert found.problems == ["access"]
    assert found.output.isascii()
    assert "\\u001b" not in found.output


def test_an_endless_body_is_not_read(cloud: Cloud) -> None:
    megabytes = count()

    def endless(environ: Any, start_response: Any) -> Iterator[bytes]:
        start_response("404 Not Found", [("Content-Type", "text/html")])
        return (bytes(1 << 20) for _ in megabytes)

    cloud.google.network.serve(FUNCTION_HOST, endless)
    assert cloud.diagnose().problems == ["access"]
    assert next(megabytes) < 50


# ----------------------------------------------------------------------------------------------------------- the output


def test_lines_are_plain_text_where_nobody_looks(cloud: Cloud) -> None:
    cloud.google.function.invokers.clear()
    done = run_doctor(*cloud.arguments, PYTHONIOENCODING="ascii")
    lines = done.stdout.splitlines()
    assert [line.split(":")[0] for line in lines if not line.startswith(" ")] == [
        f"{'problem' if name == 'access' else 'skipped' if name == 'version' else 'ok':<9}{name}"
        for name in EVERY_CHECK
    ]
    assert [line[:14] for line in lines if line.startswith(" ")] == ["         Fix: "]
    assert "\x1b" not in done.stdout
    assert (done.stderr, done.returncode) == ("", 1)


def test_the_page_shows_a_real_output(cloud: Cloud, quote: Quote) -> None:
    for make in (guarded(invokers=set()), without("THREADS")):
        make(cloud)
    quote("doctor", run_doctor(*cloud.arguments).stdout)


def test_an_emulator_that_is_not_started_is_named(here: Google) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = "http://127.0.0.1:{1}".format(*listener.getsockname())
    found = diagnose("--bucket=lake", STORAGE_EMULATOR_HOST=url.replace("http://", "http://user:s3cr3t@"))
    assert found["bucket"].startswith(f"problem: STORAGE_EMULATOR_HOST is {url}, which does not respond.")


def test_a_reader_that_goes_away_gets_no_traceback(here: Google) -> None:
    with subprocess.Popen([*COMMAND], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout
        process.stdout.close()
        assert process.stderr
        assert process.stderr.read() == ""
    assert process.returncode == 1


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--function=orders", "--url=https://orders.example"], "either a function's name or its URL, got both"),
        (["--function=orders"], "Fix: Add `--project=PROJECT --region=REGION`."),
        (["--function=`reboot`", "--project=my-project", "--region=europe-west1"], "Expected the name of a function"),
        (["--url=orders"], "Expected the URL of a function"),
        (["--url=https://user:s3cr3t@host:port/?s3cr3t"], "Expected the URL of a function"),
        (["--bucket=gs://lake"], "bucket: expected the name of a bucket, without `gs://`"),
        (["--key-prefix=/a//b"], "key_prefix: expected names of letters"),
        (["--region=europe"], "region: expected a region"),
        (["--impersonation-delegates=a@b"], "expected impersonate_service_account with impersonation_delegates"),
        (["--log-view=x"], "log_view: expected the full name of a log view"),
    ],
)
def test_wrong_usage_is_refused(arguments: list[str], text: str) -> None:
    result = CliRunner().invoke(main, ["doctor", *arguments])
    assert result.exit_code == 2
    assert text in result.output
    assert "s3cr3t" not in result.output
