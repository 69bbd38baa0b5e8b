"""Where a function is: its project, region and name, as far as a name or a URL tells."""

import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

import requests

from dagster_gcf_pipes._errors import PipesCloudFunctionRequestError

PROJECT: Final = r"(?:[a-z0-9.-]+:)?[a-z][a-z0-9-]{4,28}[a-z0-9]|[0-9]+"
"""An ID, which in old organisations starts with their domain, or a number.

Source: https://cloud.google.com/resource-manager/docs/creating-managing-projects#before_you_begin.
"""
REGION: Final = r"[a-z]+-[a-z]+[0-9]+"
_FUNCTION: Final = r"[A-Za-z](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9])?"
_FULL_NAME: Final = re.compile(
    rf"projects/(?P<project>{PROJECT})/locations/(?P<region>{REGION})/functions/(?P<function>{_FUNCTION})"
)
_SHOWABLE: Final = re.compile(r"\A(?:https?:/*)?[\w./-]*", re.ASCII | re.IGNORECASE)
_URL: Final = re.compile(r"https?://[^\s/?#]\S*", re.IGNORECASE)
_PLATFORM_OVER_HTTP: Final = re.compile(r"http://[^/]+\.(?:run\.app|cloudfunctions\.net)(?:[:/].*)?")
_FUNCTION_URL: Final = re.compile(
    rf"https://(?P<region>{REGION})-(?P<project>[a-z][a-z0-9-]*)\.cloudfunctions\.net/(?P<function>{_FUNCTION})(?:/.*)?"
)
_SERVICE_URL: Final = re.compile(
    rf"https://(?:[a-z0-9-]+---)?(?P<service>[a-z][a-z0-9-]*)-(?P<project>[0-9]+)\.(?P<region>{REGION})\.run\.app(?:/.*)?"
)


@dataclass(frozen=True)
class FunctionName:
    """Where a function is. What is not known is None.

    Attributes:
        project: The ID of its project, or the project's number.
        region: Its region, such as "europe-west1".
        function: Its name.
        service: The name of the Cloud Run service beneath it, which can differ from the function's.
    """

    project: str | None = None
    region: str | None = None
    function: str | None = None
    service: str | None = None

    @property
    def resource_name(self) -> str:
        """The function's full resource name."""
        return f"projects/{self.project}/locations/{self.region}/functions/{self.function}"


def parse_function_name(name: str, *, project: str | None = None, region: str | None = None) -> FunctionName:
    """Return the resource name of a function that is given by its name.

    Args:
        name: The name, such as "orders", or the full resource name, which says its project and region itself.
        project: The project in which a plain name is looked for.
        region: The region in which a plain name is looked for.

    Raises:
        PipesCloudFunctionRequestError: The name is none, or a plain one without a project or region.
    """
    if parsed := parse_resource_name(name):
        return parsed
    if not re.fullmatch(_FUNCTION, name):
        raise _request_error(
            "Expected the name of a function, such as 'orders', or its full resource name, such as "
            f"'projects/my-project/locations/europe-west1/functions/orders', got {name!r}. "
            "A URL goes into `function_url`."
        )
    if missing := [field for field, value in (("project", project), ("region", region)) if not value]:
        raise _request_error(
            f"The function {name!r} cannot be looked up without its {' and '.join(missing)}. Set `project` and "
            "`region` of the resource, or give the full resource name: "
            "'projects/PROJECT/locations/REGION/functions/NAME'."
        )
    return FunctionName(project, region, name)


def parse_resource_name(name: str) -> FunctionName | None:
    """Return the parts of a full resource name, or None if it is not one."""
    match = _FULL_NAME.fullmatch(name)
    return FunctionName(**match.groupdict()) if match else None


def check_url(url: str) -> None:
    """Refuse what is no URL, and the platform's over plain http, where it would redirect and no ID token is sent.

    Raises:
        PipesCloudFunctionRequestError: It is refused.
    """
    shown = redacted(url)
    if not _URL.fullmatch(url):
        raise _request_error(
            f"Expected the URL of a function, such as https://..., got {shown!r}. A name goes into `function`."
        )
    if not _is_callable(url):
        raise _request_error(
            f"Expected the URL of a function, such as https://..., got {shown!r}, whose host or port is not valid."
        )
    if _PLATFORM_OVER_HTTP.fullmatch(shown):
        raise _request_error(
            f"Expected an https URL, got {shown!r}: over plain http no ID token is sent. Write https:// in its place."
        )


def _is_callable(url: str) -> bool:
    """Whether `requests` can parse a URL, and the name of its host can be looked up: each label has 1 to 63 bytes."""
    try:
        (urlsplit(requests.Request("POST", url).prepare().url or "").hostname or "").encode("idna")
    except ValueError:  # an InvalidURL of `requests`, a LocationParseError of urllib3, a UnicodeError
        return False
    return True


def parse_function_url(url: str) -> FunctionName:
    """Return what a function's URL tells of its resource name.

    `https://REGION-PROJECT.cloudfunctions.net/FUNCTION` tells the function's name but not its service's, and
    `https://[TAG---]SERVICE-PROJECT_NUMBER.REGION.run.app` the service's but not the function's. Other URLs, such as
    `https://SERVICE-HASH-ew.a.run.app`, tell nothing.
    Source: https://cloud.google.com/run/docs/triggering/https-request ("Deterministic URL").
    """
    url = redacted(url)
    match = _FUNCTION_URL.fullmatch(url) or _SERVICE_URL.fullmatch(url)
    return FunctionName(**match.groupdict()) if match else FunctionName()


def redacted(url: str) -> str:
    """Return what may be shown of a URL: no user, password, query or fragment, which may be secrets.

    The scheme and the host are in lower case.

    What is not a URL is shown up to the first character that may begin one of these, or not at all if it has an @.
    """
    try:
        parts = urlsplit(url)
        is_url = bool(parts.scheme and parts.hostname) and parts.port != 0  # an invalid port raises when it is read
    except ValueError:
        is_url = False
    if is_url:
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2].lower()}{parts.path}"
    shown = str(_SHOWABLE.findall(url)[0])
    return shown if shown == url else f"{'' if '@' in url else shown}..."


def _request_error(text: str) -> PipesCloudFunctionRequestError:
    return PipesCloudFunctionRequestError(text, allow_retries=False)
