"""The set-up under examination: what the user named, and what the checks have learnt of it."""

import dataclasses
from dataclasses import dataclass, field
from typing import Any, Final

from gcf_pipes._shared.halves import Half
from gcf_pipes._shared.once import Once
from gcf_pipes._shared.protocol import DEFAULT_KEY_PREFIX
from gcf_pipes._shared.storage import ObjectStore, create_client, uses_emulator
from pydantic import TypeAdapter, ValidationError

from dagster_gcf_pipes._auth import audience_of, needs_token
from dagster_gcf_pipes._config import (
    DEFAULT_FUNCTION_TIMEOUT,
    Audience,
    BucketName,
    KeyPrefix,
    LogView,
    ProjectId,
    Region,
    ServiceAccount,
)
from dagster_gcf_pipes._credentials import Identity, find_default_credentials
from dagster_gcf_pipes._doctor.findings import Finding, SkippedError
from dagster_gcf_pipes._errors import PipesCloudFunctionRequestError
from dagster_gcf_pipes._functions import check_url, parse_function_name
from dagster_gcf_pipes._functions_api import FunctionInfo, FunctionLookup, Target, resolve_target

_TYPES: Final[dict[str, Any]] = {
    "bucket": BucketName,
    "key_prefix": KeyPrefix,
    "project": ProjectId,
    "region": Region,
    "audience": Audience,
    "impersonate_service_account": ServiceAccount,
    "impersonation_delegates": tuple[ServiceAccount, ...],
    "log_view": LogView,
}


@dataclass(frozen=True)
class Options:
    """What to check. All but `url` are the resource's fields, or arguments of `run`, of the same name.

    Attributes:
        url: The function's URL; `function_url` of `run`.

    Raises:
        ValueError: A value is not valid.
    """

    function: str | None = None
    url: str | None = None
    bucket: str | None = None
    key_prefix: str = DEFAULT_KEY_PREFIX
    project: str | None = None
    region: str | None = None
    audience: str | None = None
    impersonate_service_account: str | None = None
    impersonation_delegates: tuple[str, ...] = ()
    log_view: str | None = None

    def __post_init__(self) -> None:
        self._check_combination()
        for name, value in dataclasses.asdict(self).items():
            if name in _TYPES and value is not None:
                _validate(name, value)
        try:
            if self.function is not None:
                parse_function_name(self.function, project=self.project, region=self.region)
            if self.url is not None:
                check_url(self.url)
        except PipesCloudFunctionRequestError as error:
            raise ValueError(error.description) from error

    def _check_combination(self) -> None:
        if self.function is not None and self.url is not None:
            raise ValueError("expected either a function's name or its URL, got both")
        if self.function is not None and "/" not in self.function and not (self.project and self.region):
            raise ValueError(
                f"expected the project and the region of the function {self.function!r}.\n"
                "Fix: Add `--project=PROJECT --region=REGION`."
            )
        if self.impersonation_delegates and not self.impersonate_service_account:
            raise ValueError("expected impersonate_service_account with impersonation_delegates, got none")

    @property
    def calls_function(self) -> bool:
        """Whether there is a function to check."""
        return self.function is not None or self.url is not None

    @property
    def function_is_remote(self) -> bool:
        """Whether there is a function that may need an ID token."""
        return self.function is not None or (self.url is not None and needs_token(self.url))

    @property
    def uses_google(self) -> bool:
        """Whether anything to check is in the cloud."""
        return self.function_is_remote or (not uses_emulator() and (self.bucket is not None or self.url is None))


def _validate(name: str, value: object) -> None:
    try:
        TypeAdapter(_TYPES[name]).validate_python(value)
    except ValidationError as error:
        raise ValueError(f"{name}: {error.errors()[0]['msg'].removeprefix('Value error, ')}") from error


@dataclass
class Setup:
    """What the checks share.

    Attributes:
        options: What to check.
        identity: Calls the function, and uses the bucket.
        findings: The findings so far, by check.
        function: What the deployed `gcf_pipes` says about itself, or None while it is not known.
        bucket_found: Whether the bucket exists and responds.
    """

    options: Options
    findings: dict[str, Finding] = field(default_factory=dict)
    function: Half | None = None
    bucket_found: bool = False

    def __post_init__(self) -> None:
        self.identity = Identity(
            find_default_credentials,
            service_account=self.options.impersonate_service_account,
            delegates=self.options.impersonation_delegates,
        )
        self._lookup = FunctionLookup(self.identity.credentials)
        self._target: Once[Target] = Once()
        self._store: Once[ObjectStore] = Once()

    def require(self, check: str) -> None:
        """Skip this check if another one has found a problem.

        Raises:
            SkippedError: It has.
        """
        if check in self.findings and self.findings[check].status == "problem":
            raise SkippedError(f"it needs `{check}`, which has a problem")

    @property
    def target(self) -> Target:
        """The function. It is looked up if it is given by its name."""
        self.require("identity")
        self.require("function")
        return self._target.get(self._resolve)

    @property
    def info(self) -> FunctionInfo:
        """The function, as the Cloud Functions API describes it.

        Raises:
            SkippedError: It was not looked up.
        """
        if info := self.target.info:
            return info
        raise SkippedError("a function that is given by its URL is not looked up")

    @property
    def audience(self) -> str:
        """The audience of the ID token for the function."""
        return self.options.audience or self.target.audience or audience_of(self.target.url)

    @property
    def project(self) -> str | None:
        """The function's project, or None if it is not known."""
        return self.target.name.project or self.options.project

    @property
    def store(self) -> ObjectStore:
        """The bucket.

        Raises:
            SkippedError: No bucket is given, or it cannot be used.
        """
        if self.options.bucket is None:
            raise SkippedError("no bucket is given: pass --bucket, or set PIPES_BUCKET")
        if not uses_emulator():
            self.require("identity")
        return self._store.get(self._open_store)

    def _resolve(self) -> Target:
        options = self.options
        return resolve_target(
            function=options.function,
            function_url=options.url,
            project=options.project,
            region=options.region,
            function_timeout=DEFAULT_FUNCTION_TIMEOUT,
            lookup=self._lookup,
        )

    def _open_store(self) -> ObjectStore:
        client = create_client(None if uses_emulator() else self.identity.credentials())
        return ObjectStore(str(self.options.bucket), client)
