"""What a function has to do, as docs/protocol.md lists it. Each requirement is one line of the report."""

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Requirement:
    """One requirement of the protocol.

    Attributes:
        name: Its name in the report and in the documentation.
        text: What the function does.
        fix: What to do if it does not.
        required: Whether every function needs it. A function may lack an optional part, but not do it wrongly.
    """

    name: str
    text: str
    fix: str
    required: bool = True


def _optional(name: str, text: str, fix: str) -> Requirement:
    return Requirement(name, text, fix, required=False)


_CLAIM: Final = (
    Requirement(
        "claim-first",
        "It creates `1.json` with `opened` before the user's code runs",
        "Upload `opened` as chunk 1, wait until it is stored, and only then run the user's code.",
    ),
    Requirement(
        "claim-once",
        "Of two deliveries of a call at the same time, one runs, and the other gets 409 with `duplicate_call`",
        "Create `1.json` with the precondition `ifGenerationMatch=0`, and stop at 412.",
    ),
    Requirement(
        "claim-late",
        "A delivery after the end of the call gets 409 with `duplicate_call`, and changes nothing",
        "Create `1.json` with the precondition `ifGenerationMatch=0`, and stop at 412.",
    ),
    Requirement(
        "claim-taken",
        "If Dagster has created `1.json`, a delivery gets 409 with `duplicate_call`, and runs nothing",
        "At 412, answer 409 unless `1.json` has the very bytes that you wanted to write.",
    ),
    Requirement(
        "claim-unique",
        "No two deliveries have the same bytes in `1.json`",
        "Put a random `delivery_id` into the extras of `opened`.",
    ),
)

_CHUNKS: Final = (
    Requirement(
        "chunk-numbers",
        "Chunks are numbered from 1 without gaps",
        "Create `n + 1` only after `n` is stored.",
    ),
    Requirement(
        "chunk-once",
        "It never writes to a chunk that exists",
        "Create each chunk with the precondition `ifGenerationMatch=0`.",
    ),
    Requirement(
        "chunk-lost",
        "If a chunk cannot be stored, the response is not 2xx",
        "Wait for each upload before the response, and respond with 500 if one failed.",
    ),
    Requirement(
        "chunk-format",
        "Each chunk is a heartbeat, or one Pipes message a line, each with a newline at its end",
        "Write `__dagster_pipes_version`, `method` and `params` as docs/protocol.md shows each message.",
    ),
    Requirement(
        "chunk-count",
        "The response says in `Dagster-Pipes-Chunk-Count` how many chunks there are, and all of them are stored then",
        "Count the chunks, heartbeats too, and respond after the last one is stored.",
    ),
    Requirement(
        "opened-first",
        "`opened` is the first message, and there is one",
        "Write `opened` once, when the session is claimed.",
    ),
    Requirement(
        "closed-last",
        "`closed` is the last message, and there is one",
        "Write `closed` once, after the user's code and every other message.",
    ),
    Requirement(
        "sealed",
        "After the response nothing more is written",
        "Refuse messages after `closed`, and stop the heartbeat before the response.",
    ),
)

_MESSAGES: Final = (
    Requirement("logs", "Log lines arrive with their level and text", "Send `log` with `message` and `level`."),
    Requirement(
        "materialization",
        "A materialization arrives with its asset, data version, and metadata of each type",
        "Send `report_asset_materialization` with `asset_key`, `metadata` and `data_version`.",
    ),
    Requirement(
        "asset-check",
        "An asset check arrives with its asset, name, severity and outcome",
        "Send `report_asset_check` with `asset_key`, `check_name`, `passed`, `severity` and `metadata`.",
    ),
    Requirement("custom-message", "A custom message arrives as it is", "Send `report_custom_message` with `payload`."),
    Requirement(
        "message-order",
        "Messages arrive in the order in which the user's code sent them",
        "Write messages into one chunk after another, in the order of the calls.",
    ),
    Requirement(
        "burst",
        "Thousands of lines arrive, each once and in order, in several chunks",
        "Keep all messages until they are stored, and upload them while the user's code runs.",
    ),
    Requirement(
        "isolation",
        "Calls at the same time do not mix",
        "Keep all state of a session with its request, and none of it in the process.",
    ),
)

_CONTEXT: Final = (
    Requirement(
        "context-fields",
        "The user's code sees every field of the context, and the event without the two bootstrap keys",
        "Decode `DAGSTER_PIPES_CONTEXT`, and take the context from `data`.",
    ),
    Requirement(
        "context-missing",
        "A missing field of the context is null",
        "Require only `run_id`, `retry_number` and `extras`.",
    ),
    Requirement(
        "context-unicode",
        "Texts in every script survive, in keys and in values",
        "Decode the request and the context as UTF-8, and write UTF-8.",
    ),
    Requirement("context-large", "A context of 1 MiB in the request works", "Accept a context of up to 2 MiB of JSON."),
    Requirement(
        "context-object",
        "A context in the bucket works",
        "If the context params have no `data`, read the object that `bucket` and `key` name.",
    ),
)

