"""What `PipesCloudFunctionClient.run` returns."""

from collections.abc import Sequence

import requests
from dagster import PipesClientCompletedInvocation, PipesExecutionResult, PipesSession

from dagster_gcf_pipes._detachment import detached
from dagster_gcf_pipes._errors import PipesCloudFunctionCallError
from dagster_gcf_pipes._metadata import Metadata, add_metadata


class PipesCloudFunctionCompletedInvocation(PipesClientCompletedInvocation):
    """The results of a function's call, and its HTTP response.

    Args:
        session: The Pipes session of the call.
        response: The function's response, or None if the call was lost and only the messages tell of its success.
        metadata: Attached to every materialization and check of the call.
    """

    def __init__(self, session: PipesSession, *, response: requests.Response | None, metadata: Metadata) -> None:
        super().__init__(session, metadata=metadata)
        self._response = None if response is None else detached(response)

    def get_results(self, *, implicit_materializations: bool = True) -> Sequence[PipesExecutionResult]:
        """Return what the function reported, with the metadata of the call; a key that it reported stays its own.

        Args:
            implicit_materializations: Whether an asset of the step of which it reported nothing is materialized too.
        """
        results = self._session.get_results(implicit_materializations=implicit_materializations)
        return [result._replace(metadata=add_metadata(result.metadata, self.metadata)) for result in results]

    @property
    def response(self) -> requests.Response:
        """The function's response: `status_code`, `headers`, `json()`, `text`, `content`, `elapsed`.

        It can be pickled, so that an op may return it. Neither its `url` nor its `request` holds a secret: the URL is
        without user, password and query, and the request has neither headers nor a body.

        Raises:
            PipesCloudFunctionCallError: The function succeeded, but the connection was lost before it answered.
        """
        if self._response is None:
            raise PipesCloudFunctionCallError(
                "The function succeeded, but the connection broke before its response arrived. "
                "Pass results on as messages, such as `pipes.report_custom_message`, where they matter."
            )
        return self._response
