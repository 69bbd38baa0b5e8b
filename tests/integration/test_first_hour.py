"""The mistakes of the first hour, which docs/operations/troubleshooting.md quotes: each error says what to do."""

import copy
import re
import sys
import venv
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from dagster import (
    AssetCheckExecutionContext,
    AssetExecutionContext,
    AssetSpec,
    DagsterInstance,
    Definitions,
    FilesystemIOManager,
    MaterializeResult,
    OpExecutionContext,
    RetryPolicy,
    asset,
    asset_check,
    job,
    materialize,
    mem_io_manager,
    multi_asset,
    op,
)
from gcf_pipes import PipesStorageError
from gcf_pipes._shared.storage import create_client, storage_of
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage
from pydantic import ValidationError

from dagster_gcf_pipes import PipesCloudFunctionClient, PipesCloudFunctionCompletedInvocation
from dagster_gcf_pipes.local import Emulator, FunctionServer, run_emulator, run_function, storage_client
from dagster_gcf_pipes.local._processes import ProcessError
from tests.conftest import FUNCTIONS
from tests.dagster_runs import failure_text
from tests.quotes import Quote
from tests.sessions import call, stored_sessions

BEHAVIORS = FUNCTIONS / "behaviors" / "main.py"
NOTHING_LISTENS = "http://127.0.0.1:9"  # port 9, discard
CODE = {
    "decorated": "from gcf_pipes import pipes_function\n@pipes_function\ndef main(request, pipes): return 'done'\n",
    "undecorated": "def main(request, pipes): return 'done'\n",
    "misnamed": "def orders(request, pipes): return 'done'\n",
    "imports": "import a_package_that_nobody_installed\ndef main(request): return 'done'\n",
}
Body = Callable[[AssetExecutionContext, PipesCloudFunctionClient], Any]


@dataclass(frozen=True)
class Setup:
    """A set-up that works, until a mistake is made.

    Attributes:
        function: A function that uses the emulator.
        bucket: The name of its bucket.
        environment: Changes the environment of Dagster and of functions that start later.
        folder: An empty folder.
        stack: Closes when the test ends.
    """

    function: FunctionServer
    bucket: str
    environment: pytest.MonkeyPatch
    folder: Path
    stack: ExitStack

    def fail(self, body: Body | None = None, *, url: str | None = None) -> str:
        """Run an asset; return the description of its failure."""

        def call_function(context: AssetExecutionContext, client: PipesCloudFunctionClient) -> Any:
            event = {"mode": "ok"}
            return client.run(
                context=context, function_url=url or self.function.url, event=event
            ).get_materialize_result()

        @asset
        def orders(context: AssetExecutionContext, cloud_function: PipesCloudFunctionClient) -> Any:
            return (body or call_function)(context, cloud_function)

        client = PipesCloudFunctionClient(bucket=self.bucket, max_attempts=1, function_timeout=3, drain_timeout=1)
        result = materialize([orders], resources={"cloud_function": client}, raise_on_error=False)
        return failure_text(result)

    def deploy(self, emulator_url: str, code: str = "decorated") -> str:
        """Run a function and return its URL."""
        source = self.folder / "main.py"
        source.write_text(CODE[code])
        return self.stack.enter_context(run_function(source, emulator_url=emulator_url)).url


@pytest.fixture
def setup(function: FunctionServer, bucket: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Setup]:
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path / "nobody is logged in"))
    monkeypatch.delenv("GOOGLE_APPLICATION_CREDENTIALS", raising=False)
    for name in ("HTTP_PROXY", "http_proxy"):  # no metadata server is reached; google-auth's switch acts at its import
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "127.0.0.1,localhost")
    with ExitStack() as stack:
        yield Setup(function, bucket, monkeypatch, tmp_path, stack)


# ------------------------------------------------------------------------------------------- what the page quotes

Mistake = Callable[[Setup], str]
MISTAKES: list[Mistake] = []


def mistake(make: Mistake) -> None:
    """Put a mistake on the list. Its name is the name of the quote."""
    MISTAKES.append(make)


@mistake
def returns_the_invocation(setup: Setup) -> str:
    return setup.fail(lambda context, client: invoke(context, client, setup.function.url))


@mistake
def awaits_run(setup: Setup) -> str:
    async def wait(context: AssetExecutionContext, client: PipesCloudFunctionClient) -> Any:
        return await invoke(context, client, setup.function.url)  # type: ignore[misc]

    return setup.fail(lambda context, client: drive(wait(context, client)))


@mistake
def a_misspelt_argument(setup: Setup) -> str:
    return setup.fail(lambda context, client: client.run(context=context, url=setup.function.url))  # type: ignore[call-arg]


@mistake
def the_context_without_its_name(setup: Setup) -> str:
    return setup.fail(lambda context, client: client.run(context, function_url=setup.function.url))  # type: ignore[call-arg]


@mistake
def no_bucket(setup: Setup) -> str:
    with pytest.raises(ValidationError) as caught:
        PipesCloudFunctionClient()
    return str(caught.value)


