"""Faults on request: what happens to an attempt of a call in place of, or after, the function's run."""

import http.client
from collections.abc import Callable
from dataclasses import dataclass
from threading import RLock
from typing import Any, Final, cast

import requests
import urllib3.exceptions
from dagster_pipes import PipesMessage, PipesParams
from gcf_pipes import PipesCloudStorageMessageWriter, PipesCloudStorageMessageWriterChannel

from dagster_gcf_pipes._responses import make_response
from dagster_gcf_pipes.testing._functions import InstanceDeath

HEARTBEAT_INTERVAL: Final = 0.2
"""Seconds between two heartbeats of an instance that will die. The caller gives it up when three are missing."""
UNAVAILABLE: Final = 503
_STATUSES: Final = range(400, 600)
_TEXTS: Final = {
    401: "Your client does not have permission to the requested URL.",
    403: "Your client does not have permission to get URL / from this server.",
    429: "Rate exceeded.",
    500: "The request was aborted because there was no available instance.",
    503: (
        "The request failed because either the HTTP response was malformed or connection to the instance had an error."
    ),
    504: "upstream request timeout",
}
"""Source: https://cloud.google.com/run/docs/troubleshooting."""


@dataclass(frozen=True)
class Fault:
    """What happens to an attempt of a call: one of these, or nothing.

    Attributes:
        fail_with: The status with which the platform answers. The function does not run.
        lose_response: Whether the connection breaks after the function has run.
        die_after: After how many Pipes calls of the function its instance dies.
    """

    fail_with: int | None = None
    lose_response: bool = False
    die_after: int | None = None

    def __post_init__(self) -> None:
        """Check the values."""
        if self.lose_response not in (True, False):
            raise ValueError(f"Expected `lose_response` to be True or False, got {self.lose_response!r}.")
        if self.fail_with is not None and not (_is_int(self.fail_with) and self.fail_with in _STATUSES):
            raise ValueError(f"Expected `fail_with` to be an HTTP status from 400 to 599, got {self.fail_with!r}.")
        if self.die_after is not None and not (_is_int(self.die_after) and self.die_after >= 0):
            raise ValueError(f"Expected `die_after` to be 0 or more Pipes calls, got {self.die_after!r}.")
        if (self.fail_with is not None) + self.lose_response + (self.die_after is not None) > 1:
            raise ValueError(
                "Expected one of `fail_with`, `lose_response` and `die_after`, got more.\n"
                "Fix: Make a client for each fault."
            )


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


class FaultPlan:
    """Lets a fault happen to the first attempts. Thread-safe.

    Args:
        fault: The fault.
        times: To how many attempts it happens, over all calls.
    """

    def __init__(self, fault: Fault, times: int) -> None:
        if not (_is_int(times) and times >= 1):
            raise ValueError(f"Expected `times` to be 1 or more attempts, got {times!r}.")
        if times > 1 and fault == Fault():
            raise ValueError(
                f"Expected a fault that happens to {times} attempts, got only `times`.\n"
                "Fix: Pass `fail_with`, `lose_response` or `die_after` too."
            )
        self.fault = fault
        self._left = times
        self._lock = RLock()

    def next_fault(self) -> Fault:
        """Return the fault of the next attempt."""
        with self._lock:
            self._left -= 1
            return self.fault if self._left >= 0 else Fault()


def platform_error(request: requests.PreparedRequest, status: int) -> requests.Response:
    """Return the platform's response in place of the function's."""
    text = _TEXTS.get(status, "The platform failed, as the test asked for.")
    return make_response(request, status, text.encode(), {"Content-Type": "text/plain"})


def lost_response(request: requests.PreparedRequest) -> requests.ConnectionError:
    """Return the error of `requests` for a connection that breaks before the response arrives."""
    disconnected = http.client.RemoteDisconnected("Remote end closed connection without response")
    broken = urllib3.exceptions.ProtocolError("Connection aborted.", disconnected)
    return requests.ConnectionError(broken, request=request)


class DyingMessageWriter(PipesCloudStorageMessageWriter):
    """Message writer of an instance that dies. It stores what the function sent before.

    Args:
        die_after: How many Pipes calls the function makes before. The instance dies at the next one, or when the
            function returns.

    Attributes:
        died: Whether the instance has died.
    """

    def __init__(self, die_after: int) -> None:
        super().__init__(heartbeat_interval=HEARTBEAT_INTERVAL)
        self.died = False
        self._left = die_after
        self._lock = RLock()

    def open_channel(self, params: PipesParams, deadline: Any) -> PipesCloudStorageMessageWriterChannel:
        """Return the channel of the only session."""
        channel = _WatchedChannel(super().open_channel(params, deadline), self._die_or_count)
        return cast("PipesCloudStorageMessageWriterChannel", channel)

    def _die_or_count(self, method: str, channel: PipesCloudStorageMessageWriterChannel) -> None:
        is_call = method not in {"opened", "log_external_stream", "closed"}
        with self._lock:
            if self.died or method == "closed" or (is_call and not self._left):
                self.died = True
                channel.close()  # stores what the function has sent
                raise InstanceDeath("the instance dies, as the test asked for")
            self._left -= is_call


class _WatchedChannel:
    """A channel that announces each message before it takes it.

    Args:
        channel: The channel.
        announce: Called with the message's method and the channel. It may raise.
    """

    def __init__(
        self,
        channel: PipesCloudStorageMessageWriterChannel,
        announce: Callable[[str, PipesCloudStorageMessageWriterChannel], None],
    ) -> None:
        self._channel = channel
        self._announce = announce

    def __getattr__(self, name: str) -> Any:
        return getattr(self._channel, name)

    def write_message(self, message: PipesMessage) -> None:
        """Write a message."""
        self._announce(message["method"], self._channel)
        self._channel.write_message(message)
