"""Whom an ID token is for, and where one may be sent."""

import pytest

from dagster_gcf_pipes._auth import audience_of, needs_token

REGIONAL = "https://europe-west1-my-project.cloudfunctions.net"


@pytest.mark.parametrize(
    ("url", "audience"),
    [
        ("https://orders-abc-ew.a.run.app", "https://orders-abc-ew.a.run.app"),
        ("https://orders-abc-ew.a.run.app/", "https://orders-abc-ew.a.run.app"),
        ("https://orders-abc-ew.a.run.app/sub/path?a=b#c", "https://orders-abc-ew.a.run.app"),
        ("https://Orders-ABC-ew.a.run.app", "https://orders-abc-ew.a.run.app"),
        ("https://orders-123.europe-west1.run.app/", "https://orders-123.europe-west1.run.app"),
        ("https://orders.example.com:8443/a", "https://orders.example.com:8443"),
        ("https://user:password@orders.example.com/", "https://orders.example.com"),
        (f"{REGIONAL}/orders", f"{REGIONAL}/orders"),
        (f"{REGIONAL}/orders/", f"{REGIONAL}/orders"),
        (f"{REGIONAL}/orders/sub?a=b", f"{REGIONAL}/orders"),
        (f"{REGIONAL}/", REGIONAL),
        ("https://cloudfunctions.net.example.com/orders", "https://cloudfunctions.net.example.com"),
    ],
)
def test_audience_of_a_url(url: str, audience: str) -> None:
    assert audience_of(url) == audience


@pytest.mark.parametrize(
    ("url", "takes"),
    [
        ("https://orders-abc-ew.a.run.app/", True),
        ("https://10.0.0.1/", True),
        ("https://localhost.example.com/", True),
        ("http://orders-abc-ew.a.run.app/", False),
        ("http://10.0.0.1:8080/", False),
        ("http://localhost:8080/", False),
        ("https://localhost/", False),
        ("https://orders.localhost/", False),
        ("https://127.0.0.1:8443/", False),
        ("https://127.8.9.10/", False),
        ("https://[::1]/", False),
        ("", False),
    ],
)
def test_a_token_goes_over_tls_to_other_machines_alone(url: str, takes: bool) -> None:
    assert needs_token(url) is takes


def test_the_case_of_scheme_and_host_does_not_matter() -> None:
    url = "HTTPS://Europe-West1-my-project.CloudFunctions.NET/Orders"
    assert audience_of(url) == "https://europe-west1-my-project.cloudfunctions.net/Orders"
    assert needs_token(url)
    assert not needs_token("HTTPS://LocalHost")
