"""How the simulated platform behaves."""

from dataclasses import dataclass

from gcf_pipes._cancellation import POLL_INTERVAL
from gcf_pipes._shared.protocol import HEARTBEAT_INTERVAL
from gcf_pipes._writer import DEFAULT_FLUSH_INTERVAL


@dataclass(frozen=True)
class Options:
    """The options of the simulated platform. All times are in seconds.

    Attributes:
        max_running: How many calls may run at once. The platform answers 429 beyond. None: any number.
        storage_latency: What each request to the storage takes, also those of the function before its response.
        response_latency: What each response of the function or of the platform takes.
        cold_starts: How many calls start an instance, from the first one on.
        cold_start_seconds: What such a start takes.
        flush_interval: As in `PipesCloudStorageMessageWriter`.
        heartbeat_interval: As in `PipesCloudStorageMessageWriter`.
        cancel_poll_interval: Between two polls of a call for its cancel marker.
    """

    max_running: int | None = None
    storage_latency: float = 0.0
    response_latency: float = 0.0
    cold_starts: int = 1
    cold_start_seconds: float = 0.0
    flush_interval: float = DEFAULT_FLUSH_INTERVAL
    heartbeat_interval: float = HEARTBEAT_INTERVAL
    cancel_poll_interval: float = POLL_INTERVAL
