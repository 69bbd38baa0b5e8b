"""Runs an entry point once, without Dagster, and returns what it reported."""

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

from dagster import AssetKey
from dagster_pipes import (
    PipesBlobStoreMessageWriter,
    PipesContextData,
    PipesMessage,
    PipesParams,
    encode_param,
)
from gcf_pipes._shared.in_process import InProcessRequest
from gcf_pipes._shared.protocol import (
    BOOTSTRAP_KEYS,
    BUCKET_PARAM,
    ERROR_HEADER,
    KEY_PREFIX_PARAM,
    MAX_CHUNK_BYTES,
    PARTITIONS_PARAM,
    SessionPrefix,
)
from gcf_pipes._shared.storage import ObjectStore

from dagster_gcf_pipes._errors import PipesCloudFunctionRequestError
from dagster_gcf_pipes._messages.injector import DEFAULT_INLINE_CONTEXT_LIMIT, InjectorSession
from dagster_gcf_pipes._messages.parser import parse_chunk
from dagster_gcf_pipes._request_body import encode_body, json_object
from dagster_gcf_pipes.testing._functions import EntryPoint, ServedFunction, belongs_to_test
from dagster_gcf_pipes.testing._results import InvocationResult, read_result
from dagster_gcf_pipes.testing._storage import MemoryStorage

if TYPE_CHECKING:
    from werkzeug.test import TestResponse

DEFAULT_ASSET_KEYS: Final = ("asset",)
TIMEOUT: Final = 10.0
"""Seconds for a request to the bucket, which is in memory."""


def invoke(
    main: EntryPoint,
    event: Mapping[str, Any] | None = None,
    *,
    asset_keys: str | AssetKey | Sequence[str | AssetKey] | None = DEFAULT_ASSET_KEYS,
    partition_key: str | None = None,
    partition_key_range: tuple[str, str] | None = None,
    partition_time_window: tuple[str, str] | None = None,
    extras: Mapping[str, Any] | None = None,
    run_id: str = "test_run",
    job_name: str | None = "test_job",
    retry_number: int = 0,
) -> InvocationResult:
    """Run an entry point in this process, as a call from Dagster would, and return what it did.

    For example::

        def test_rows_are_counted():
            result = invoke(main, {"table": "orders"}, asset_keys="orders")
            assert result.materializations["orders"].metadata["rows"] == 3

    The function's messages go to a bucket in memory, whatever client its parts were made with. This needs no network,
    no socket and no credentials. Several threads may call it at once.

    An exception of the function is in the result's `error`, and so are a `SystemExit` and an `asyncio.CancelledError`.
    Each other `BaseException` is raised, because it is meant for the test: Ctrl-C, and `pytest.fail` or `pytest.skip`
    in the function.

    Args:
        main: A function that is decorated with `gcf_pipes.pipes_function`, perhaps with other decorators around it.
        event: The JSON object of the request's body. Default: empty.
        asset_keys: The keys of the step's assets, or the key of its only one, such as "orders", "sales/orders" or
            `AssetKey(["sales", "orders"])`. None for an op. Default: one asset with the key "asset".
        partition_key: The partition of the step. It is the key range too. Default: no partition.
        partition_key_range: The first and the last partition of a step with several. Default: none.
        partition_time_window: Start and end of a time partition, or of a range of them, in ISO format. Default: none.
        extras: The JSON object in `pipes.extras`. Default: empty. For a range that is not one in time, Dagster sends
            its keys as `partition_keys`.
        run_id: The id of the run.
        job_name: The name of the job, or None.
        retry_number: How many attempts of the step have failed before.

    Raises:
        TypeError: `main` is not an entry point, or `asset_keys` are no keys.
        BaseException: A `BaseException` that is meant for the test, see above.
        PipesCloudFunctionRequestError: The event or the extras are not JSON.
        ImportError: Flask is not installed.
    """
    function = ServedFunction(main)
    key_range = partition_key_range or ((partition_key, partition_key) if partition_key is not None else None)
    keys = _as_strings(asset_keys)
    context: PipesContextData = {
        "asset_keys": keys or None,
        "code_version_by_asset_key": dict.fromkeys(keys) if keys else None,
        "provenance_by_asset_key": dict.fromkeys(keys) if keys else None,
        "partition_key": partition_key,
        "partition_key_range": {"start": key_range[0], "end": key_range[1]} if key_range else None,
        "partition_time_window": (
            {"start": partition_time_window[0], "end": partition_time_window[1]} if partition_time_window else None
        ),
        "run_id": run_id,
        "job_name": job_name,
        "retry_number": retry_number,
        "extras": json_object({} if extras is None else extras, "extras"),
    }
    session = _Session()
    body = session.body({} if event is None else event, context)
    response = function.serve(session.request, body, headers={"Content-Type": "application/json"})
    _check_served(function, session.request, response)
    return read_result(response, session.request.error, list(session.messages()))


