"""What `PipesCloudFunctionClient.run` returns."""

from collections.abc import Mapping

import requests
from dagster import MetadataValue, PipesClientCompletedInvocation, PipesSession

from dagster_gcf_pipes._errors import PipesCloudFunctionCallError


class PipesCloudFunctionCompletedInvocation(PipesClientCompletedInvocation):
    """The results of a function's call, and its HTTP response.

    Args:
        session: The Pipes session of the call.
        response: The function's response, or None if the call was lost and only the messages tell of its success.
        metadata: Attached to every materialization and check of the call.
    """

    def __init__(
        self, session: PipesSession, *, response: requests.Response | None, metadata: Mapping[str, MetadataValue]
    ) -> None:
        super().__init__(session, metadata=metadata)
        self._response = response

    @property
    def response(self) -> requests.Response:
        """The function's response: `status_code`, `headers`, `json()`, `text`, `content`.

        Raises:
            PipesCloudFunctionCallError: The function succeeded, but the connection was lost before it answered.
        """
        if self._response is None:
            raise PipesCloudFunctionCallError(
                "The function succeeded, as its messages say, but the call of it was lost before its response came. "
                "Pass results on as messages, such as `pipes.report_custom_message`, where they matter."
            )
        return self._response
