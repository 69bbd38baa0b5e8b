"""What the function returns to the step."""

from typing import Any

import requests

from tests.cases.case import case
from tests.cases.stage import Stage


def response_of(stage: Stage, kind: str, **event: Any) -> requests.Response:
    """Return the function's response of a kind, as the step gets it."""
    run = stage.run("respond", {"kind": kind, **event})
    assert run.success
    (invocation,) = run.invocations
    assert invocation.response is not None
    return invocation.response


@case
def a_response_of_ten_kilobytes(stage: Stage) -> None:
    """The step gets a text of 10 kB, with its status and content type."""
    response = response_of(stage, "letters", size=10_000)
    assert (response.status_code, response.text) == (200, "x" * 10_000)
    assert response.headers["Content-Type"] == "text/plain; charset=utf-8"


@case
def a_response_of_one_megabyte(stage: Stage) -> None:
    """The step gets a text of 1 MB whole."""
    assert response_of(stage, "letters", size=1_000_000).text == "x" * 1_000_000


@case
def a_response_of_bytes(stage: Stage) -> None:
    """The step gets bytes that are no text unchanged."""
    response = response_of(stage, "bytes")
    assert response.content == bytes(range(256))
    assert response.headers["Content-Type"] == "application/octet-stream"


@case
def an_empty_response(stage: Stage) -> None:
    """The step gets an empty body with its status."""
    response = response_of(stage, "empty")
    assert (response.status_code, response.content) == (200, b"")


@case
def no_response_of_its_own(stage: Stage) -> None:
    """A function that returns nothing responds with 204 and without a body."""
    response = response_of(stage, "nothing")
    assert (response.status_code, response.content) == (204, b"")
