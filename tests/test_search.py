"""The search of the documentation site finds an error by any part of its text, in a real browser."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import quote_plus

import pytest

from tests.quotes import PAGES

pytest.importorskip("sphinx", reason="the group `docs` is not installed: `just search` installs it")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")

ERRORS = "reference/errors.html"
TROUBLESHOOTING = "operations/troubleshooting.html"


class Handler(SimpleHTTPRequestHandler):
    def log_message(self, *arguments: object) -> None: ...


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of the site."""
    folder = tmp_path_factory.mktemp("site")
    subprocess.run([sys.executable, "-m", "sphinx", "--quiet", str(PAGES), str(folder)], check=True, timeout=300)
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder))) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def found(site: str, text: str, profile: Path) -> list[str]:
    """Search for a text, and return the pages of the results in their order."""
    assert CHROMIUM
    browser = [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={profile}"]
    url = f"{site}/search.html?q={quote_plus(text)}"
    page = subprocess.run(
        [*browser, "--virtual-time-budget=20000", "--dump-dom", url],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    ).stdout
    results = page.partition('id="search-results"')[2]
    return [re.sub(r"[?#].*", "", link) for link in re.findall(r'<li[^>]*><a href="([^"]+)"', results)]


@pytest.mark.parametrize(
    "text",
    [
        "lacks `roles/run.invoker` on the function's Cloud Run service",
        "roles/run.invoker",
        "(503 storage_unavailable): Cannot create gs://",
        "`function_url=` in place of `url=`",
        "No ID token is sent over plain http.\nFix: Write https:// instead",
        "did you mean 'function_timeout'? [type=value_error",
        "https://cloud.google.com/docs/authentication/external/set-up-adc",
        'The log says: "Memory limit of 256 MiB exceeded',
        "--member=user:YOUR_EMAIL --role=roles/iam.serviceAccountTokenCreator`, or",
        "expected its state to be ACTIVE, got FAILED (CloudRunServiceFailed: Container",
        "it is not asynchronous, and has already",
    ],
)
def test_an_error_is_found_by_a_part_of_its_text(site: str, text: str, tmp_path: Path) -> None:
    assert {ERRORS, TROUBLESHOOTING} <= set(found(site, text, tmp_path)[:4])


@pytest.mark.parametrize(
    "text",
    [
        "[Errno 2] the bucket 'acme-lake-2' does not exist.\nFix: Check the bucket's name in the Dagster resource",
        "Could not connect to the function: 127.0.0.1:51734 refused the connection.",
        "Allow etl@acme-prod.iam.gserviceaccount.com to call the function: `gcloud run services add-iam-policy-binding",
    ],
)
def test_names_of_your_own_do_not_matter(site: str, text: str, tmp_path: Path) -> None:
    assert {ERRORS, TROUBLESHOOTING} <= set(found(site, text, tmp_path)[:4])


def test_a_text_of_no_error_is_not_found(site: str, tmp_path: Path) -> None:
    assert found(site, "xyzzy plugh", tmp_path) == []
