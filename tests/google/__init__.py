"""Google's hosts for the tests: stand-ins on this machine that real client code reaches by their real names.

    with run_network() as network:
        network.serve("iamcredentials.googleapis.com", app)      # any WSGI application, such as a Flask app
        for name, value in network.environment.items():
            monkeypatch.setenv(name, value)
        ...                                                     # https://iamcredentials.googleapis.com is the app

Nothing of the client is changed. Its `requests` sessions find a proxy and a certificate authority in the environment,
as they do in a company's network, and the proxy knows no host but those that are served.
"""

from tests.google.network import Network, run_network

__all__ = ["Network", "run_network"]
