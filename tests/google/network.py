"""A network of this machine: WSGI applications under the names of hosts, with certificates, behind a proxy."""

import ssl
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import trustme

from tests.google.proxy import Routes, run_proxy
from tests.serving import serving

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication


class Network:
    """Hosts that are served on this machine, and how a client reaches them. See `run_network`.

    Attributes:
        environment: The variables with which `requests`, and so google-auth and the REST clients, reach the hosts.
        routes: What is served, what clients asked for, and what was refused to them.
    """

    def __init__(self, proxy_url: str, ca_bundle: Path, ca: trustme.CA, routes: Routes, stack: ExitStack) -> None:
        self.environment = _environment(proxy_url, ca_bundle)
        self.routes = routes
        self._ca = ca
        self._stack = stack

    def serve(self, host: str, app: "WSGIApplication", *, tls: bool = True) -> None:
        """Serve an application as `https://{host}`, or as `http://{host}` without TLS, until the network ends."""
        context = self._tls_context(host) if tls else None
        self.routes.ports[host, 443 if tls else 80] = self._stack.enter_context(serving(app, context))

    def forward(self, host: str, url: str) -> str:
        """Make a server of this machine reachable under another name, and return its URL there."""
        self.routes.ports[host, 80] = urlsplit(url).port or 80
        return f"http://{host}"

    def _tls_context(self, host: str) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._ca.issue_cert(host).configure_cert(context)
        return context


@contextmanager
def run_network() -> Iterator[Network]:
    """Run a network of its own proxy and certificate authority while the block runs."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        ca, routes = trustme.CA(), Routes()
        ca_bundle = directory / "ca.pem"
        ca.cert_pem.write_to_path(str(ca_bundle))
        yield Network(stack.enter_context(run_proxy(routes)), ca_bundle, ca, routes, stack)


def _environment(proxy_url: str, ca_bundle: Path) -> dict[str, str]:
    """Return each variable in both cases: `requests` prefers the lower one, and either may be set on a machine."""
    proxies = {"HTTPS_PROXY": proxy_url, "HTTP_PROXY": proxy_url, "NO_PROXY": "127.0.0.1,localhost"}
    return {
        **proxies,
        **{name.lower(): value for name, value in proxies.items()},
        "REQUESTS_CA_BUNDLE": str(ca_bundle),
    }
