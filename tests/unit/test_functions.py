"""Names and URLs of functions: the project, the region and the service in them."""

import pytest

from dagster_gcf_pipes import PipesCloudFunctionRequestError
from dagster_gcf_pipes._functions import (
    FunctionName,
    check_url,
    function_console_url,
    parse_function_name,
    parse_function_url,
    redacted,
)
from tests.quotes import Quote

FULL_NAME = "projects/my-project/locations/europe-west1/functions/orders"


@pytest.mark.parametrize("name", ["orders", "o", "Orders2", "load-orders", "load_orders", "a" * 63])
def test_plain_name_is_in_the_given_project_and_region(name: str) -> None:
    parsed = parse_function_name(name, project="my-project", region="europe-west1")
    assert parsed.resource_name == f"projects/my-project/locations/europe-west1/functions/{name}"


@pytest.mark.parametrize("project", ["my-project", "123456789012", "example.com:my-project"])
def test_full_name_says_its_project_and_region_itself(project: str) -> None:
    name = f"projects/{project}/locations/us-central1/functions/orders"
    parsed = parse_function_name(name, project="other-project", region="europe-west1")
    assert parsed == FunctionName(project, "us-central1", "orders")
    assert parsed.resource_name == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        " orders",
        "orders\n",
        "1orders",
        "orders-",
        "a" * 64,
        "https://orders.example.com",
        "functions/orders",
        "projects/my-project/functions/orders",
        "projects/my-project/locations/europe-west1/services/orders",
        "projects/my-project/locations/europe-west1-b/functions/orders",
        "projects/../locations/europe-west1/functions/orders",
    ],
)
def test_refuses_what_is_no_name(name: str) -> None:
    with pytest.raises(PipesCloudFunctionRequestError, match="Expected the name of a function") as caught:
        parse_function_name(name, project="my-project", region="europe-west1")
    assert repr(name) in str(caught.value)
    assert caught.value.allow_retries is False


@pytest.mark.parametrize(
    ("project", "region", "missing"),
    [(None, None, "project and region"), ("my-project", None, "region"), (None, "europe-west1", "project")],
)
def test_plain_name_needs_project_and_region(project: str | None, region: str | None, missing: str) -> None:
    with pytest.raises(PipesCloudFunctionRequestError, match=f"cannot be looked up without its {missing}\\.") as caught:
        parse_function_name("orders", project=project, region=region)
    assert "Set `project` and `region` of the resource, or pass the full resource name" in str(caught.value)


def test_the_error_of_a_plain_name_alone_is_quoted(quote: Quote) -> None:
    with pytest.raises(PipesCloudFunctionRequestError) as caught:
        parse_function_name("orders")
    quote("neither_project_nor_region", str(caught.value.description))


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://europe-west1-my-project-1.cloudfunctions.net/orders", ("my-project-1", "europe-west1", "orders")),
        (
            "https://us-central1-my-project.cloudfunctions.net/load_orders/daily?full=1",
            ("my-project", "us-central1", "load_orders"),
        ),
        ("https://northamerica-northeast2-p12345.cloudfunctions.net/f", ("p12345", "northamerica-northeast2", "f")),
        ("https://orders-123456789012.europe-west1.run.app", ("123456789012", "europe-west1", None, "orders")),
        (
            "https://load-orders-2-123456789012.us-central1.run.app/daily",
            ("123456789012", "us-central1", None, "load-orders-2"),
        ),
        (
            "https://canary---orders-123456789012.europe-west1.run.app/",
            ("123456789012", "europe-west1", None, "orders"),
        ),
        ("https://orders-abcdefghij-ew.a.run.app", ()),
        ("https://orders.example.com", ()),
        ("http://127.0.0.1:8080/", ()),
        ("https://europe-west1-my-project.cloudfunctions.net.example.com/orders", ()),
        ("https://example.com/europe-west1-my-project.cloudfunctions.net/orders", ()),
    ],
)
def test_name_in_a_url(url: str, name: tuple[str | None, ...]) -> None:
    assert parse_function_url(url) == FunctionName(*name)


@pytest.mark.parametrize(
    "url",
    [
        "https://orders-abcdefghij-ew.a.run.app",
        "https://europe-west1-my-project.cloudfunctions.net/orders?a=b",
        "http://127.0.0.1:8080/",
        "http://run.app.example.com/",
    ],
)
def test_accepts_a_url(url: str) -> None:
    check_url(url)


@pytest.mark.parametrize(
    "url", ["", "orders", "orders.run.app", "ftp://a", "https://", "https://a b", "https://a\n", "//a"]
)
def test_refuses_what_is_no_url(url: str) -> None:
    with pytest.raises(PipesCloudFunctionRequestError, match="Expected the URL of a function, such as https://"):
        check_url(url)


@pytest.mark.parametrize("host", ["orders-abc-ew.a.run.app", "europe-west1-p.cloudfunctions.net", "a.run.app:80"])
@pytest.mark.parametrize("path", ["", "/orders", "?a=b"])
def test_refuses_plain_http_to_the_platform(host: str, path: str) -> None:
    with pytest.raises(PipesCloudFunctionRequestError, match="No ID token is sent over plain http"):
        check_url(f"http://{host}{path}")


def test_the_case_of_scheme_and_host_does_not_matter() -> None:
    parsed = parse_function_url("HTTPS://Europe-West1-my-project.CloudFunctions.NET/Orders?key=x")
    assert parsed == FunctionName("my-project", "europe-west1", "Orders")
    with pytest.raises(PipesCloudFunctionRequestError, match="Expected an https URL"):
        check_url("HTTP://Orders-123-ew.a.RUN.app")


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://host:8443/orders", "https://host:8443/orders"),
        ("https://user:secret@host/orders?key=secret#secret", "https://host/orders"),
        ("https://host?key=secret", "https://host"),
        ("http://[::1]:8080/orders", "http://[::1]:8080/orders"),
        ("https://user:se?cret@host", "..."),
        ("https://host:port/?key=secret", "https://host..."),
        ("user:secret@host/orders", "..."),
        ("host/orders?key=secret", "host/orders..."),
        ("orders", "orders"),
        ("", ""),
    ],
)
def test_what_may_be_secret_of_a_url_is_not_shown(url: str, shown: str) -> None:
    assert redacted(url) == shown


@pytest.mark.parametrize(
    ("name", "url"),
    [
        (
            FunctionName("my-project", "europe-west1", "orders", "orders"),
            "https://console.cloud.google.com/functions/details/europe-west1/orders?env=gen2&project=my-project",
        ),
        (
            FunctionName("example.com:my-project", "us-central1", "f"),
            "https://console.cloud.google.com/functions/details/us-central1/f?env=gen2&project=example.com%3Amy-project",
        ),
        (
            FunctionName("123456789012", "europe-west1", service="orders"),
            "https://console.cloud.google.com/run/detail/europe-west1/orders?project=123456789012",
        ),
        (FunctionName("my-project", "europe-west1"), None),
        (FunctionName("my-project", None, "orders"), None),
        (FunctionName(None, "europe-west1", "orders"), None),
        (FunctionName(), None),
    ],
)
def test_console_url_of_a_function(name: FunctionName, url: str | None) -> None:
    assert function_console_url(name) == url
