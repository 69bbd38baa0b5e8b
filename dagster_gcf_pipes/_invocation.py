"""What `PipesCloudFunctionClient.run` returns."""

from collections.abc import Mapping

import requests
from dagster import MetadataValue, PipesClientCompletedInvocation, PipesSession


class PipesCloudFunctionCompletedInvocation(PipesClientCompletedInvocation):
    """The results of a function's call, and its HTTP response.

    Args:
        session: The Pipes session of the call.
        response: The function's response.
        metadata: Attached to every materialization and check of the call.
    """

    def __init__(
        self, session: PipesSession, *, response: requests.Response, metadata: Mapping[str, MetadataValue]
    ) -> None:
        super().__init__(session, metadata=metadata)
        self._response = response

    @property
    def response(self) -> requests.Response:
        """The function's response: `status_code`, `headers`, `json()`, `text`, `content`."""
        return self._response