_OUTCOME: Final = (
    Requirement(
        "own-response",
        "The response of the user's code arrives unchanged",
        "Send the status and the body of the user's code, and add the headers.",
    ),
    Requirement(
        "exception",
        "`closed` has the exception of the user's code with name, message, stack and cause",
        "Write `exception` into the params of `closed`.",
    ),
    Requirement(
        "exception-status",
        "After an exception of the user's code the response is 500, with the chunk count",
        "Catch the exception, write `closed`, and respond with 500 and `Dagster-Pipes-Chunk-Count`.",
    ),
    Requirement(
        "own-status",
        "The user's code may respond with any status. Unless it is 2xx, `closed` has a `PipesResponseStatusError`",
        "Write `closed` with an exception of this name, whose message has the status and the body.",
    ),
    Requirement(
        "own-conflict",
        "A 409 of the user's code is no duplicate",
        "Send `Dagster-Pipes-Error` only with a refusal, and the chunk count after the claim.",
    ),
    _optional(
        "closes-with-request",
        "`opened` says that `closed` decides the outcome",
        "Put `closes_with_request: true` into the extras of `opened`, and write `closed` just before the response.",
    ),
    _optional(
        "closed-response",
        "`closed` has the short 2xx response of the user's code",
        "Write `response` into the params of `closed`: `status`, `content_type` and `body`, as the response has them.",
    ),
    _optional(
        "closed-usage",
        "`closed` says what the request used",
        "Write `usage` into the params of `closed`, with figures of the documented types.",
    ),
)

_REFUSALS: Final = (
    Requirement("refuses-get", "It refuses a GET", "Refuse every method but POST."),
    Requirement(
        "refuses-body", "It refuses a body that is not a JSON object", "Parse the body, and refuse all but an object."
    ),
    Requirement(
        "refuses-missing-keys",
        "It refuses a body without one of the two bootstrap keys",
        "Require `DAGSTER_PIPES_CONTEXT` and `DAGSTER_PIPES_MESSAGES`.",
    ),
    Requirement(
        "refuses-encoding",
        "It refuses a bootstrap key that is not base64, zlib, JSON",
        "Decode both keys before the claim, and refuse what cannot be decoded.",
    ),
    Requirement(
        "refuses-params",
        "It refuses params and a context of wrong types",
        "Check the types of both params and of the context before the claim.",
    ),
    Requirement(
        "refuses-pipes-version",
        "It refuses params of another version of the Pipes protocol",
        "Refuse params whose `__dagster_pipes_version` is there, and is another one than yours.",
    ),
    Requirement(
        "refuses-bomb",
        "It refuses params that are larger when decompressed than the limits",
        "Give zlib a limit of its output: 8 KiB for the messages params, 2 MiB for the context params.",
    ),
    _optional(
        "refuses-protocol",
        "It refuses a call of another version of the wire protocol",
        "Compare the number in the header `Dagster-Pipes-Protocol` with your own.",
    ),
    _optional(
        "refuses-capability",
        "It refuses a call that needs a capability which it lacks",
        "Refuse names in the header `Dagster-Pipes-Protocol` that you do not announce.",
    ),
    _optional(
        "refuses-storage",
        "It refuses a call whose messages Dagster reads from another storage",
        "Compare the header `Dagster-Pipes-Storage` with what the function uses.",
    ),
    _optional(
        "refuses-bucket",
        "It refuses a bucket that it does not accept",
        "Compare `bucket` with what the function's environment names, and refuse others with `bad_request`.",
    ),
    _optional(
        "refusal-text",
        "A refusal says why, as JSON",
        'Send `{"error": {"code": ..., "message": ...}}` as the body of a refusal.',
    ),
)

_TIME: Final = (
    _optional(
        "heartbeats",
        "It writes a heartbeat whenever no chunk was written for the interval that `opened` announces",
        "Create a chunk that is a single newline, from a thread or timer that the user's code cannot block.",
    ),
    Requirement(
        "cancel",
        "It stops at the cancel marker, with an exception in `closed`",
        "Poll for `cancel` below the session's prefix at least every ten seconds.",
    ),
    _optional(
        "shared-cancel",
        "It stops at the cancel marker of many calls, if it announces `shared_cancel`",
        "Poll for `cancel` below `shared_prefix` too.",
    ),
    _optional(
        "deadline",
        "It stops before `Dagster-Pipes-Timeout` has passed, with an exception in `closed`",
        "Stop the user's code while there is time left to store `closed` and to respond.",
    ),
)

_VERSIONS: Final = (
    _optional(
        "versions",
        "Response and `opened` say the same protocol, version and capabilities",
        "Send `Dagster-Pipes-Protocol` and `Dagster-Pipes-Version`, and the same as `protocol` and `version` in "
        "`opened`.",
    ),
    _optional(
        "forward-logs",
        "It sends its output if Dagster asks for it, if it announces `forward_logs`",
        "Send `log_external_stream` with what the user's code prints.",
    ),
)

REQUIREMENTS: Final = (*_CLAIM, *_CHUNKS, *_MESSAGES, *_CONTEXT, *_OUTCOME, *_REFUSALS, *_TIME, *_VERSIONS)
"""All requirements, in the order of the report."""
