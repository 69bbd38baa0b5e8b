"""The audience of an ID token, where one may be sent, and what is recorded of the caller."""

import logging

import pytest
import requests
from google.auth.credentials import AnonymousCredentials

from dagster_gcf_pipes._auth import FunctionAuth, audience_of, needs_token
from dagster_gcf_pipes._credentials import Identity
from dagster_gcf_pipes._fixes import CallerIdentity
from dagster_gcf_pipes._functions import FunctionName

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


ANONYMOUS = "credentials of the type google.auth.credentials.AnonymousCredentials"
ORDERS = FunctionName("my-project", "europe-west1", "orders")


def auth() -> FunctionAuth:
    return FunctionAuth(Identity(AnonymousCredentials), audience=None, log=logging.getLogger("test"), function=ORDERS)


def test_a_session_that_authenticates_by_itself_has_no_known_caller() -> None:
    assert auth().caller == CallerIdentity(function=ORDERS)


@pytest.mark.parametrize(
    ("url", "caller"),
    [
        ("http://127.0.0.1:8080", CallerIdentity(needs_token=False, audience="http://127.0.0.1:8080", function=ORDERS)),
        ("https://a.run.app/", CallerIdentity(ANONYMOUS, True, audience="https://a.run.app", function=ORDERS)),
    ],
)
def test_the_caller_without_a_token_is_recorded(url: str, caller: CallerIdentity) -> None:
    authentication = auth()
    request = authentication(requests.Request("POST", url).prepare())
    assert "Authorization" not in request.headers
    assert authentication.caller == caller
