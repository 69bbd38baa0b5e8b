"""Loads the Pipes bootstrap params from an HTTP request."""

import base64
import binascii
import zlib
from typing import Final

from dagster_pipes import (
    DAGSTER_PIPES_CONTEXT_ENV_VAR,
    DAGSTER_PIPES_MESSAGES_ENV_VAR,
    PipesParams,
    PipesParamsLoader,
)

from gcf_pipes._errors import PipesRequestError
from gcf_pipes._json_validation import MAX_SHOWN, check_protocol_version, json_type, parse_json_object
from gcf_pipes._protocol import (
    BOOTSTRAP_KEYS,
    MAX_CONTEXT_MARKS,
    MAX_EVENT_MARKS,
    MAX_INLINE_CONTEXT_BYTES,
    MAX_MESSAGES_PARAMS_BYTES,
)

MAX_NAMED_KEYS: Final = 20


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


def get_param(params: PipesParams, name: str, where: str) -> str:
    """Return a param that must be a string and not empty.

    Raises:
        PipesRequestError: The param is missing, empty, or not a string.
    """
    value = params.get(name)
    if not isinstance(value, str) or not value:
        raise PipesRequestError(
            f"Expected {name!r} in the {where} params to be a string that is not empty, "
            f"got {json_type(value) if name in params else 'nothing'}."
        )
    return value


def _decompress(data: bytes, max_bytes: int) -> bytes:
    """Decompress at most that many bytes. A thousandth of it may expand to more."""
    decompressor = zlib.decompressobj()
    decompressed = decompressor.decompress(data, max_bytes)
    if decompressor.unconsumed_tail:
        raise ValueError(f"it is larger than {max_bytes:,} bytes")
    if not decompressor.eof:
        raise ValueError("it is incomplete")
    return decompressed
