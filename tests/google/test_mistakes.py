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
from tests.dagster_runs import failure_text
from tests.faults.plan import EVERY, NO_INSTANCE_429, READ, UPLOAD, Fault, storage_forbidden
from tests.faults.proxy import FaultProxy
from tests.faults.stack import ProxiedClient
from tests.google.conftest import FUNCTION_URL, Google
from tests.google.functions_api import HOST as FUNCTIONS_HOST
from tests.google.functions_api import FunctionsApi, permission_denied, service_disabled
from tests.google.logging_api import HOST as LOGGING_HOST
from tests.google.logging_api import LoggingApi, terminated
from tests.google.logins import Login, Logins
from tests.google.private_function import not_found
from tests.quotes import Quote
from tests.sessions import bootstrap
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
        """Call the function; return the description of the failure."""
        target, event = target or {"function": "orders"}, event or {"mode": "ok"}

        @asset
        def orders(context: AssetExecutionContext, cloud_function: PipesCloudFunctionClient) -> MaterializeResult:
            return cloud_function.run(context=context, event=event, **target).get_materialize_result()

        given = {"project": PROJECT, "region": REGION, "bucket": self.bucket, "drain_timeout": 1, "retry_delay": 0.1}
        resource = client(**{**given, **login(self.google.logins).fields, **fields})
        result = materialize([orders], resources={"cloud_function": resource}, raise_on_error=False)
        return failure_text(result)


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
    monkeypatch.setattr("dagster_gcf_pipes._calling.READ_TIMEOUT_MARGIN", READ_TIMEOUT_MARGIN)
    google.function.backend = function.url
    functions, logs = FunctionsApi(google.accounts.issued), LoggingApi(google.accounts.issued)
    google.network.serve(FUNCTIONS_HOST, functions.app)
    google.network.serve(LOGGING_HOST, logs.app)
    service = f"projects/{PROJECT}/locations/{REGION}/services/load-orders"
    functions.add(NAME, serviceConfig={"service": service, "uri": FUNCTION_URL, "timeoutSeconds": FUNCTION_TIMEOUT})
    with ExitStack() as stack:
        yield Setup(google, functions, logs, emulator, bucket, storage_client, stack)


Mistake = Callable[[Setup], str]
MISTAKES: list[Mistake] = []


def mistake(make: Mistake) -> None:
    """Put a mistake on the list. Its name is the name of the quote."""
    MISTAKES.append(make)


URL_IN_ANOTHER_REGION = f"https://us-central1-{PROJECT}.cloudfunctions.net/orders"


@mistake
def nobody_is_logged_in(setup: Setup) -> str:
    return setup.fail(login=Logins.nobody)


@mistake
def a_user_without_impersonation(setup: Setup) -> str:
    return setup.fail(login=Logins.user_alone)


@mistake
def called_through_a_domain(setup: Setup) -> str:
    setup.google.network.serve("orders.example.com", setup.google.function.app())
    return setup.fail({"function_url": "https://orders.example.com"})


@mistake
def may_not_invoke(setup: Setup) -> str:
    setup.google.function.invokers.clear()
    return setup.fail()


@mistake
def ingress_is_internal(setup: Setup) -> str:
    setup.google.function.ingress = False
    return setup.fail()


@mistake
def looked_up_in_another_region(setup: Setup) -> str:
    return setup.fail(region="us-central1")


@mistake
def called_in_another_region(setup: Setup) -> str:
    setup.google.network.serve(f"us-central1-{PROJECT}.cloudfunctions.net", not_found())
    return setup.fail({"function_url": URL_IN_ANOTHER_REGION})


@mistake
def the_deployment_failed(setup: Setup) -> str:
    messages = [{"severity": "ERROR", "type": "CloudRunServiceFailed", "message": "Container Healthcheck failed."}]
    setup.functions.add(NAME, state="FAILED", stateMessages=messages)
    return setup.fail()


@mistake
def the_deployment_goes_on(setup: Setup) -> str:
    setup.functions.add(NAME, state="DEPLOYING")
    return setup.fail()


@mistake
def the_api_is_not_enabled(setup: Setup) -> str:
    setup.functions.faults.append(service_disabled("Cloud Functions API", FUNCTIONS_HOST))
    return setup.fail()


@mistake
def may_not_look_it_up(setup: Setup) -> str:
    setup.functions.faults.append(permission_denied("cloudfunctions.functions.get", NAME))
    return setup.fail()


