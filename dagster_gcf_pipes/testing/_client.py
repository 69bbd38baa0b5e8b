"""The resource for tests of assets: a real client whose functions and bucket are in this process."""

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, cast

import requests
from dagster import ResourceDependency
from gcf_pipes._shared.storage import import_library

from dagster_gcf_pipes._client import PipesCloudFunctionClient
from dagster_gcf_pipes._config import BUCKET_MESSAGES, LOGGING_MESSAGES
from dagster_gcf_pipes._credentials import Identity
from dagster_gcf_pipes._functions import FunctionName, parse_function_name
from dagster_gcf_pipes._functions_api import FunctionLookup, Target, resolve_target
from dagster_gcf_pipes.testing._faults import Fault, FaultPlan
from dagster_gcf_pipes.testing._functions import EntryPoint
from dagster_gcf_pipes.testing._platform import HOST, LocalCall, LocalPlatform
from dagster_gcf_pipes.testing._responses import in_process_session

if TYPE_CHECKING:
    from google.auth.credentials import Credentials
    from google.cloud import storage

_DEFAULTS: Final[Mapping[str, Any]] = {"poll_interval": 0.1, "drain_timeout": 1}
"""Short pauses: nothing is far away."""
_BUCKET: Final = "in-memory"
_RETRY_DELAY: Final = 0.01
"""After a failure of the platform. After others the pause ends when `opened` is seen, so that it may be long."""


class LocalPipesCloudFunctionClient(PipesCloudFunctionClient):
    """A `PipesCloudFunctionClient` for tests: it calls functions in this process, with a bucket in memory.

    For example::

        client = LocalPipesCloudFunctionClient(functions={"orders": main})
        result = dg.materialize([orders], resources={"cloud_function": client})
        assert client.calls[0].event == {"table": "orders"}

    Everything else is as in the cloud: the messages go through chunks in a bucket, a call runs the function at most
    once, failed attempts are retried, and the same verdict decides. It needs no network, no socket and no credentials.
    Pass it wherever the resource goes. Several steps may use it at once, but only in this process.

    A fault makes calls fail, so that you can test what your code does then. It happens to the first `times` attempts.

    Args:
        functions: The entry points, by the name or by the URL with which your code calls them. A name also stands for
            the URLs on cloudfunctions.net and `https://NAME-PROJECT_NUMBER.REGION.run.app`.
        fail_with: The HTTP status with which the platform answers. The function does not run. Default: none.
        lose_response: Whether the connection breaks after the function has run. Default no.
        die_after: After how many Pipes calls (`pipes.log`, `report_...`) the function's instance dies. The function
            stops at the next one, or when it returns, and nothing later is stored. Default: it does not die.
        times: To how many attempts the fault happens, over all calls. Default 1.
        fields: The fields of `PipesCloudFunctionClient`. Defaults that differ: `bucket` "in-memory", `poll_interval`
            0.1, `drain_timeout` 1, and with `fail_with` also `retry_delay` 0.01. `messages` cannot be "logging": there
            is no Cloud Logging in a test.

    Raises:
        TypeError: An entry point cannot be called with a request.
        ValueError: A field, a name or a fault is not valid, or there is more than one fault.
        ImportError: Flask is not installed.
    """

    platform: ResourceDependency[LocalPlatform]

    def __init__(
        self,
        functions: Mapping[str, EntryPoint] | None = None,
        *,
        fail_with: int | None = None,
        lose_response: bool = False,
        die_after: int | None = None,
        times: int = 1,
        **fields: Any,
    ) -> None:
        if "platform" not in fields:  # otherwise Dagster makes a copy, with the same platform
            if not isinstance(functions, Mapping):
                raise TypeError(f'Expected `functions`, such as {{"orders": main}}, got {functions!r:.100}.')
            import_library()
            _check_messages(fields.get("messages", BUCKET_MESSAGES), die_after)
            plan = FaultPlan(Fault(fail_with, lose_response, die_after), times)
            fields["platform"] = LocalPlatform(functions, plan)
            fields = {**_defaults(fields), **({"retry_delay": _RETRY_DELAY} if fail_with else {}), **fields}
        super().__init__(**fields)

    @property
    def calls(self) -> list[LocalCall]:
        """The calls so far, in order."""
        return self.platform.calls

    def get_storage_client(self) -> "storage.Client":
        """Create a client of the bucket in memory."""
        return self.platform.storage.client()

    def get_http_session(self) -> requests.Session:
        """Create a session that reaches only the functions."""
        return in_process_session(self.platform.answer)

    def _identity(self) -> Identity:
        return self._identity_once.get(lambda: Identity(_credentials))  # asks nobody, not even to impersonate

    def _resolve(self, function: str | None, function_url: str | None) -> Target:
        if type(function) is str and function_url is None:
            project, region = self.project or "local", self.region or "local"
            named = parse_function_name(function, project=project, region=region)
            function, function_url = None, f"https://{HOST}/{named.function}"
        target = resolve_target(
            function=function,
            function_url=function_url,
            project=None,
            region=None,
            function_timeout=self.function_timeout,
            lookup=FunctionLookup(),  # not used: there is a URL, or an error
        )
        name, _ = self.platform.find(target.url)
        return replace(target, name=FunctionName(function=name))  # without a project, so that no logs are read


def _defaults(fields: Mapping[str, Any]) -> dict[str, Any]:
    bucket = {"bucket": _BUCKET} if fields.get("messages", BUCKET_MESSAGES) == BUCKET_MESSAGES else {}
    return {**_DEFAULTS, **bucket}


def _check_messages(messages: object, die_after: int | None) -> None:
    """Refuse a channel that a test lacks, and a fault that a channel lacks."""
    if messages == LOGGING_MESSAGES:
        raise ValueError(
            "Expected `messages` to be 'bucket' or 'response' in a test, got 'logging': there is no Cloud Logging.\n"
            "Fix: Leave `messages` out. The function's code is the same."
        )
    if messages != BUCKET_MESSAGES and die_after is not None:
        raise ValueError(f"Expected `messages='bucket'` with `die_after`, got {messages!r}.")


class _LocalCredentials:
    """Credentials of a service account that does not exist, with ID tokens that prove nothing."""

    service_account_email = "local@local.iam.gserviceaccount.com"
    valid = True
    token = "local"  # noqa: S105 - not a secret

    def with_target_audience(self, _: str) -> "_LocalCredentials":
        """Return credentials for an audience."""
        return self


def _credentials() -> "Credentials":
    return cast("Credentials", _LocalCredentials())
