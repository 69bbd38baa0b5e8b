"""No token is in a run's results and errors, nor in what a step stores."""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import requests
from dagster import (
    AssetExecutionContext,
    DagsterInstance,
    FilesystemIOManager,
    MaterializeResult,
    OpExecutionContext,
    asset,
    job,
    materialize,
    op,
)

from dagster_gcf_pipes import PipesCloudFunctionClient, PipesCloudFunctionError
from dagster_gcf_pipes.local import Emulator, FunctionServer
from tests.google.conftest import FUNCTION_URL, Google
from tests.google.guarded_storage import GuardedStorage


@pytest.fixture
def client(google: Google, function: FunctionServer, bucket: str) -> PipesCloudFunctionClient:
    google.function.backend = function.url
    return PipesCloudFunctionClient(bucket=bucket, retry_delay=0.1, **google.logins.user_impersonating().fields)


def texts_in(value: object, seen: set[int] | None = None) -> str:
    """Return all texts that are reachable from a value, without code and stack frames."""
    seen = set() if seen is None else seen
    if id(value) in seen:
        return ""
    seen.add(id(value))
    if isinstance(value, str | bytes):
        return f"{value!r}\n"
    inner: list[object] = []
    if isinstance(value, Mapping):
        inner += [*value.keys(), *value.values()]
    elif type(value) in (list, tuple, set):
        inner += list(value)  # type: ignore[call-overload]  # narrowed by its exact type
    if isinstance(value, BaseException):
        inner += [value.args, value.__cause__, value.__context__]
    return "".join(texts_in(each, seen) for each in [*inner, *getattr(value, "__dict__", {}).values()])


def tokens_in(text: str, google: Google) -> list[str]:
    assert google.accounts.issued
    return [token for token in google.accounts.issued if token.rpartition(".")[2] in text]


def test_an_op_can_return_the_response_and_stores_no_token(
    google: Google, client: PipesCloudFunctionClient, tmp_path: Path
) -> None:
    responses: list[requests.Response] = []

    @op
    def call(context: OpExecutionContext, cloud_function: PipesCloudFunctionClient) -> requests.Response:
        return cloud_function.run(context=context, function_url=FUNCTION_URL, event={"mode": "ok"}).response

    @op
    def read(response: requests.Response) -> None:
        responses.append(response)

    @job(resource_defs={"cloud_function": client, "io_manager": FilesystemIOManager(base_dir=str(tmp_path / "files"))})
    def passing() -> None:
        read(call())

    with DagsterInstance.local_temp(str(tmp_path)) as instance:
        assert passing.execute_in_process(instance=instance).success
    (response,) = responses
    assert (response.status_code, response.ok, response.json()) == (200, True, {"ok": True})
    assert response.text == response.content.decode()
    assert response.headers["Dagster-Pipes-Chunk-Count"]
    assert response.elapsed.total_seconds() > 0
    assert response.url.startswith(FUNCTION_URL)
    response.raise_for_status()
    response.close()
    stored = b"".join(path.read_bytes() for path in (tmp_path / "files").rglob("*") if path.is_file())
    assert tokens_in(stored.decode("latin-1"), google) == []


def test_the_response_leads_to_no_token(google: Google, client: PipesCloudFunctionClient) -> None:
    responses: list[requests.Response] = []

    @asset
    def orders(context: AssetExecutionContext, cloud_function: PipesCloudFunctionClient) -> MaterializeResult:
        invocation = cloud_function.run(context=context, function_url=FUNCTION_URL, event={"mode": "ok"})
        responses.append(invocation.response)
        return invocation.get_materialize_result()

    materialize([orders], resources={"cloud_function": client})
    (response,) = responses
    assert response.request.headers == {}
    assert (response.request.method, response.request.body) == ("POST", None)
    assert response.history == []
    assert not hasattr(response, "connection")
    assert tokens_in(texts_in(response) + pickle.dumps(response).decode("latin-1"), google) == []


def raised_by(client: PipesCloudFunctionClient, **arguments: Any) -> PipesCloudFunctionError:
    @asset
    def orders(context: AssetExecutionContext, cloud_function: PipesCloudFunctionClient) -> None:
        cloud_function.run(context=context, function_url=FUNCTION_URL, **arguments)

    with pytest.raises(PipesCloudFunctionError) as caught:
        materialize([orders], resources={"cloud_function": client})
    return caught.value


def test_the_error_of_a_function_that_refuses_the_token_leads_to_none(
    google: Google, client: PipesCloudFunctionClient
) -> None:
    google.function.invokers.clear()
    error = raised_by(client)
    assert "HTTP 403" in str(error.description)
    assert tokens_in(texts_in(error), google) == []


def test_the_error_of_a_bucket_leads_to_no_token(
    google: Google, client: PipesCloudFunctionClient, emulator: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The errors of google-cloud-storage hold the response, and so the request with its access token."""
    guarded = GuardedStorage(google.accounts, emulator.url)
    google.network.serve("storage.googleapis.com", guarded.app())
    monkeypatch.delenv("STORAGE_EMULATOR_HOST")
    fields = {**client.model_dump(), "bucket": "no-such-bucket", "inline_context_limit": 0}
    error = raised_by(PipesCloudFunctionClient(**fields))
    assert "the bucket 'no-such-bucket' does not exist" in str(error.description)
    assert error.__cause__ is not None
    assert tokens_in(texts_in(error), google) == []