@mistake
def no_emulator(setup: Setup) -> str:
    setup.environment.delenv("STORAGE_EMULATOR_HOST")
    return setup.fail()


@mistake
def an_emulator_for_dagster_alone(setup: Setup) -> str:
    return setup.fail(url=setup.deploy(emulator_url=""))


@mistake
def two_emulators(setup: Setup) -> str:
    other = setup.stack.enter_context(run_emulator("gcp-storage-emulator"))
    storage_client(other.url).create_bucket(setup.bucket)
    return setup.fail(url=setup.deploy(other.url))


@mistake
def an_emulator_that_is_not_running(setup: Setup) -> str:
    return setup.fail(url=setup.deploy(NOTHING_LISTENS))


@mistake
def an_emulator_without_a_scheme(setup: Setup) -> str:
    setup.environment.setenv("STORAGE_EMULATOR_HOST", "localhost:9023")
    return setup.fail()


@mistake
def an_emulator_for_a_function_in_the_cloud(setup: Setup) -> str:
    return setup.fail(url="https://orders-123456789012.europe-west1.run.app")


@mistake
def nothing_listens(setup: Setup) -> str:
    return setup.fail(url=NOTHING_LISTENS)


@mistake
def an_entry_point_that_is_not_decorated(setup: Setup) -> str:
    return setup.fail(url=setup.deploy(NOTHING_LISTENS, "undecorated"))


@mistake
def another_name_than_main(setup: Setup) -> str:
    return start_error(setup, "misnamed")


@mistake
def a_package_is_missing(setup: Setup) -> str:
    return start_error(setup, "imports")


@mistake
def no_functions_framework(setup: Setup) -> str:
    venv.create(setup.folder / "empty", symlinks=True)
    setup.environment.setattr(sys, "executable", str(setup.folder / "empty" / "bin" / "python"))
    setup.environment.delenv("PYTHONPATH", raising=False)
    return start_error(setup, "decorated")


def start_error(setup: Setup, code: str) -> str:
    with pytest.raises(ProcessError) as caught:
        setup.deploy(NOTHING_LISTENS, code)
    return str(caught.value).partition("\n\n")[0].replace(str(setup.folder), "/orders")  # without its output


@pytest.mark.parametrize("make", MISTAKES, ids=lambda make: make.__name__)
def test_the_error_of_each_mistake_says_what_to_do(make: Mistake, setup: Setup, quote: Quote) -> None:
    error = make(setup)
    assert "Fix: " in error
    quote(make.__name__, error)


# ----------------------------------------------------------------------------------------------- ways to make them


def invoke(context: Any, client: PipesCloudFunctionClient, url: str) -> PipesCloudFunctionCompletedInvocation:
    return client.run(context=context, function_url=url, event={"mode": "ok"})


def drive(coroutine: Any) -> Any:
    """Run a coroutine to its end."""
    try:
        coroutine.send(None)
    except StopIteration as ended:
        return ended.value
    raise AssertionError("it waits")


def yield_it(invocation: Any) -> Iterator[Any]:
    yield invocation


def yield_from_it(invocation: Any) -> Iterator[Any]:
    yield from invocation


def enter_it(invocation: Any) -> Any:
    with invocation as entered:
        return entered


@pytest.mark.parametrize("misuse", [lambda it: it, lambda it: (it, 1), yield_it, yield_from_it, list, enter_it])
@pytest.mark.parametrize("several", [False, True], ids=["an asset", "several assets"])
def test_an_invocation_in_place_of_results_is_refused(
    function: FunctionServer, client: PipesCloudFunctionClient, misuse: Callable[[Any], Any], several: bool
) -> None:
    def orders(context: AssetExecutionContext, cloud_function: PipesCloudFunctionClient) -> Any:
        return misuse(invoke(context, cloud_function, function.url))

    del orders.__annotations__["return"]  # Dagster takes it for the type of each output
    specs = [AssetSpec("a"), AssetSpec("b")] if several else [AssetSpec("a")]
    result = materialize([multi_asset(specs=specs)(orders)], resources={"cloud_function": client}, raise_on_error=False)
    assert failure_text(result).startswith("Expected the results of the call, got the invocation")


def test_an_annotated_asset_is_refused_once(function: FunctionServer, client: PipesCloudFunctionClient) -> None:
    """Dagster formats the type of an annotation too; and no retry can help."""
    calls = []

    @asset(retry_policy=RetryPolicy(max_retries=2))
    def orders(
        context: AssetExecutionContext, cloud_function: PipesCloudFunctionClient
    ) -> PipesCloudFunctionCompletedInvocation:
        calls.append(context.retry_number)
        return invoke(context, cloud_function, function.url)

    resources = {"cloud_function": client, "io_manager": mem_io_manager}
    assert "got the invocation" in failure_text(materialize([orders], resources=resources, raise_on_error=False))
    assert calls == [0]


