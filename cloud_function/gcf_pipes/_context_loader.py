"""Loads the Pipes context from the request, or from the bucket if it was too large for the request."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, cast

from dagster_pipes import PipesContextData, PipesContextLoader, PipesDefaultContextLoader, PipesParams

from gcf_pipes._allowed_locations import AllowedLocations
from gcf_pipes._errors import PipesRequestError
from gcf_pipes._json_validation import parse_json_object, validate_json, with_missing_fields
from gcf_pipes._params_loader import get_param
from gcf_pipes._protocol import BUCKET_PARAM, CONTEXT_KEY_PARAM, MAX_CONTEXT_BYTES, MAX_CONTEXT_MARKS
from gcf_pipes._storage import ObjectStore, client_getter

if TYPE_CHECKING:
    from google.cloud import storage

READ_TIMEOUT: Final = 30.0
"""Seconds for reading the context object, with retries."""
_REQUIRED_FIELDS: Final = frozenset({"run_id", "retry_number", "extras"})
"""The other fields may be missing, as in the JSON Schema of Pipes, and become None.

Source: https://github.com/dagster-io/community-integrations (PipesContext.schema.json in libraries/pipes).
"""


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


def _validated(data: Any) -> PipesContextData:
    if isinstance(data, dict) and data.get("extras", {}) is None:  # the JSON Schema allows it, `PipesContext` does not
        data = {**data, "extras": {}}
    validate_json(data, PipesContextData, "the Pipes context", required=_REQUIRED_FIELDS)
    return cast("PipesContextData", with_missing_fields(data, PipesContextData))
