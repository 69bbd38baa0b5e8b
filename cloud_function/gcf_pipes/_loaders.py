"""Loads the Pipes bootstrap params from an HTTP request, and the Pipes context from the request or the bucket."""

import base64
import binascii
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, cast

from dagster_pipes import (
    DAGSTER_PIPES_CONTEXT_ENV_VAR,
    DAGSTER_PIPES_MESSAGES_ENV_VAR,
    PipesContextData,
    PipesContextLoader,
    PipesDefaultContextLoader,
    PipesParams,
    PipesParamsLoader,
)

from gcf_pipes._allowed_locations import AllowedLocations
from gcf_pipes._shared.errors import PipesRequestError
from gcf_pipes._shared.json_validation import (
    MAX_SHOWN,
    check_protocol_version,
    get_param,
    json_type,
    parse_json_object,
    validate_json,
    with_missing_fields,
)
from gcf_pipes._shared.protocol import (
    BOOTSTRAP_KEYS,
    BUCKET_PARAM,
    CONTEXT_KEY_PARAM,
    MAX_CONTEXT_BYTES,
    MAX_CONTEXT_MARKS,
    MAX_EVENT_MARKS,
    MAX_INLINE_CONTEXT_BYTES,
    MAX_MESSAGES_PARAMS_BYTES,
)
from gcf_pipes._shared.storage import ObjectStore, client_getter

if TYPE_CHECKING:
    from google.cloud import storage

MAX_NAMED_KEYS: Final = 20
READ_TIMEOUT: Final = 30.0
"""Seconds for reading the context object, with retries."""
_REQUIRED_FIELDS: Final = frozenset({"run_id", "retry_number", "extras"})
"""The other fields may be missing, as in the JSON Schema of Pipes, and become None.

Source: https://github.com/dagster-io/community-integrations (PipesContext.schema.json in libraries/pipes).
"""


class PipesCloudFunctionParamsLoader(PipesParamsLoader):
    """Params loader that takes the bootstrap params from a request's JSON body.

    The body is the caller's event, a JSON object, with the two Pipes keys merged in at the top level.

    Args:
        body: The body of the request.

    Raises:
        PipesRequestError: The body is not a JSON object, or it is too complex.
    """

    def __init__(self, body: bytes) -> None:
        self._event = parse_json_object(body, "the request body", max_marks=MAX_EVENT_MARKS)

    def is_dagster_pipes_process(self) -> bool:
        """Whether Dagster made this call: the body has both bootstrap keys."""
        return all(key in self._event for key in BOOTSTRAP_KEYS)

    def load_context_params(self) -> PipesParams:
        """Load the params of the context loader.

        Raises:
            PipesRequestError: The key is missing, or its value is too large or not an encoded JSON object.
        """
        return self._load(DAGSTER_PIPES_CONTEXT_ENV_VAR, MAX_INLINE_CONTEXT_BYTES)

    def load_messages_params(self) -> PipesParams:
        """Load the params of the message writer.

        Raises:
            PipesRequestError: The key is missing, or its value is too large or not an encoded JSON object.
        """
        return self._load(DAGSTER_PIPES_MESSAGES_ENV_VAR, MAX_MESSAGES_PARAMS_BYTES)

    def _load(self, key: str, max_bytes: int) -> PipesParams:
        if key not in self._event:
            names = [name[:MAX_SHOWN] for name in sorted(self._event)[:MAX_NAMED_KEYS]]
            raise PipesRequestError(
                f"Expected the request body to have the Dagster Pipes key {key!r}, got "
                f"{names or 'no keys'}.\nFix: Call this function from Dagster with `PipesCloudFunctionClient.run`, or "
                "merge `get_bootstrap_env_vars()` of a Pipes session into the body."
            )
        encoded = self._event[key]
        if not isinstance(encoded, str):
            raise PipesRequestError(f"Expected {key!r} to be a string, got {json_type(encoded)}.")
        try:
            data = _decompress(base64.b64decode(encoded, validate=True), max_bytes)
        except (binascii.Error, zlib.error, ValueError) as error:
            raise PipesRequestError(
                f"Expected {key!r} to be JSON in UTF-8, compressed with zlib and encoded with base64, "
                f"as `get_bootstrap_env_vars()` encodes it, but it cannot be decoded: {error}"
            ) from error
        params = parse_json_object(data, repr(key), max_marks=MAX_CONTEXT_MARKS)
        check_protocol_version(params, repr(key))
        return params


class PipesCloudFunctionContextLoader(PipesContextLoader):
    """Context loader that takes the context from the params, or from the bucket that they name.

    It reads what `dagster_gcf_pipes.PipesCloudFunctionEventContextInjector` injects, and what the stock
    `PipesEnvContextInjector` and `PipesGCSContextInjector` inject. It never reads a local file.

    Args:
        client: The Cloud Storage client to use when the context is in a bucket. Default: one with the environment's
            credentials, created when it is first needed.
        allowed_locations: The buckets and the prefix that a call may name. Default: those of the environment variables
            `GCF_PIPES_BUCKETS` and `GCF_PIPES_KEY_PREFIX`.
    """

    def __init__(
        self, client: "storage.Client | None" = None, *, allowed_locations: AllowedLocations | None = None
    ) -> None:
        self._get_client = client_getter(client)
        self._allowed_locations = allowed_locations or AllowedLocations.from_environment()

    @contextmanager
    def load_context(self, params: PipesParams) -> Iterator[PipesContextData]:
        """Load the context data.

        Raises:
            PipesRequestError: The params do not hold a valid Pipes context.
            PipesStorageError: The context object cannot be read.
        """
        if PipesDefaultContextLoader.DIRECT_KEY in params:
            yield _validated(params[PipesDefaultContextLoader.DIRECT_KEY])
        else:
            yield _validated(self._read(params))

    def _read(self, params: PipesParams) -> dict[str, Any]:
        bucket = get_param(params, BUCKET_PARAM, "context")
        key = get_param(params, CONTEXT_KEY_PARAM, "context")
        self._allowed_locations.check(bucket, key, "context")
        data = ObjectStore(bucket, self._get_client()).read(key, max_bytes=MAX_CONTEXT_BYTES, timeout=READ_TIMEOUT)
        if data is None:
            raise PipesRequestError(f"Expected the context at gs://{bucket}/{key}, but there is no such object.")
        return parse_json_object(data, f"the context at gs://{bucket}/{key}", max_marks=MAX_CONTEXT_MARKS)


def _decompress(data: bytes, max_bytes: int) -> bytes:
    """Decompress at most that many bytes. A thousandth of it may expand to more."""
    decompressor = zlib.decompressobj()
    decompressed = decompressor.decompress(data, max_bytes)
    if decompressor.unconsumed_tail:
        raise ValueError(f"it is larger than {max_bytes:,} bytes")
    if not decompressor.eof:
        raise ValueError("it is incomplete")
    return decompressed


def _validated(data: Any) -> PipesContextData:
    if isinstance(data, dict) and data.get("extras", {}) is None:  # the JSON Schema allows it, `PipesContext` does not
        data = {**data, "extras": {}}
    validate_json(data, PipesContextData, "the Pipes context", required=_REQUIRED_FIELDS)
    return cast("PipesContextData", with_missing_fields(data, PipesContextData))