def test_a_check_that_returns_the_invocation_is_refused(
    function: FunctionServer, client: PipesCloudFunctionClient
) -> None:
    @asset_check(asset="orders", name="not_empty")
    def check(context: AssetCheckExecutionContext, cloud_function: PipesCloudFunctionClient) -> Any:
        return invoke(context, cloud_function, function.url)

    definitions = Definitions(asset_checks=[check], resources={"cloud_function": client})
    run = definitions.resolve_implicit_global_asset_job_def().execute_in_process(raise_on_error=False)
    assert "got the invocation" in failure_text(run, "orders_not_empty")


def test_an_op_that_returns_the_invocation_is_refused(
    function: FunctionServer, client: PipesCloudFunctionClient, tmp_path: Path
) -> None:
    """The default IO manager pickles it. In memory, the next op could use it."""

    @op
    def orders(context: OpExecutionContext, cloud_function: PipesCloudFunctionClient) -> Any:
        return invoke(context, cloud_function, function.url)

    @job(resource_defs={"cloud_function": client, "io_manager": FilesystemIOManager(base_dir=str(tmp_path))})
    def sync() -> None:
        orders()

    with DagsterInstance.ephemeral() as instance:
        assert "got the invocation" in failure_text(sync.execute_in_process(instance=instance, raise_on_error=False))


def test_an_asset_can_return_all_results(function: FunctionServer, client: PipesCloudFunctionClient) -> None:
    """Dagster's own error about a missing result says to do so."""

    @asset
    def orders(context: AssetExecutionContext, cloud_function: PipesCloudFunctionClient) -> Any:
        return invoke(context, cloud_function, function.url).get_results()

    assert materialize([orders], resources={"cloud_function": client}).success


def test_an_invocation_can_be_copied_and_described(function: FunctionServer, client: PipesCloudFunctionClient) -> None:
    @asset
    def orders(context: AssetExecutionContext, cloud_function: PipesCloudFunctionClient) -> MaterializeResult:
        invocation = invoke(context, cloud_function, function.url)
        assert "CompletedInvocation" in f"{type(invocation)} {invocation!r}"
        return copy.copy(invocation).get_materialize_result()

    assert materialize([orders], resources={"cloud_function": client}).success


@pytest.mark.parametrize("value", [None, ""])
def test_a_bucket_from_an_empty_variable_is_none(value: Any) -> None:
    with pytest.raises(ValidationError, match=r"got none(.|\n)*Fix: Write `PipesCloudFunctionClient"):
        PipesCloudFunctionClient(bucket=value)


# ------------------------------------------------------------------------------------------- the storage of each side


@pytest.mark.parametrize("header", [None, "", "emulator", "EMULATOR", "something newer", "é" * 1000])
def test_a_header_that_says_nothing_else_is_accepted(function: FunctionServer, bucket: str, header: str | None) -> None:
    headers = {} if header is None else {"Dagster-Pipes-Storage": header}
    encoded = {name: value.encode("utf-8").decode("latin-1") for name, value in headers.items()}
    assert call(function.url, bucket, {"mode": "ok"}, headers=encoded).json() == {"ok": True}


def test_a_call_of_another_storage_runs_nothing(
    function: FunctionServer, bucket: str, storage_client: storage.Client
) -> None:
    response = call(function.url, bucket, {"mode": "ok"}, headers={"Dagster-Pipes-Storage": "cloud"})
    assert (response.status_code, response.headers["Dagster-Pipes-Error"]) == (400, "bad_request")
    assert "Dagster uses Cloud Storage itself, and this function uses an emulator" in response.text
    assert stored_sessions(storage_client, bucket) == {}


@pytest.mark.parametrize(
    ("endpoint", "expected"),
    [
        ("https://storage.googleapis.com", "cloud"),
        ("https://storage.me-central2.rep.googleapis.com", "cloud"),
        ("http://127.0.0.1:9023", "emulator"),
        ("http://gcs:4443", "emulator"),
        ("https://localhost:4443", "emulator"),
    ],
)
def test_a_client_says_which_storage_it_uses(endpoint: str, expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """fake-gcs-server speaks https unless told otherwise; then the variable names it."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "https://localhost:4443")
    client = storage.Client("local", AnonymousCredentials(), client_options={"api_endpoint": endpoint})
    assert storage_of(client) == expected


@pytest.mark.parametrize(
    ("value", "fix"),
    [
        ("127.0.0.1:9023", "Set it to 'http://127.0.0.1:9023'."),
        ("http://127.0.0.1:9023/", "Set it to 'http://127.0.0.1:9023'."),
        ("https://gcs:4443//", "Set it to 'https://gcs:4443'."),
    ],
)
def test_an_address_that_the_library_cannot_use_is_refused(
    value: str, fix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", value)
    with pytest.raises(PipesStorageError, match=re.escape(f"Fix: {fix}")):
        create_client()


def test_a_fake_client_is_not_checked() -> None:
    assert storage_of(object()) is None


def test_a_bucket_of_another_emulator_is_told_from_a_wrong_name(setup: Setup, emulator: Emulator) -> None:
    with run_emulator("gcp-storage-emulator") as other:
        text = setup.fail(url=setup.deploy(other.url))
    assert f"the bucket '{setup.bucket}' does not exist" in text
    assert f"This is the emulator {other.url}: STORAGE_EMULATOR_HOST must be the same" in text
