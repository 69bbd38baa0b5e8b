"""The wire protocol between Dagster and the function, written once and imported by both halves.

One call of the function is one Pipes session. The session owns a *prefix* in a Cloud Storage bucket::

    gs://{bucket}/{key_prefix}/{run_id}/{step_key}/{session_id}/
        context.json      the Pipes context, only when it is too large for the request body
        cancel            a marker that Dagster writes when it terminates the run
        1.json            the first chunk; it holds `opened`, and creating it claims the session. Only the bucket's
                          lifecycle rule deletes it, so that a late delivery of the call finds it
        2.json            ... further chunks, numbered without gaps, each created once and never changed
        n.json            the last chunk; its last line is `closed`

Calls that one step makes together have sessions below a shared prefix, which has objects of its own::

    gs://{bucket}/{key_prefix}/{run_id}/{step_key}/{calls_id}/
        calls.json        what tells the calls apart, by number; Dagster writes it before the first call
        cancel            a marker for all of them
        0000001/...       the session of the first call

A chunk is newline-delimited JSON, one Pipes message per line, or a heartbeat: a single newline. States of a session::

    opened, closed    the two Pipes messages, and nothing else
    responded         the HTTP call returned
    writing ended     nobody will write another chunk
    sealed            the writer accepts no more messages
    stopped           we gave up
    failed            an exception is kept
    done              none of these will change any more

All size limits are in one section below.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypedDict

from dagster_pipes import DAGSTER_PIPES_CONTEXT_ENV_VAR, DAGSTER_PIPES_MESSAGES_ENV_VAR

VERSION: Final = "0.1.0"
"""The version of both distributions. A function's folder may contain `gcf_pipes` without its metadata."""

PROTOCOL: Final = 1
"""The version of this protocol. A change raises it if halves with and without the change cannot work together."""

FORWARD_LOGS: Final = "forward_logs"
"""The capability to send the function's output, if Dagster asks for it."""

SHARED_CANCEL: Final = "shared_cancel"
"""The capability to stop at the cancel marker of many calls, in addition to the call's own."""

RESPONSE_MESSAGES: Final = "response_messages"
"""The capability to send the messages in the HTTP response."""

LOGGING_MESSAGES: Final = "logging_messages"
"""The capability to print the messages as log entries."""

CAPABILITIES: Final = (FORWARD_LOGS, SHARED_CANCEL, RESPONSE_MESSAGES, LOGGING_MESSAGES)
"""The optional parts of this protocol that a call may need, and that other functions may lack."""

BOOTSTRAP_KEYS: Final = (DAGSTER_PIPES_CONTEXT_ENV_VAR, DAGSTER_PIPES_MESSAGES_ENV_VAR)
"""The two top-level keys of the request body that carry the Pipes bootstrap payload."""

CHANNEL_PARAM: Final = "channel"
"""Key of the way that the messages take, in the messages params. Missing if they go through a bucket."""

RESPONSE_CHANNEL: Final = "response"
"""The value of `CHANNEL_PARAM` if the messages go through the HTTP response."""

LOGGING_CHANNEL: Final = "logging"
"""The value of `CHANNEL_PARAM` if the messages go through Cloud Logging."""

SESSION_PARAM: Final = "session"
"""Key of the session's id in the messages params, if the messages go through Cloud Logging: 32 hexadecimal digits."""

ENTRY_FIELD: Final = "dagster_pipes"
"""Field of a log entry that is part of a session: `session`, `n` from 1 on, `data`, and `delivery`.

The `data` of all entries, in the order of `n`, is newline-delimited JSON, as in a chunk. `delivery` is a text that is
unique among the deliveries of the call.
"""

LOGGING_HEARTBEAT_INTERVAL: Final = 20.0
"""Seconds without a log entry after which the function prints a heartbeat: an entry whose `data` is a newline."""

NDJSON: Final = "application/x-ndjson"
"""The media type of a response that has messages. Source: https://github.com/ndjson/ndjson-spec."""

RESPONSE_HEARTBEAT_INTERVAL: Final = 15.0
"""Seconds without a line after which a response that has messages gets an empty line."""

BUCKET_PARAM: Final = "bucket"
"""Key of the bucket's name in the messages params and in the context params."""

KEY_PREFIX_PARAM: Final = "key_prefix"
"""Key of the session's prefix in the messages params."""

SHARED_PREFIX_PARAM: Final = "shared_prefix"
"""Key of the prefix that the sessions of many calls share, in the messages params. Its cancel marker is for all."""

CONTEXT_KEY_PARAM: Final = "key"
"""Key of the context object's name in the context params, as in `dagster_pipes.PipesGCSContextLoader`."""

PARTITIONS_PARAM: Final = "partition_materializations"
"""Key of the messages params: true if the reader takes custom messages with `PARTITION_KEY`."""

PARTITION_KEY: Final = "gcf_pipes/partition_materialization"
"""The reserved key in the payload of a custom message that materializes one partition of an asset."""

DEFAULT_KEY_PREFIX: Final = "dagster-pipes"
"""The base prefix of all sessions. Bucket lifecycle rules and IAM conditions refer to it."""