@mistake
def dagster_may_not_read_the_bucket(setup: Setup) -> str:
    url = setup.proxy(Fault(READ, storage_forbidden("storage.objects.get"), EVERY))
    return setup.fail(client=ProxiedClient, api_endpoint=url)


@mistake
def the_function_may_not_write_to_the_bucket(setup: Setup) -> str:
    setup.deploy(emulator_url=setup.proxy(Fault(UPLOAD, storage_forbidden(), EVERY)))
    return setup.fail()


@mistake
def the_bucket_does_not_exist(setup: Setup) -> str:
    return setup.fail(bucket="no-such-bucket")


@mistake
def the_function_takes_another_bucket(setup: Setup) -> str:
    setup.deploy(env={"GCF_PIPES_BUCKETS": "another-bucket"})
    return setup.fail()


@mistake
def the_function_takes_another_prefix(setup: Setup) -> str:
    setup.deploy(env={"GCF_PIPES_KEY_PREFIX": "another-prefix"})
    return setup.fail()


@mistake
def it_ran_out_of_time(setup: Setup) -> str:
    return setup.fail(event={"mode": "loops_with_messages"})


@mistake
def the_platform_answered_in_its_stead(setup: Setup) -> str:
    setup.logs.faults.append(permission_denied("logging.logEntries.list", f"projects/{PROJECT}"))
    setup.google.function.timeout = 1
    return setup.fail(event={"mode": "waits", "seconds": FUNCTION_TIMEOUT + 2 * READ_TIMEOUT_MARGIN})


@mistake
def the_log_says_out_of_memory(setup: Setup) -> str:
    setup.logs.entries[PROJECT] = [terminated(PROJECT, "load-orders")]
    setup.deploy()
    return setup.fail(event={"mode": "dies"}, max_attempts=1)


@mistake
def it_was_out_of_memory_and_its_log_may_not_be_read(setup: Setup) -> str:
    setup.logs.faults.append(permission_denied("logging.logEntries.list", f"projects/{PROJECT}"))
    setup.deploy()
    return setup.fail(event={"mode": "dies"}, max_attempts=1)


@mistake
def the_log_says_that_the_process_died(setup: Setup) -> str:
    setup.logs.entries[PROJECT] = [terminated(PROJECT, "load-orders", "Container called exit(1).")]
    setup.deploy()
    return setup.fail(event={"mode": "dies"}, max_attempts=1)


@mistake
def deployed_without_gcf_pipes(setup: Setup) -> str:
    setup.deploy("plain")
    return setup.fail()


@mistake
def deployed_with_another_dagster_pipes(setup: Setup) -> str:
    setup.deploy("another_protocol")
    return setup.fail()


@mistake
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


@mistake
def no_instance_is_free(setup: Setup) -> str:
    setup.google.function.statuses = [NO_INSTANCE_429.code] * 4
    return setup.fail()


@mistake
def both_name_and_url(setup: Setup) -> str:
    return setup.fail({"function": "orders", "function_url": FUNCTION_URL})


@mistake
def a_url_as_name(setup: Setup) -> str:
    return setup.fail({"function": FUNCTION_URL})


@mistake
def a_name_as_url(setup: Setup) -> str:
    return setup.fail({"function_url": "orders"})


@mistake
def plain_http(setup: Setup) -> str:
    return setup.fail({"function_url": FUNCTION_URL.replace("https", "http")})


@mistake
def an_env_var_that_nobody_resolves(setup: Setup) -> str:
    return setup.fail({"function_url": EnvVar("FUNCTION_URL")})


@mistake
def a_misspelt_field(setup: Setup) -> str:
    return refused(setup, funtion_timeout=3)


@mistake
def an_argument_of_run_as_field(setup: Setup) -> str:
    return refused(setup, function_url=FUNCTION_URL)


@mistake
def a_uri_as_bucket(setup: Setup) -> str:
    return refused(setup, bucket="gs://lake")


def refused(setup: Setup, **fields: Any) -> str:
    """Return the error of a field at the resource's definition."""
    with pytest.raises(ValidationError) as caught:
        setup.fail(**fields)
    return str(caught.value)


# ---------------------------------------------------------------------------------------------------------------- tests


@pytest.mark.parametrize("make", MISTAKES, ids=lambda make: make.__name__)
def test_the_error_of_each_mistake_is_quoted(make: Mistake, setup: Setup, quote: Quote) -> None:
    quote(make.__name__, make(setup))
