"""A stand-in of the Cloud Functions API v2 (REST): `get` of functions, with the bodies of the real one's errors.

Source: https://cloud.google.com/functions/docs/reference/rest/v2/projects.locations.functions/get and, of the errors,
https://cloud.google.com/apis/design/errors. Like the real one, it returns enums as
numbers if the client asks for them.
"""

from collections import deque
from collections.abc import Container
from typing import Any, Final

import flask

HOST: Final = "cloudfunctions.googleapis.com"
TOKEN: Final = "a-valid-token"
_STATES: Final = ("STATE_UNSPECIFIED", "ACTIVE", "FAILED", "DEPLOYING", "DELETING", "UNKNOWN", "DETACHING", "DETACHED")
_ENVIRONMENTS: Final = ("ENVIRONMENT_UNSPECIFIED", "GEN_1", "GEN_2")
_SEVERITIES: Final = ("SEVERITY_UNSPECIFIED", "ERROR", "WARNING", "INFO")


class FunctionsApi:
    """The API, with the functions that it knows.

    Args:
        tokens: The valid access tokens.

    Attributes:
        functions: The resources, by full resource name.
        faults: Responses to the next requests, one each: a status and a body, JSON or text.
        asked: The path of each request, in order.
        app: The WSGI application.
    """

    def __init__(self, tokens: Container[str] = (TOKEN,)) -> None:
        self._tokens = tokens
        self.functions: dict[str, dict[str, Any]] = {}
        self.faults: deque[tuple[int, Any]] = deque()
        self.asked: list[str] = []
        self.app = flask.Flask("functions_api")
        self.app.add_url_rule("/v2/<path:name>", view_func=self._get)

    def add(self, name: str, **fields: Any) -> None:
        """Deploy an active function of the second generation; `fields` override what the API says of it."""
        project, region, function = name.split("/")[1::2]
        self.functions[name] = {
            "name": name,
            "state": "ACTIVE",
            "environment": "GEN_2",
            "url": f"https://{region}-{project}.cloudfunctions.net/{function}",
            "serviceConfig": {
                "service": f"projects/{project}/locations/{region}/services/{function}",
                "uri": f"https://{function}-abcdefghij-ew.a.run.app",
                "timeoutSeconds": 540,
                "revision": f"{function}-00007-xyz",
                "availableMemory": "256M",
            },
            **fields,
        }

    def _get(self, name: str) -> tuple[Any, int]:
        self.asked.append(flask.request.path)
        if self.faults:
            status, body = self.faults.popleft()
            return body, status
        if flask.request.headers.get("Authorization", "").removeprefix("Bearer ") not in self._tokens:
            return error_body(401, "UNAUTHENTICATED", "Request had invalid authentication credentials."), 401
        if name not in self.functions:
            status, body = not_found(name)
            return body, status
        numbers = "enum-encoding=int" in flask.request.args.get("$alt", "")
        return (_with_numbers(self.functions[name]) if numbers else self.functions[name]), 200


def error_body(code: int, status: str, message: str, **info: Any) -> dict[str, Any]:
    """Return the body of an error of a Google API; `info` is that of an `ErrorInfo` among the details."""
    details = [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", **info}] if info else []
    return {"error": {"code": code, "message": message, "status": status, "details": details}}


def not_found(name: str) -> tuple[int, Any]:
    """Return the response for a missing resource."""
    return 404, error_body(404, "NOT_FOUND", f"Resource '{name}' was not found")


def permission_denied(permission: str, resource: str) -> tuple[int, Any]:
    """Return the response to an identity without a permission; a missing resource gets the same."""
    return 403, error_body(
        403,
        "PERMISSION_DENIED",
        f"Permission '{permission}' denied on resource '{resource}' (or resource may not exist).",
        reason="IAM_PERMISSION_DENIED",
        domain="iam.googleapis.com",
        metadata={"permission": permission, "resource": resource},
    )


def service_disabled(title: str, service: str) -> tuple[int, Any]:
    """Return the response of an API that is not enabled in the project."""
    return 403, error_body(
        403,
        "PERMISSION_DENIED",
        f"{title} has not been used in project 123456789012 before or it is disabled. Enable it by visiting "
        f"https://console.developers.google.com/apis/api/{service}/overview?project=123456789012 then retry. If you "
        "enabled this API recently, wait a few minutes for the action to propagate to our systems and retry.",
        reason="SERVICE_DISABLED",
        domain="googleapis.com",
        metadata={"service": service, "consumer": "projects/123456789012"},
    )


def quota_exceeded(service: str) -> tuple[int, Any]:
    """Return the response to a request above the quota."""
    return 429, error_body(
        429,
        "RESOURCE_EXHAUSTED",
        f"Quota exceeded for quota metric 'Read requests' and limit 'Read requests per minute' of service '{service}'.",
        reason="RATE_LIMIT_EXCEEDED",
        domain="googleapis.com",
    )


def unavailable() -> tuple[int, Any]:
    """Return the response of an API that is temporarily down."""
    return 503, error_body(503, "UNAVAILABLE", "The service is currently unavailable.")


def _with_numbers(function: dict[str, Any]) -> dict[str, Any]:
    messages = [
        {**message, "severity": _SEVERITIES.index(message["severity"])} for message in function.get("stateMessages", [])
    ]
    return {
        **function,
        "state": _STATES.index(function["state"]),
        "environment": _ENVIRONMENTS.index(function["environment"]),
        "stateMessages": messages,
    }
