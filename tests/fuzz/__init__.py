"""What a hostile caller may send, and what the entry point must do with it.

The subject is the real entry point in a Flask app, in process. It is configured for one bucket and one prefix, `PLACE`.
"""

import base64
import json
import zlib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import flask
from dagster_pipes import PipesContext
from gcf_pipes import PipesCloudFunctionContextLoader, PipesCloudStorageMessageWriter, pipes_function
from gcf_pipes._admission import MAX_KEY_BYTES, Admission
from gcf_pipes._protocol import BOOTSTRAP_KEYS
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

from local_stack.emulators import EMBEDDED, run_emulator


@dataclass(frozen=True)
class Place:
    """The one place that the subject accepts.

    Attributes:
        bucket: The name of the bucket.
        key_prefix: The base prefix.
    """

    bucket: str
    key_prefix: str


PLACE: Final = Place(bucket="accepted-bucket-7f3a", key_prefix="accepted/prefix-9c1e")

RAN: Final = "ran"
"""The outcome of a payload that is a call."""

_NULL: Final = type(None)
_FIELDS: Final[dict[str, tuple[type, ...]]] = {
    "asset_keys": (list, _NULL),
    "code_version_by_asset_key": (dict, _NULL),
    "provenance_by_asset_key": (dict, _NULL),
    "partition_key": (str, _NULL),
    "partition_key_range": (dict, _NULL),
    "partition_time_window": (dict, _NULL),
    "run_id": (str,),
    "job_name": (str, _NULL),
    "retry_number": (int,),
    "extras": (dict,),
}

Sender: TypeAlias = Callable[[bytes], str]


class ViolationError(AssertionError):
    """The entry point did with a payload what it must not do."""


@contextmanager
def running_subject() -> Iterator["Subject"]:
    """Run the subject with an emulator of its own, for the payloads that are calls."""
    with run_emulator(EMBEDDED) as emulator, closing(_local_client(emulator.url)) as client:
        client.create_bucket(PLACE.bucket)
        yield Subject(client)


def _local_client(url: str) -> storage.Client:
    credentials = AnonymousCredentials()  # type: ignore[no-untyped-call]  # google-auth leaves it untyped
    return storage.Client(project="local", credentials=credentials, client_options={"api_endpoint": url})


class Subject:
    """The entry point in an app.

    Args:
        client: The Cloud Storage client to use.
    """

    def __init__(self, client: storage.Client) -> None:
        self._runs = 0
        self._http = self._app(client).test_client()

    def send(self, body: bytes) -> str:
        """Send a payload, and return its outcome: `RAN`, or the status and the code of the refusal.

        Raises:
            ViolationError: The user's code ran though the payload is no call, or the answer is no clean refusal.
        """
        runs = self._runs
        response = self._http.post("/", data=body)
        if self._runs != runs:
            _expect(self._runs == runs + 1, "the user's code ran more than once")
            _expect(may_run(body), "the user's code ran though the payload is no call")
            _expect(response.status_code == 204, f"a call that ran was answered with {response.status}")
            return RAN
        return _refusal(response.status_code, response.text, str(response.headers), body)

    def _app(self, client: storage.Client) -> flask.Flask:
        admission = Admission(frozenset({PLACE.bucket}), PLACE.key_prefix)

        @pipes_function(
            context_loader=PipesCloudFunctionContextLoader(client, admission=admission),
            message_writer=PipesCloudStorageMessageWriter(client, admission=admission),
        )
        def main(request: flask.Request, pipes: PipesContext) -> None:
            self._runs += 1

        app = flask.Flask(__name__)
        app.add_url_rule("/", view_func=lambda: main(flask.request), methods=["POST"], endpoint="main")
        return app


def _refusal(status: int, text: str, headers: str, body: bytes) -> str:
    _expect(400 <= status < 500, f"expected a 4xx, got {status}: {text[:500]}")
    answer = _json_or_none(text)
    _expect(
        isinstance(answer, dict)
        and list(answer) == ["error"]
        and set(answer["error"]) == {"code", "message"}
        and all(isinstance(value, str) and value for value in answer["error"].values()),
        f"expected a JSON body with a code and a message, got {text[:500]}",
    )
    _expect("Traceback" not in text, f"the answer has a traceback: {text[:500]}")
    for secret in (PLACE.bucket, PLACE.key_prefix):
        if secret in text or secret in headers:
            _expect(secret in _decoded(body), f"the answer tells the configuration, {secret!r}: {text[:500]}")
    return f"{status} {answer['error']['code']}"


def may_run(body: bytes) -> bool:
    """Whether a payload is a call for `PLACE`, by the wire format; the parser is not asked.

    It decodes as `dagster_pipes.decode_param` does, in any encoding that JSON may have. It looks at the types of the
    context's fields, and not into their lists and objects.
    """
    event = _json_or_none(body)
    if not isinstance(event, dict):
        return False
    try:
        context, messages = (_decode(event[key]) for key in BOOTSTRAP_KEYS)
    except Exception:  # noqa: BLE001 - what cannot be decoded is no call
        return False
    return _is_context(context) and _is_accepted(messages)


def _decode(value: Any) -> Any:
    return json.loads(zlib.decompress(base64.b64decode(value)))


def _is_context(params: Any) -> bool:
    """A context in the bucket is none here: the bucket holds no contexts."""
    if not isinstance(params, dict) or not isinstance(data := params.get("data"), dict):
        return False
    return all(
        field in data and isinstance(data[field], types) and not isinstance(data[field], bool)
        for field, types in _FIELDS.items()
    )


def _is_accepted(params: Any) -> bool:
    if not isinstance(params, dict) or params.get("bucket") != PLACE.bucket:
        return False
    prefix = params.get("key_prefix")
    if not isinstance(prefix, str) or not prefix.rstrip("/").startswith(PLACE.key_prefix + "/"):
        return False
    return (
        prefix.isprintable()
        and not {".", ".."} & set(prefix.split("/"))
        and len(prefix.rstrip("/").encode()) <= MAX_KEY_BYTES
    )


def _decoded(body: bytes) -> str:
    """All that a payload says: its text, and what its encoded values hold."""
    event = _json_or_none(body)
    texts = [body.decode("utf-8", errors="replace"), json.dumps(event)]
    for value in event.values() if isinstance(event, dict) else []:
        try:
            texts.append(json.dumps(_decode(value)))
        except Exception:  # noqa: BLE001 - what cannot be decoded says nothing
            continue
    return "\n".join(texts)


def _json_or_none(text: str | bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _expect(condition: bool, text: str) -> None:
    if not condition:
        raise ViolationError(text)