def _as_strings(asset_keys: object) -> list[str]:
    if asset_keys is None:
        return []
    if isinstance(asset_keys, Iterable) and not isinstance(asset_keys, str | AssetKey):
        return [_as_string(key) for key in asset_keys]
    return [_as_string(asset_keys)]


def _as_string(key: object) -> str:
    """Return an asset key as Dagster puts it into the Pipes context."""
    if isinstance(key, AssetKey):
        return key.to_user_string()
    if isinstance(key, str):
        return key
    raise TypeError(
        "Expected `asset_keys` to be a key, such as \"sales/orders\" or AssetKey(['sales', 'orders']), a list of keys, "
        f"or None, got the key {key!r:.100}."
    )


def _check_served(function: ServedFunction, request: InProcessRequest, response: "TestResponse") -> None:
    if request.error is not None and belongs_to_test(request.error):
        raise request.error
    if not request.reached and not function.is_pipes_function:
        raise TypeError(
            "Expected an entry point that is decorated with `gcf_pipes.pipes_function`, got a function that returned "
            f"HTTP {response.status_code} without a Pipes session.\nFix: Decorate it: `@pipes_function`."
        )
    if ERROR_HEADER in response.headers:
        raise PipesCloudFunctionRequestError(f"The function refused the call before its code ran: {response.text}")


class _Session:
    """A Pipes session with a bucket of its own, in memory.

    Attributes:
        request: The request that opens it.
    """

    def __init__(self) -> None:
        self._client = MemoryStorage().client()
        self._prefix = SessionPrefix("in-memory", uuid.uuid4().hex)
        self.request = InProcessRequest(self._client)

    def body(self, event: Mapping[str, Any], context: PipesContextData) -> bytes:
        """Return the body of the request."""
        messages: PipesParams = {
            BUCKET_PARAM: self._prefix.bucket,
            KEY_PREFIX_PARAM: self._prefix.path,
            PipesBlobStoreMessageWriter.INCLUDE_STDIO_IN_MESSAGES_KEY: True,
            PARTITIONS_PARAM: True,
        }
        injector = InjectorSession(self._prefix, lambda: self._client, DEFAULT_INLINE_CONTEXT_LIMIT)
        with injector.inject_context(context) as context_params:
            params = zip(BOOTSTRAP_KEYS, (context_params, messages), strict=True)
            return encode_body(event, {key: encode_param(value) for key, value in params})

    def messages(self) -> Iterator[PipesMessage]:
        """Yield the messages that the function wrote."""
        store = ObjectStore(self._prefix.bucket, self._client)
        keys = store.list_keys(self._prefix.object_prefix, timeout=TIMEOUT)
        indices = sorted(filter(None, map(self._prefix.chunk_index, keys)))
        for key in map(self._prefix.chunk_key, indices):
            yield from parse_chunk(
                store.read(key, max_bytes=MAX_CHUNK_BYTES, timeout=TIMEOUT) or b"", f"gs://in-memory/{key}"
            )