BUCKET_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")
"""The names that buckets may have.

Source: https://cloud.google.com/storage/docs/buckets#naming (lowercase letters, digits, `-`, `_` and `.`).
"""

BUCKETS_VARIABLE: Final = "GCF_PIPES_BUCKETS"
"""Environment variable of the function: the buckets that calls may name, separated by commas."""

KEY_PREFIX_VARIABLE: Final = "GCF_PIPES_KEY_PREFIX"
"""Environment variable of the function: the base prefix that calls may name."""

CHUNK_COUNT_HEADER: Final = "Dagster-Pipes-Chunk-Count"
"""Response header: the number of chunks that the function wrote."""

ERROR_HEADER: Final = "Dagster-Pipes-Error"
"""Response header: the code of the error with which the runtime refused the call before the user's code ran."""

DUPLICATE_CODE: Final = "duplicate_call"
"""The error code if another delivery of the call has claimed the session."""

VERSION_HEADER: Final = "Dagster-Pipes-Version"
"""Request and response header: the version of `dagster-gcf-pipes`, or of the deployed `gcf_pipes`."""

PROTOCOL_HEADER: Final = "Dagster-Pipes-Protocol"
"""Request and response header: `PROTOCOL`, then names of capabilities, with a space before each.

A request names those that the call needs. A response names those that the function has.
"""

TIMEOUT_HEADER: Final = "Dagster-Pipes-Timeout"
"""Request header: how long the call may take from the request's arrival, in seconds."""

STORAGE_HEADER: Final = "Dagster-Pipes-Storage"
"""Request header: where Dagster reads the messages, `EMULATOR` or `CLOUD`. Missing if Dagster does not know."""

EMULATOR: Final = "emulator"
"""The value of `STORAGE_HEADER` if Dagster uses an emulator."""

CLOUD: Final = "cloud"
"""The value of `STORAGE_HEADER` if Dagster uses Cloud Storage itself."""

HEARTBEAT: Final = b"\n"
"""The content of a chunk that only shows that the function is alive. The stock reader skips it."""

HEARTBEAT_INTERVAL: Final = 10.0
"""Seconds without a chunk after which the writer writes a heartbeat."""

USAGE_PARAM: Final = "usage"
"""Key of what the request used in the params of `closed`."""

RESPONSE_PARAM: Final = "response"
"""Key of the function's own 2xx response in the params of `closed`, if it is a short text.

A step that adopts the call has no other way to get it.
"""

RESPONSE_STATUS_EXCEPTION: Final = "PipesResponseStatusError"
"""Name of the exception in `closed` if the function's own response is not 2xx."""


# ------------------------------------------------------------------------------------------------------- size limits

MAX_REQUEST_BYTES: Final = 32 * 1024 * 1024
"""The largest HTTP request that the platform accepts, in bytes.

Source: https://cloud.google.com/functions/quotas ("Max uncompressed HTTP request size", 2nd gen).
"""

MAX_CHUNK_BYTES: Final = 64 * 1024 * 1024
"""The largest chunk that is read, and the largest message that is written, in bytes.

The default writer fills chunks of 1 MiB. A larger message is a chunk by itself.
"""

MAX_JSON_DEPTH: Final = 100
"""Levels of a message's JSON. Dagster stores metadata by recursion, with several calls per level."""

MAX_EXCEPTION_CHAIN: Final = 20
"""Exceptions in `closed`: the one with which the function failed, and those nearest to it."""

MAX_EXCEPTION_CHARACTERS: Final = 32 * 1024
"""Characters of each exception's message and of its stack in `closed`. Dagster shows and stores them several times."""

MAX_CLOSED_RESPONSE_BYTES: Final = 32 * 1024
"""The largest response body that `closed` carries, in bytes."""

MAX_STREAM_BYTES: Final = 10_000_000
"""The largest HTTP response that has messages, in bytes. The platform ends a larger one.

Source: https://cloud.google.com/functions/quotas ("Max uncompressed HTTP response size", 10MB for streaming responses).
"""

MAX_STREAMED_MESSAGES_BYTES: Final = 8_000_000
"""The bytes of all messages before `closed` in an HTTP response. The rest is for `closed` and the heartbeats."""

MAX_MESSAGES_PARAMS_BYTES: Final = 8 * 1024
"""The largest decompressed messages params, in bytes: a bucket, a prefix of at most 1,000 bytes, and a few flags."""

MAX_INLINE_CONTEXT_BYTES: Final = 2 * 1024 * 1024
"""The largest decompressed context params of a request, in bytes. A larger context goes through the bucket.

Any caller can send a compressed context of 2 kB that expands to this size, so it must fit the smallest instance, which
has 128 MiB. The runtime with its libraries takes 70 to 85 MiB. Parsing the worst JSON of this size takes 40 MiB. One
long text with an emoji takes eight times its size: Python then needs four bytes per character, in the JSON and in its
value. The structure takes 22 MiB (`MAX_CONTEXT_MARKS`).
"""

