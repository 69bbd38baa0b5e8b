"""Names and URLs of functions: parses and checks them, links to the console, and removes secrets from URLs."""

import ipaddress
import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlencode, urlsplit

import requests

from dagster_gcf_pipes._errors import PipesCloudFunctionRequestError

CONSOLE: Final = "https://console.cloud.google.com"
PROJECT: Final = r"(?:[a-z0-9.-]+:)?[a-z][a-z0-9-]{4,28}[a-z0-9]|[0-9]+"
"""A project ID or number. In old organizations, an ID starts with a domain.

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
    """The parts of a function's resource name. A part is None if it is not known.

    Attributes:
        project: The project's ID or number.
        region: The region, such as "europe-west1".
        function: The function's name.
        service: The name of its Cloud Run service, which can differ from the function's.
    """

    project: str | None = None
    region: str | None = None
    function: str | None = None
    service: str | None = None

    @property
    def resource_name(self) -> str:
        """The function's full resource name."""
        return f"projects/{self.project}/locations/{self.region}/functions/{self.function}"


UNKNOWN_FUNCTION: Final = FunctionName()


def parse_function_name(name: str, *, project: str | None = None, region: str | None = None) -> FunctionName:
    """Parse a function's name.

    Args:
        name: A plain name, such as "orders", or a full resource name, which includes project and region.
        project: The project of a plain name.
        region: The region of a plain name.

    Raises:
        PipesCloudFunctionRequestError: The name is not valid, or it is a plain name without a project or region.
    """
    if parsed := parse_resource_name(name):
        return parsed
    if not re.fullmatch(_FUNCTION, name):
        raise PipesCloudFunctionRequestError(
            "Expected the name of a function, such as 'orders', or its full resource name, such as "
            f"'projects/my-project/locations/europe-west1/functions/orders', got {name!r}.\n"
            "Fix: Pass a name. A URL goes into `function_url`."
        )
    if missing := [field for field, value in (("project", project), ("region", region)) if not value]:
        raise PipesCloudFunctionRequestError(
            f"The function {name!r} cannot be looked up without its {' and '.join(missing)}.\n"
            "Fix: Set `project` and `region` of the resource, or pass the full resource name: "
            "'projects/PROJECT/locations/REGION/functions/NAME'."
        )
    return FunctionName(project, region, name)


def parse_resource_name(name: str) -> FunctionName | None:
    """Return the parts of a full resource name, or None if it is not one."""
    match = _FULL_NAME.fullmatch(name)
    return FunctionName(**match.groupdict()) if match else None


def check_url(url: str) -> None:
    """Check that a function can be called at a URL.

    Raises:
        PipesCloudFunctionRequestError: It is not a valid URL, or it is a URL of the platform over plain http. The
            platform redirects those, and no ID token is sent over http.
    """
    shown = redacted(url)
    if not _URL.fullmatch(url):
        raise PipesCloudFunctionRequestError(
            f"Expected the URL of a function, such as https://..., got {shown!r}.\n"
            "Fix: Pass the function's URL. A name goes into `function`."
        )
    if not _is_callable(url):
        raise PipesCloudFunctionRequestError(
            f"Expected the URL of a function, such as https://..., got {shown!r}. Its host or port is not valid."
        )
    if _PLATFORM_OVER_HTTP.fullmatch(shown):
        raise PipesCloudFunctionRequestError(
            f"Expected an https URL, got {shown!r}. No ID token is sent over plain http.\n"
            "Fix: Write https:// instead of http://."
        )


def _is_callable(url: str) -> bool:
    """Whether `requests` can parse a URL, and its host can be looked up: each label has 1 to 63 bytes."""
    try:
        (urlsplit(requests.Request("POST", url).prepare().url or "").hostname or "").encode("idna")
    except ValueError:  # an InvalidURL of `requests`, a LocationParseError of urllib3, a UnicodeError
        return False
    return True


def parse_function_url(url: str) -> FunctionName:
    """Return the parts of the resource name that a function's URL contains.

    `https://REGION-PROJECT.cloudfunctions.net/FUNCTION` contains the function's name but not the service's.
    `https://[TAG---]SERVICE-PROJECT_NUMBER.REGION.run.app` contains the service's name but not the function's. Other
    URLs, such as `https://SERVICE-HASH-ew.a.run.app`, contain neither project nor region.
    Source: https://cloud.google.com/run/docs/triggering/https-request ("Deterministic URL").
    """
    url = redacted(url)
    match = _FUNCTION_URL.fullmatch(url) or _SERVICE_URL.fullmatch(url)
    return FunctionName(**match.groupdict()) if match else FunctionName()


def is_loopback(host: str) -> bool:
    """Whether the name or address of a host always means this machine."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_platform_url(url: str) -> bool:
    """Whether a URL has one of the hosts that Google gives to functions and Cloud Run services."""
    return (urlsplit(url).hostname or "").endswith((".run.app", ".cloudfunctions.net"))


def function_console_url(name: FunctionName) -> str | None:
    """Return the link to a function, or to its Cloud Run service, in the console. None if too little is known."""
    if not (name.project and name.region):
        return None
    if name.function:
        query = urlencode({"env": "gen2", "project": name.project})
        return f"{CONSOLE}/functions/details/{name.region}/{name.function}?{query}"
    if name.service:
        return f"{CONSOLE}/run/detail/{name.region}/{name.service}?{urlencode({'project': name.project})}"
    return None


def redacted(url: str) -> str:
    """Return a URL without user, password, query and fragment, because they may be secrets.

    The scheme and the host are in lower case. Text that is not a URL is cut at the first character that may start one
    of these parts. If it contains an @, none of it is shown.
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
