"""Loads the Pipes bootstrap params from an HTTP request, and says exactly what is wrong with a call that has none."""

import base64
import binascii
import json
import zlib
from collections.abc import Mapping
from typing import Any, Final

from dagster_pipes import (
    DAGSTER_PIPES_CONTEXT_ENV_VAR,
    DAGSTER_PIPES_MESSAGES_ENV_VAR,
    PipesParams,
    PipesParamsLoader,
)

from gcf_pipes._errors import PipesRequestError
from gcf_pipes._protocol import BOOTSTRAP_KEYS

MOST_NAMED_KEYS: Final = 20
MAX_PARAMS_BYTES: Final = 128 * 1024 * 1024
"""The largest decompressed value of a bootstrap key, in bytes: four times the largest request."""


class PipesCloudFunctionParamsLoader(PipesParamsLoader):
    """Params loader that takes the bootstrap params from the JSON body of a request.

    The body is the caller's event, a JSON object, with the two Pipes keys merged in at the top level.

    Args:
        body: The body of the request, as it came.

    Raises:
        PipesRequestError: The body is not a JSON object.
    """

    def __init__(self, body: bytes) -> None:
        self._event = _parse_object(body)

    def is_dagster_pipes_process(self) -> bool:
        """Whether the body has both bootstrap keys, that is, whether Dagster made this call."""
        return all(key in self._event for key in BOOTSTRAP_KEYS)

    def load_context_params(self) -> PipesParams:
        """Load the params of the context loader.

        Raises:
            PipesRequestError: The key is missing, or its value is not an encoded JSON object.
        """
        return self._load(DAGSTER_PIPES_CONTEXT_ENV_VAR)

    def load_messages_params(self) -> PipesParams:
        """Load the params of the message writer.

        Raises:
            PipesRequestError: The key is missing, or its value is not an encoded JSON object.
        """
        return self._load(DAGSTER_PIPES_MESSAGES_ENV_VAR)

    def _load(self, key: str) -> PipesParams:
        if key not in self._event:
            raise PipesRequestError(
                f"Expected the request body to have the Dagster Pipes key {key!r}, but it has "
                f"{sorted(self._event)[:MOST_NAMED_KEYS] or 'no keys'}. This function is called by Dagster: use "
                "`PipesCloudFunctionClient.run`, or merge `get_bootstrap_env_vars()` of a Pipes session into the body."
            )
        encoded = self._event[key]
        if not isinstance(encoded, str):
            raise PipesRequestError(f"Expected {key!r} to be a string, got {_json_type(encoded)}.")
        try:
            params = json.loads(_decompress(base64.b64decode(encoded, validate=True)))
        except (binascii.Error, zlib.error, ValueError, RecursionError) as error:
            raise PipesRequestError(
                f"Expected {key!r} to be JSON, compressed with zlib and encoded with base64, "
                f"as `get_bootstrap_env_vars()` encodes it, but it cannot be decoded: {error}"
            ) from error
        if not isinstance(params, dict):
            raise PipesRequestError(f"Expected {key!r} to hold a JSON object, got {_json_type(params)}.")
        return params


def get_param(params: PipesParams, name: str, where: str) -> str:
    """Get a param that must be a string and not empty.

    Raises:
        PipesRequestError: It is missing, of another type, or empty.
    """
    value = params.get(name)
    if not isinstance(value, str) or not value:
        raise PipesRequestError(
            f"Expected {name!r} in the {where} params to be a string that is not empty, "
            f"got {_json_type(value) if name in params else 'nothing'}."
        )
    return value


def _parse_object(body: bytes) -> Mapping[str, Any]:
    try:
        event = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise PipesRequestError(
            f"Expected the request body to be a JSON object, got {len(body)} bytes that are not JSON: {error}"
        ) from error
    if not isinstance(event, dict):
        raise PipesRequestError(f"Expected the request body to be a JSON object, got {_json_type(event)}.")
    return event


def _decompress(data: bytes) -> bytes:
    """Decompress no more than `MAX_PARAMS_BYTES`: a thousandth of it may be enough to say so."""
    decompressor = zlib.decompressobj()
    decompressed = decompressor.decompress(data, MAX_PARAMS_BYTES)
    if decompressor.unconsumed_tail:
        raise ValueError(f"it is larger than {MAX_PARAMS_BYTES:,} bytes")
    if not decompressor.eof:
        raise ValueError("it is incomplete")
    return decompressed


def _json_type(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, str):
        return "a string" if value else "an empty string"
    names: dict[type, str] = {bool: "a boolean", int: "a number", float: "a number", list: "an array"}
    return names.get(type(value), "an object")
