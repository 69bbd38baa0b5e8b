"""The platform in this process: routes calls to functions, records them, and lets the faults of a test happen."""

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from threading import Lock
from typing import Any, Final
from urllib.parse import urlsplit

import requests
from dagster_pipes import DAGSTER_PIPES_MESSAGES_ENV_VAR, PipesContextData
from gcf_pipes import (
    PipesCloudFunctionContextLoader,
    PipesCloudFunctionParamsLoader,
    PipesCloudStorageMessageWriter,
)
from gcf_pipes._shared.in_process import InProcessRequest, serve_with
from gcf_pipes._shared.protocol import BOOTSTRAP_KEYS, CHANNEL_PARAM, RESPONSE_CHANNEL

from dagster_gcf_pipes._errors import PipesCloudFunctionRequestError
from dagster_gcf_pipes._functions import parse_function_url, redacted
from dagster_gcf_pipes._responses import make_response
from dagster_gcf_pipes.testing._faults import (
    UNAVAILABLE,
    DyingMessageWriter,
    FaultPlan,
    lost_response,
    platform_error,
)
from dagster_gcf_pipes.testing._functions import EntryPoint, ServedFunction
from dagster_gcf_pipes.testing._responses import read_body
from dagster_gcf_pipes.testing._storage import MemoryStorage

HOST: Final = "functions.invalid"
"""The host of functions that are called by their names. It does not exist. As in the cloud, it gets ID tokens.

Source: https://datatracker.ietf.org/doc/html/rfc2606#section-2 (".invalid").
"""
_OF_THE_CONNECTION: Final = frozenset({"connection", "content-length", "transfer-encoding"})


@dataclass(frozen=True)
class LocalCall:
    """A call that a `LocalPipesCloudFunctionClient` made.

    Attributes:
        function: The key of the function in `functions`.
        event: The event, without the two keys of Pipes.
        context: The Pipes context: `asset_keys`, `partition_key`, `extras`, `run_id` and so on.
        attempts: How many attempts it has made.
    """

    function: str
    event: Mapping[str, Any]
    context: PipesContextData
    attempts: int


class LocalPlatform:
    """Functions, their bucket, and the calls that were made. Thread-safe.

    Args:
        functions: The entry points, by name or by URL.
        plan: The faults.

    Raises:
        ValueError: A name is not valid, or an instance is to die in a function without `pipes_function`.
    """

    def __init__(self, functions: Mapping[str, EntryPoint], plan: FaultPlan) -> None:
        for name in functions:
            if not isinstance(name, str) or not name.strip(" /"):
                raise ValueError(f"Expected the name or the URL of each function, such as 'orders', got {name!r:.100}.")
        self.storage = MemoryStorage()
        self._functions = {name.rstrip("/"): ServedFunction(main) for name, main in functions.items()}
        self._plan = plan
        self._calls: dict[str, LocalCall] = {}
        self._lock = Lock()
        plain = [name for name, function in self._functions.items() if not function.is_pipes_function]
        if plan.fault.die_after is not None and plain:
            raise ValueError(
                f"Expected functions that are decorated with `gcf_pipes.pipes_function` for `die_after`, got {plain}.\n"
                "Fix: Decorate them. Decorators around it need `functools.wraps`."
            )

    @property
    def calls(self) -> list[LocalCall]:
        """The calls, in the order of their first attempts."""
        with self._lock:
            return list(self._calls.values())

    def find(self, url: str) -> tuple[str, str]:
        """Return the key of the function at a URL, and the path that it gets.

        Raises:
            PipesCloudFunctionRequestError: There is no such function.
        """
        parts = urlsplit(url)
        in_host, in_path = parse_function_url(url).service, parts.path.strip("/").partition("/")
        routes = [(url.partition("?")[0].rstrip("/"), "/"), (in_host, parts.path)]
        if parts.hostname == HOST or parse_function_url(url).function:
            routes.append((in_path[0], in_path[2]))
        for name, path in routes:
            if name in self._functions:
                return name, f"/{path.lstrip('/')}"
        known = ", ".join(map(repr, self._functions)) or "(there are none)"
        raise PipesCloudFunctionRequestError(
            f"Expected one of the functions {known}, got {in_path[0] if parts.hostname == HOST else redacted(url)!r}.\n"
            "Fix: Add it to `functions` of the client, by its name or by its URL."
        )

    def answer(self, request: requests.PreparedRequest) -> requests.Response:
        """Return the response to an attempt of a call.

        Raises:
            requests.ConnectionError: The connection broke.
        """
        name, path = self.find(request.url or "")
        body = read_body(request)
        self._record(name, body)
        fault = self._plan.next_fault()
        if fault.fail_with is not None:
            return platform_error(request, fault.fail_with)
        writer = None if fault.die_after is None else DyingMessageWriter(fault.die_after)
        response = self._serve(name, path, request, body, writer)
        if writer and writer.died:
            return platform_error(request, UNAVAILABLE)
        if fault.lose_response:
            raise lost_response(request)
        return response

    def _serve(
        self,
        name: str,
        path: str,
        request: requests.PreparedRequest,
        body: bytes,
        writer: PipesCloudStorageMessageWriter | None,
    ) -> requests.Response:
        headers = {key: text for key, text in request.headers.items() if key.lower() not in _OF_THE_CONNECTION}
        url = urlsplit(request.url or "")._replace(path=path).geturl()
        in_process = InProcessRequest(self.storage.client(), writer)
        try:
            response = self._functions[name].serve(in_process, body, headers=headers, url=url)
        except BaseException as error:  # of a function without `pipes_function`: it ends the server's process
            raise lost_response(request) from error
        return make_response(request, response.status_code, response.get_data(), dict(response.headers))

    def _record(self, name: str, body: bytes) -> None:
        """Record an attempt. The attempts of a call have the same session. Without a session, each call has one."""
        event, loader = json.loads(body), PipesCloudFunctionParamsLoader(body)
        in_response = loader.load_messages_params().get(CHANNEL_PARAM) == RESPONSE_CHANNEL
        session = uuid.uuid4().hex if in_response else event[DAGSTER_PIPES_MESSAGES_ENV_VAR]
        own = {key: value for key, value in event.items() if key not in BOOTSTRAP_KEYS}
        params = loader.load_context_params()
        with (
            serve_with(InProcessRequest(self.storage.client())),
            PipesCloudFunctionContextLoader().load_context(params) as context,
            self._lock,
        ):
            before = self._calls.get(session) or LocalCall(name, own, context, attempts=0)
            self._calls[session] = replace(before, attempts=before.attempts + 1)
