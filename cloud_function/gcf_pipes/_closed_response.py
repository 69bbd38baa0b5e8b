"""The function's own response, as `closed` has it."""

import base64
import json
from typing import TYPE_CHECKING

from dagster_pipes import DagsterPipesError

from gcf_pipes._shared.protocol import MAX_CLOSED_RESPONSE_BYTES, ClosedResponse

if TYPE_CHECKING:
    import flask


def closed_response(response: "flask.Response", room: int | None) -> ClosedResponse | None:
    """Return a response for `closed`, or None if the HTTP response alone has it.

    Args:
        response: The function's response, complete.
        room: The bytes of JSON that it may have, if nothing else takes it to Dagster. If None, `closed` has only a
            short text, for a step that adopts the call.

    Raises:
        DagsterPipesError: There is not so much room.
    """
    closed = _response(response, is_short=room is None)
    if room is not None and (size := len(json.dumps(closed))) > room:
        raise DagsterPipesError(
            f"Expected the function's response to have at most {room:,} bytes of JSON, got {size:,}.\n"
            "Fix: Store large data in a bucket, and return its URI. Or give the Dagster resource a bucket, with "
            "`messages='bucket'`."
        )
    return closed


def _response(response: "flask.Response", *, is_short: bool) -> ClosedResponse | None:
    body, content_type = response.get_data(), response.content_type or ""
    if is_short and len(body) > MAX_CLOSED_RESPONSE_BYTES:
        return None
    try:
        return ClosedResponse(status=response.status_code, content_type=content_type, body=body.decode("utf-8"))
    except UnicodeDecodeError:
        if is_short:
            return None
    text = base64.b64encode(body).decode("ascii")
    return ClosedResponse(status=response.status_code, content_type=content_type, body=text, base64=True)