MAX_CONTEXT_BYTES: Final = 32 * 1024 * 1024
"""The largest context that is read from the bucket, in bytes.

It is read only from where `GCF_PIPES_BUCKETS` and `GCF_PIPES_KEY_PREFIX` allow, so its size is usually the user's own
choice. Parsing a plain text of this size takes 64 MiB, which fits the platform's default of 256 MiB.
"""

MAX_CONTEXT_MARKS: Final = 250_000
"""Opening brackets, commas, colons and strings of a context, together.

Each takes at most 90 bytes when parsed, so all take 22 MiB. An asset step of 5,000 assets has that many.
"""

MAX_EVENT_MARKS: Final = 1_000_000
"""Opening brackets, commas, colons and strings of a request body, together.

Parsed, they take 90 MiB. Without this limit, a body of 32 MiB could take 1.3 GiB.
"""

# --------------------------------------------------------------------------------------------------------------------


class OpenedExtras(TypedDict, total=False):
    """Facts about the execution in `opened`. Unknown facts are left out; most are unknown locally.

    Attributes:
        delivery_id: Unique among the deliveries of the call.
        project_id: The Google Cloud project in which the function runs.
        service: The function's Cloud Run service. Its name can differ from the function's.
        revision: The revision of that service.
        instance_id: The container instance; `labels.instanceId` of its log entries.
        execution_id: functions-framework's id of this execution; `labels.execution_id` of its log entries.
        trace_id: The request's trace, 32 hexadecimal digits; the end of `trace` of its log entries.
        cold_start: Whether this is the first request of its process.
        closes_with_request: Whether `closed` has the outcome of the request and is written just before the response, as
            `pipes_function` does.
        heartbeat_interval: Seconds without a chunk after which the writer writes a heartbeat.
        version: The version of the deployed `gcf_pipes`.
        protocol: The protocol and the capabilities of the function, as in its `Dagster-Pipes-Protocol` header.
        region: The region in which the function runs, such as "europe-west1".
        memory_limit_bytes: The memory limit of the instance.
        cpus: The CPUs of the instance, such as 0.583.
    """

    delivery_id: str
    project_id: str
    service: str
    revision: str
    instance_id: str
    execution_id: str
    trace_id: str
    cold_start: bool
    closes_with_request: bool
    heartbeat_interval: float
    version: str
    protocol: str
    region: str
    memory_limit_bytes: int
    cpus: float


class Usage(TypedDict, total=False):
    """What a request used until `closed`. Unknown figures are left out.

    Attributes:
        wall_seconds: Seconds since the request's arrival, on a monotonic clock.
        cpu_seconds: CPU seconds of the process meanwhile, with those of its child processes that have ended.
        peak_memory_bytes: The largest memory in use meanwhile, by the instance or at least by the process.
        shared: Whether the process served other requests meanwhile. CPU and memory are then those of all of them.
    """

    wall_seconds: float
    cpu_seconds: float
    peak_memory_bytes: int
    shared: bool


class _RequiredResponse(TypedDict):
    status: int
    content_type: str
    body: str


class ClosedResponse(_RequiredResponse, total=False):
    """The function's own response in `closed`.

    Attributes:
        status: The HTTP status.
        content_type: The media type, with its parameters.
        body: The body.
        base64: Whether the body is in base64, because it is not UTF-8. Missing if it is text.
    """

    base64: bool


class PartitionMaterialization(TypedDict):
    """The value of the reserved key in a custom message: a partition of an asset that the function has materialized.

    Attributes:
        asset_key: The asset, in the format of Pipes.
        partition: The key of the partition. With several dimensions, as in `pipes.partition_key`.
        metadata: In the format of `report_asset_materialization` in Pipes, or null.
        data_version: The data version, or null.
    """

    asset_key: str
    partition: str
    metadata: Mapping[str, Any] | None
    data_version: str | None


@dataclass(frozen=True)
class SessionPrefix:
    """The prefix of one session's objects in the bucket.

    Attributes:
        bucket: The name of the bucket.
        path: The prefix without a trailing slash. Empty means the bucket's root.
    """

    bucket: str
    path: str

    def chunk_key(self, index: int) -> str:
        """The name of chunk `index`. The first chunk is 1."""
        return self._key(f"{index}.json")

    def chunk_index(self, key: str) -> int | None:
        """The number of the chunk with that object name, or None if it is not a chunk."""
        name = key.removeprefix(self._key(""))
        match = re.fullmatch(r"([1-9][0-9]{0,8})\.json", name)
        return int(match[1]) if match and key == self._key(name) else None

    @property
    def object_prefix(self) -> str:
        """The start of all of the session's object names."""
        return self._key("")

    @property
    def context_key(self) -> str:
        """The name of the context object, which exists only if the context is too large for the request body."""
        return self._key("context.json")

    @property
    def cancel_key(self) -> str:
        """The name of the cancel marker: Dagster has terminated the run."""
        return self._key("cancel")

    @property
    def uri(self) -> str:
        """The session's prefix as a `gs://` URI with a trailing slash."""
        return f"gs://{self.bucket}/{self._key('')}"

    def _key(self, name: str) -> str:
        return f"{self.path}/{name}" if self.path else name
