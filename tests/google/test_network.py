"""The network of stand-ins: real clients reach what is served, over TLS that they check, and nothing else."""

import flask
import pytest
import requests

from tests.google.network import Network


def echo_app() -> flask.Flask:
    app = flask.Flask("echo")

    @app.route("/", defaults={"path": ""}, methods=["GET", "POST"])
    @app.route("/<path:path>", methods=["GET", "POST"])
    def echo(path: str) -> dict[str, object]:
        return {"url": flask.request.url, "body": flask.request.get_data(as_text=True), "method": flask.request.method}

    return app


def test_a_host_is_reached_by_its_name_over_tls(network: Network) -> None:
    network.serve("iamcredentials.googleapis.com", echo_app())
    answer = requests.post("https://iamcredentials.googleapis.com/v1/x?y=z", data=b"some body", timeout=10).json()
    assert answer == {"url": "https://iamcredentials.googleapis.com/v1/x?y=z", "body": "some body", "method": "POST"}


def test_a_host_is_reached_over_plain_http(network: Network) -> None:
    """As the metadata server is."""
    network.serve("metadata.google.internal", echo_app(), tls=False)
    answer = requests.post("http://metadata.google.internal/a?b=c", data=b"x" * 300_000, timeout=10).json()
    assert answer == {"url": "http://metadata.google.internal/a?b=c", "body": "x" * 300_000, "method": "POST"}


def test_a_host_that_nothing_serves_is_refused(network: Network) -> None:
    with pytest.raises(requests.exceptions.ProxyError):
        requests.get("https://storage.googleapis.com/", timeout=10)
    assert requests.get("http://169.254.169.254/", timeout=10).status_code == 502
    assert network.routes.refused == [("storage.googleapis.com", 443), ("169.254.169.254", 80)]


def test_a_client_checks_the_certificate(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    network.serve("oauth2.googleapis.com", echo_app())
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    with pytest.raises(requests.exceptions.SSLError):
        requests.get("https://oauth2.googleapis.com/", timeout=10)


def test_loopback_needs_no_proxy(network: Network) -> None:
    with pytest.raises(requests.exceptions.ConnectionError):
        requests.get("http://127.0.0.1:9/", timeout=10)  # port 9, discard: nothing listens there
    assert network.routes.asked == []
