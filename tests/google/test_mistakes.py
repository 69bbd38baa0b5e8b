"""Each mistake of docs/operations/troubleshooting.md is made, and the page quotes its error."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest
import requests
from dagster import AssetExecutionContext, EnvVar, MaterializeResult, asset, materialize
from google.cloud import storage
from pydantic import ValidationError

from dagster_gcf_pipes import PipesCloudFunctionClient
from dagster_gcf_pipes.local import Emulator, FunctionServer, run_function
from tests.conftest import FUNCTIONS
from tests.faults.plan import EVERY, NO_INSTANCE_429, READ, UPLOAD, Fault, storage_forbidden
from tests.faults.proxy import FaultProxy
from tests.faults.stack import ProxiedClient
from tests.google.conftest import FUNCTION_URL, Google
from tests.google.functions_api import HOST as FUNCTIONS_HOST
from tests.google.functions_api import FunctionsApi, permission_denied, service_disabled
from tests.google.logging_api import HOST as LOGGING_HOST
from tests.google.logging_api import OUT_OF_MEMORY, LoggingApi, out_of_memory
from tests.google.logins import CALLER, Login, Logins
from tests.google.private_function import not_found
from tests.sessions import bootstrap
from tests.troubleshooting_page import check_quote, quotes
from tests.waiting import in_background, wait_until

PROJECT, REGION = "my-project", "europe-west1"
NAME = f"projects/{PROJECT}/locations/{REGION}/functions/orders"
FUNCTION_TIMEOUT = 2
READ_TIMEOUT_MARGIN = 3.0


@dataclass(frozen=True)
class Setup:
    """A function that is deployed correctly, until a mistake is made.

    Attributes:
        google: Google; the function is at `FUNCTION_URL`.
        functions: The Cloud Functions API, which knows the function `orders`.
        logs: The Cloud Logging API.
        emulator: Cloud Storage.
        bucket: The name of the bucket.
        storage_client: A client of it.
        stack: Closes when the test ends.
    """

    google: Google
    functions: FunctionsApi
    logs: LoggingApi
    emulator: Emulator
    bucket: str
    storage_client: storage.Client
    stack: ExitStack

    def deploy(self, folder: str = "behaviors", *, emulator_url: str | None = None, **options: Any) -> FunctionServer:
        """Run a function in a process of its own behind `FUNCTION_URL`."""
        source = FUNCTIONS / folder / "main.py"
        server = run_function(source, emulator_url=emulator_url or self.emulator.url, **options)
        function = self.stack.enter_context(server)
        self.google.function.backend = function.url
        return function

    def proxy(self, fault: Fault) -> str:
        """Return the URL of a proxy in front of Cloud Storage that injects a fault."""
        proxy = self.stack.enter_context(FaultProxy(self.emulator.url, [fault]))
        return self.google.network.forward("proxy.example.com", proxy.url)

    def fail(
        self,
        target: dict[str, Any] | None = None,
        *,
        event: dict[str, Any] | None = None,
        login: Callable[[Logins], Login] = Logins.metadata_server,
        client: type[PipesCloudFunctionClient] = PipesCloudFunctionClient,
        **fields: Any,
    ) -> str:
        """Call the function; return the text and the metadata of the failure."""
        target, event = target or {"function": "orders"}, event or {"mode": "ok"}

        @asset
        def orders(context: AssetExecutionContext, cloud_function: PipesCloudFunctionClient) -> MaterializeResult:
            return cloud_function.run(context=context, event=event, **target).get_materialize_result()

        given = {"project": PROJECT, "region": REGION, "bucket": self.bucket, "drain_timeout": 1, "retry_delay": 0.1}
        resource = client(**{**given, **login(self.google.logins).fields, **fields})
        result = materialize([orders], resources={"cloud_function": resource}, raise_on_error=False)
        failure = result.failure_data_for_node("orders")
        assert failure, "the run succeeded"
        assert failure.user_failure_data, failure.error
        metadata = "".join(f"\n{name}: {value.value}" for name, value in failure.user_failure_data.metadata.items())
        return f"{failure.user_failure_data.description}{metadata}"


@pytest.fixture
def setup(
    google: Google,
    emulator: Emulator,
    bucket: str,
    storage_client: storage.Client,
    function: FunctionServer,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Setup]:
    # a margin of 30 s would only make each test that much longer
    monkeypatch.setattr("dagster_gcf_pipes._client.READ_TIMEOUT_MARGIN", READ_TIMEOUT_MARGIN)
    google.function.backend = function.url
    functions, logs = FunctionsApi(google.accounts.issued), LoggingApi(google.accounts.issued)
    google.network.serve(FUNCTIONS_HOST, functions.app)
    google.network.serve(LOGGING_HOST, logs.app)
    service = f"projects/{PROJECT}/locations/{REGION}/services/load-orders"
    functions.add(NAME, serviceConfig={"service": service, "uri": FUNCTION_URL, "timeoutSeconds": FUNCTION_TIMEOUT})
    with ExitStack() as stack:
        yield Setup(google, functions, logs, emulator, bucket, storage_client, stack)


@dataclass(frozen=True)
class Mistake:
    """A mistake.

    Attributes:
        section: The heading under which the page has it.
        make: Makes it, and returns the text that the user reads.
        names: What names it in that text.
        fix: What to do about it in that text.
    """

    section: str
    make: Callable[[Setup], str]
    names: str
    fix: str


MISTAKES: list[Mistake] = []


def mistake(section: str, *, names: str, fix: str) -> Callable[[Callable[[Setup], str]], None]:
    """Put a mistake on the list, in the order of the page."""
    return lambda make: MISTAKES.append(Mistake(section, make, names, fix))


URL_IN_ANOTHER_REGION = f"https://us-central1-{PROJECT}.cloudfunctions.net/orders"


@mistake("No credentials", names="Expected Google credentials, found none", fix="Set `impersonate_service_account`")
def nobody_is_logged_in(setup: Setup) -> str:
    return setup.fail(login=Logins.nobody)


@mistake(
    "A person's credentials",
    names="the function requires an ID token, and the user",
    fix="Set `impersonate_service_account`",
)
def a_user_without_impersonation(setup: Setup) -> str:
    return setup.fail(login=Logins.user_alone)


@mistake("Wrong audience", names="the audience of the ID token, https://orders.example.com", fix="set `audience`")
def called_through_a_domain(setup: Setup) -> str:
    setup.google.network.serve("orders.example.com", setup.google.function.app())
    return setup.fail({"function_url": "https://orders.example.com"})


@mistake(
    "No invoker role",
    names="lacks `roles/run.invoker`",
    fix=(
        f"`gcloud run services add-iam-policy-binding load-orders --region={REGION} --project={PROJECT} "
        f"--member=serviceAccount:{CALLER} --role=roles/run.invoker`"
    ),
)
def may_not_invoke(setup: Setup) -> str:
    setup.google.function.invokers.clear()
    return setup.fail()


@mistake("Internal ingress", names="the function's ingress setting blocks this network", fix="`--ingress-settings=all`")
def ingress_is_internal(setup: Setup) -> str:
    setup.google.function.ingress = False
    return setup.fail()


@mistake("Wrong region", names=f"'{PROJECT}' in 'us-central1': it does not exist", fix="gcloud functions list")
def looked_up_in_another_region(setup: Setup) -> str:
    return setup.fail(region="us-central1")


@mistake("Wrong region", names="the URL is not the function's", fix="gcloud functions describe orders")
def called_in_another_region(setup: Setup) -> str:
    setup.google.network.serve(f"us-central1-{PROJECT}.cloudfunctions.net", not_found())
    return setup.fail({"function_url": URL_IN_ANOTHER_REGION})


@mistake("Not deployed", names="expected its state to be ACTIVE, got FAILED", fix="deploy it again")
def the_deployment_failed(setup: Setup) -> str:
    messages = [{"severity": "ERROR", "type": "CloudRunServiceFailed", "message": "Container Healthcheck failed."}]
    setup.functions.add(NAME, state="FAILED", stateMessages=messages)
    return setup.fail()


@mistake("Not deployed", names="expected its state to be ACTIVE, got DEPLOYING", fix="when the deployment has finished")
def the_deployment_goes_on(setup: Setup) -> str:
    setup.functions.add(NAME, state="DEPLOYING")
    return setup.fail()


@mistake("API not enabled", names="Cloud Functions API has not been used", fix="gcloud services enable")
def the_api_is_not_enabled(setup: Setup) -> str:
    setup.functions.faults.append(service_disabled("Cloud Functions API", FUNCTIONS_HOST))
    return setup.fail()


@mistake("No permission to look the function up", names="is forbidden", fix="`roles/cloudfunctions.viewer`")
def may_not_look_it_up(setup: Setup) -> str:
    setup.functions.faults.append(permission_denied("cloudfunctions.functions.get", NAME))
    return setup.fail()


@mistake(
    "No permission on the bucket",
    names="Cannot read gs://",
    fix="--member=serviceAccount:pipes@local.iam.gserviceaccount.com --role=roles/storage.objectViewer`",
)
def dagster_may_not_read_the_bucket(setup: Setup) -> str:
    url = setup.proxy(Fault(READ, storage_forbidden("storage.objects.get"), EVERY))
    return setup.fail(client=ProxiedClient, api_endpoint=url)


@mistake(
    "No permission on the bucket",
    names="Cannot create gs://",
    fix="--member=serviceAccount:pipes@local.iam.gserviceaccount.com --role=roles/storage.objectCreator`",
)
def the_function_may_not_write_to_the_bucket(setup: Setup) -> str:
    setup.deploy(emulator_url=setup.proxy(Fault(UPLOAD, storage_forbidden(), EVERY)))
    return setup.fail()


@mistake("Wrong bucket", names="the bucket 'no-such-bucket' does not exist", fix="gcloud storage buckets create")
def the_bucket_does_not_exist(setup: Setup) -> str:
    return setup.fail(bucket="no-such-bucket")


@mistake("Wrong bucket", names="to be one that this function accepts", fix="GCF_PIPES_BUCKETS")
def the_function_takes_another_bucket(setup: Setup) -> str:
    setup.deploy(env={"GCF_PIPES_BUCKETS": "another-bucket"})
    return setup.fail()


@mistake("Wrong bucket", names="below the prefix that this function accepts", fix="GCF_PIPES_KEY_PREFIX")
def the_function_takes_another_prefix(setup: Setup) -> str:
    setup.deploy(env={"GCF_PIPES_KEY_PREFIX": "another-prefix"})
    return setup.fail()


@mistake("Function timed out", names="The function ran out of time after 2 s", fix="deploy it with `--timeout`")
def it_ran_out_of_time(setup: Setup) -> str:
    return setup.fail(event={"mode": "loops_with_messages"})


@mistake("Function timed out", names="It ran longer than its timeout", fix="Deploy it with a longer timeout")
def the_platform_answered_in_its_stead(setup: Setup) -> str:
    setup.logs.faults.append(permission_denied("logging.logEntries.list", f"projects/{PROJECT}"))
    setup.google.function.timeout = 1
    return setup.fail(event={"mode": "waits", "seconds": FUNCTION_TIMEOUT + 2 * READ_TIMEOUT_MARGIN})


@mistake("Out of memory", names=f'The log says: "{OUT_OF_MEMORY}"', fix="Deploy it with more memory (`--memory`)")
def the_log_says_out_of_memory(setup: Setup) -> str:
    setup.logs.entries[PROJECT] = [out_of_memory(PROJECT, "load-orders")]
    setup.deploy()
    return setup.fail(event={"mode": "dies"})


@mistake(
    "Out of memory", names="The instance crashed, most often because it ran out of memory", fix="Deploy it with more"
)
def it_was_out_of_memory_and_its_log_may_not_be_read(setup: Setup) -> str:
    setup.logs.faults.append(permission_denied("logging.logEntries.list", f"projects/{PROJECT}"))
    setup.deploy()
    return setup.fail(event={"mode": "dies"})


@mistake("Old runtime package", names="it opened no Pipes session", fix="deploy it again")
def deployed_without_gcf_pipes(setup: Setup) -> str:
    setup.deploy("plain")
    return setup.fail()


@mistake(
    "Old runtime package",
    names="version '0.1' of the Pipes protocol",
    fix="Install the same version of dagster-pipes",
)
def deployed_with_another_dagster_pipes(setup: Setup) -> str:
    setup.deploy("another_protocol")
    return setup.fail()


@mistake("More calls than threads", names="waited for an instance until the function's timeout", fix="set THREADS")
def an_instance_takes_more_calls_than_it_has_threads(setup: Setup) -> str:
    function = setup.deploy(threads=1)
    gate = setup.storage_client.bucket(setup.bucket).blob("gate")
    body = {"mode": "gated", "bucket": setup.bucket, **bootstrap(setup.bucket, "other")}
    in_background(lambda: requests.post(function.url, json=body, timeout=60))
    setup.stack.callback(gate.upload_from_string, "open")
    wait_until(lambda: setup.storage_client.bucket(setup.bucket).blob("other/1.json").exists())
    setup.logs.faults.append(permission_denied("logging.logEntries.list", f"projects/{PROJECT}"))
    setup.google.function.timeout = 1
    return setup.fail(max_attempts=1)


@mistake("More calls than instances", names="All instances were busy", fix="`--max-instances`")
def no_instance_is_free(setup: Setup) -> str:
    setup.google.function.statuses = [NO_INSTANCE_429.code] * 4
    return setup.fail()


@mistake("Wrong arguments", names="Expected either `function`, a name, or `function_url`, got both", fix="either")
def both_name_and_url(setup: Setup) -> str:
    return setup.fail({"function": "orders", "function_url": FUNCTION_URL})


@mistake("Wrong arguments", names="got 'https://", fix="A URL goes into `function_url`")
def a_url_as_name(setup: Setup) -> str:
    return setup.fail({"function": FUNCTION_URL})


@mistake("Wrong arguments", names="Expected the URL of a function", fix="A name goes into `function`")
def a_name_as_url(setup: Setup) -> str:
    return setup.fail({"function_url": "orders"})


@mistake("Wrong arguments", names="No ID token is sent over plain http", fix="Fix: Write https:// instead")
def plain_http(setup: Setup) -> str:
    return setup.fail({"function_url": FUNCTION_URL.replace("https", "http")})


@mistake("Wrong arguments", names="got EnvVar('FUNCTION_URL')", fix="Pass its `get_value()`")
def an_env_var_that_nobody_resolves(setup: Setup) -> str:
    return setup.fail({"function_url": EnvVar("FUNCTION_URL")})


@mistake("Wrong arguments", names="there is no field 'funtion_timeout'", fix="did you mean 'function_timeout'?")
def a_misspelt_field(setup: Setup) -> str:
    return refused(setup, funtion_timeout=3)


@mistake("Wrong arguments", names="there is no field 'function_url'", fix="it is an argument of `run`")
def an_argument_of_run_as_field(setup: Setup) -> str:
    return refused(setup, function_url=FUNCTION_URL)


@mistake("Wrong arguments", names="got 'gs://lake'", fix="expected the name of a bucket, without `gs://`")
def a_uri_as_bucket(setup: Setup) -> str:
    return refused(setup, bucket="gs://lake")


def refused(setup: Setup, **fields: Any) -> str:
    """Return the error of a field at the resource's definition."""
    with pytest.raises(ValidationError) as caught:
        setup.fail(**fields)
    return str(caught.value)


# ---------------------------------------------------------------------------------------------------------------- tests


def quote_of(made: Mistake) -> str:
    of_section = [each for each in MISTAKES if each.section == made.section]
    return quotes(first_hour=False)[made.section][of_section.index(made)]


@pytest.mark.parametrize("made", MISTAKES, ids=[made.make.__name__ for made in MISTAKES])
def test_the_page_quotes_the_error_of_each_mistake(made: Mistake, setup: Setup) -> None:
    seen = " ".join(made.make(setup).split())
    assert made.names in seen
    assert made.fix in seen
    check_quote(quote_of(made), seen)


def test_the_page_quotes_each_mistake_and_no_other() -> None:
    made = [each.section for each in MISTAKES]
    assert {name: len(found) for name, found in quotes(first_hour=False).items()} == {
        name: made.count(name) for name in made
    }


def test_a_quote_says_something() -> None:
    assert [
        quote for found in quotes(first_hour=False).values() for quote in found if len(quote.replace("...", "")) < 40
    ] == []
