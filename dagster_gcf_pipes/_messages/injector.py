"""The context injector. The Pipes context travels in the request body, or through the bucket if it is too large."""

import json
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, cast

from dagster import PipesContextInjector
from dagster_pipes import PipesContextData, PipesDefaultContextLoader, PipesParams, encode_param
from gcf_pipes import PipesObjectExistsError
from gcf_pipes._shared.json_validation import has_more_marks
from gcf_pipes._shared.protocol import (
    BUCKET_PARAM,
    CONTEXT_KEY_PARAM,
    DEFAULT_KEY_PREFIX,
    MAX_CONTEXT_BYTES,
    MAX_CONTEXT_MARKS,
    MAX_INLINE_CONTEXT_BYTES,
    SessionPrefix,
)
from gcf_pipes._shared.storage import ObjectStore, client_getter

from dagster_gcf_pipes._errors import PipesCloudFunctionRequestError

if TYPE_CHECKING:
    from google.cloud import storage

DEFAULT_INLINE_CONTEXT_LIMIT: Final = MAX_INLINE_CONTEXT_BYTES
UPLOAD_TIMEOUT: Final = 60.0
"""Seconds to retry the upload of the context."""

_DEBUG_TEXT: Final = (
    "Attempted to inject the context through the event with which the function is called. Expected the function's "
    "entry point to be decorated with `gcf_pipes.pipes_function`, or `dagster_pipes.PipesMappingParamsLoader` to be "
    "passed to `open_dagster_pipes` with the JSON body of the request."
)


class PipesCloudFunctionEventContextInjector(PipesContextInjector):
    """Context injector that puts the context into the event with which you call the function.

    A context above the limit goes to the bucket, and the event says where. Then the identity in use needs
    `storage.objects.create` on the prefix, and the function's identity needs `storage.objects.get`. The injector keeps
    no state of a session, so one object can serve many. It deletes nothing: give the bucket a lifecycle rule for the
    key prefix.

    Args:
        bucket: The name of the bucket for large contexts.
        key_prefix: The base prefix of all sessions. Default `dagster-pipes`.
        client: The Cloud Storage client to use. Default: one with the environment's own credentials, created when it
            is first needed.
        inline_context_limit: The largest context that travels in the event, in bytes as encoded for it (compressed
            with zlib, then base64). Default 2 MiB. A context with more than 2 MiB of JSON never travels in the event,
            however well it compresses: it must fit the smallest function.
    """

    def __init__(
        self,
        *,
        bucket: str,
        key_prefix: str = DEFAULT_KEY_PREFIX,
        client: "storage.Client | None" = None,
        inline_context_limit: int = DEFAULT_INLINE_CONTEXT_LIMIT,
    ) -> None:
        self._bucket = bucket
        self._key_prefix = key_prefix
        self._get_client = client_getter(client)
        self._inline_context_limit = inline_context_limit

    @contextmanager
    def inject_context(self, context_data: PipesContextData) -> Iterator[PipesParams]:
        """Yield the params from which the function loads the context of a new session.

        Raises:
            PipesCloudFunctionRequestError: The context is larger than the function accepts.
            PipesStorageError: The context is too large for the event, and its upload failed.
        """
        prefix = SessionPrefix(self._bucket, f"{self._key_prefix}/{context_data['run_id']}/{uuid.uuid4().hex}")
        session = InjectorSession(prefix, self._get_client, self._inline_context_limit)
        with session.inject_context(context_data) as params:
            yield params

    def no_messages_debug_text(self) -> str:
        """Tell how the context was injected, and what should load it."""
        return _DEBUG_TEXT


class InjectorSession(PipesContextInjector):
    """The context injector of one session.

    Args:
        prefix: The session's prefix in the bucket.
        get_client: Returns the Cloud Storage client. Called only if the context goes to the bucket. None: there is no
            bucket, and a large context is refused.
        inline_context_limit: The largest context that travels in the event, in bytes as encoded for it.
        checked_assets: Keys of the assets that the step checks.
        partitions: The partitions of the call, as Pipes names them in the context, in place of Dagster's.

    Attributes:
        deletable_keys: The names of the objects that it has created.
    """

    def __init__(
        self,
        prefix: SessionPrefix,
        get_client: "Callable[[], storage.Client] | None",
        inline_context_limit: int,
        checked_assets: Sequence[str] = (),
        partitions: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        self.deletable_keys: list[str] = []
        self._prefix = prefix
        self._get_client = get_client
        self._inline_context_limit = inline_context_limit
        self._checked_assets = checked_assets
        self._partitions = partitions

    @contextmanager
    def inject_context(self, context_data: PipesContextData) -> Iterator[PipesParams]:
        """Yield the params from which the function loads the context. It raises like the public injector."""
        context_data = _with_assets(context_data, self._checked_assets)
        context_data = cast("PipesContextData", {**context_data, **self._partitions})
        data = json.dumps(context_data).encode("ascii")
        _check_size(data)
        params: PipesParams = {PipesDefaultContextLoader.DIRECT_KEY: context_data}
        yield params if self._fits_inline(params) else self._upload(data)

    def no_messages_debug_text(self) -> str:
        """Tell how the context was injected, and what should load it."""
        return _DEBUG_TEXT

    def _fits_inline(self, params: PipesParams) -> bool:
        encoded, limit = encode_param(params), self._inline_context_limit
        return len(encoded) <= limit and len(json.dumps(params)) <= MAX_INLINE_CONTEXT_BYTES

    def _upload(self, data: bytes) -> PipesParams:
        if self._get_client is None:
            raise PipesCloudFunctionRequestError(
                f"The Pipes context has {len(data):,} bytes of JSON, which is too large for the request.\n"
                "Fix: Set `messages` of the resource to 'bucket', and `bucket` to the name of a bucket. Or put large "
                "input into a bucket, and pass its URI in `event` or `extras`."
            )
        key = self._prefix.context_key
        store = ObjectStore(self._prefix.bucket, self._get_client())
        with suppress(PipesObjectExistsError):  # of an earlier attempt, which the function may be reading
            store.create(key, data, timeout=UPLOAD_TIMEOUT)
        self.deletable_keys.append(key)
        return {BUCKET_PARAM: self._prefix.bucket, CONTEXT_KEY_PARAM: key}


def _check_size(data: bytes) -> None:
    """Refuse a context that the function would refuse."""
    if len(data) > MAX_CONTEXT_BYTES or has_more_marks(data, MAX_CONTEXT_MARKS):
        raise PipesCloudFunctionRequestError(
            f"The Pipes context has {len(data):,} bytes of JSON. The function accepts {MAX_CONTEXT_BYTES:,} bytes with "
            f"{MAX_CONTEXT_MARKS:,} opening brackets, commas, colons and strings.\n"
            "Fix: Put large input into a bucket, and pass its URI in `event` or `extras`."
        )


def _with_assets(data: PipesContextData, asset_keys: Sequence[str]) -> PipesContextData:
    """Return a context's data with these assets if it has none, as in a plain asset check.

    A step that only checks an asset knows neither its code version nor its provenance.
    """
    if data["asset_keys"] or not asset_keys:
        return data
    unknown = dict.fromkeys(asset_keys)
    return {
        **data,
        "asset_keys": asset_keys,
        "code_version_by_asset_key": unknown,
        "provenance_by_asset_key": unknown,
    }
