"""What `PipesCloudFunctionClient.run` returns."""

from collections.abc import Mapping, Sequence
from typing import Any

import requests
from dagster import PipesClientCompletedInvocation, PipesExecutionResult, PipesSession

from dagster_gcf_pipes._detachment import detached
from dagster_gcf_pipes._errors import Metadata, PipesCloudFunctionCallError


class PipesCloudFunctionCompletedInvocation(PipesClientCompletedInvocation):
    """The results of a function's call, and its HTTP response.

    Args:
        session: The Pipes session of the call.
        response: The function's response, or None if the connection broke and only the messages tell of the success.
        metadata: Added to every materialization and check of the call.
    """

    def __init__(self, session: PipesSession, *, response: requests.Response | None, metadata: Metadata) -> None:
        super().__init__(session, metadata=metadata)
        self._response = None if response is None else detached(response)

    def get_results(self, *, implicit_materializations: bool = True) -> Sequence[PipesExecutionResult]:
        """Return what the function reported, with the metadata of the call. They never replace a key of the function.

        Args:
            implicit_materializations: Whether to materialize the step's other assets too. Default yes.
        """
        results = self._session.get_results(implicit_materializations=implicit_materializations)
        return [result._replace(metadata=add_metadata(result.metadata, self.metadata)) for result in results]

    @property
    def response(self) -> requests.Response:
        """The function's response: `status_code`, `headers`, `json()`, `text`, `content`, `elapsed`.

        You can pickle it, so an op may return it. It holds no secret: its `url` has no user, password and query, and
        its `request` has neither headers nor a body.

        Raises:
            PipesCloudFunctionCallError: The function succeeded, but the connection broke before its response arrived.
        """
        if self._response is None:
            raise PipesCloudFunctionCallError(
                "The function succeeded, but the connection broke before its response arrived.\n"
                "Fix: send results that you need with `pipes.report_custom_message`."
            )
        return self._response


def add_metadata(reported: Mapping[str, Any] | None, ours: Metadata) -> dict[str, Any]:
    """Return the metadata that a function reported, followed by ours. Ours never replace a key of the function."""
    reported = reported or {}
    return {**reported, **ours, **reported}
