"""Checks of this machine: its clock, and the identity that calls."""

import time
from email.utils import parsedate_to_datetime
from typing import Final

from dagster_gcf_pipes._doctor.findings import ProblemError, SkippedError
from dagster_gcf_pipes._doctor.setup import Setup
from dagster_gcf_pipes._functions import redacted
from dagster_gcf_pipes._http import fetch
from dagster_gcf_pipes._log_query import CLOCK_SKEW

_CLOCK_URL: Final = "https://storage.googleapis.com/"
"""A host that every set-up needs. Its response has the time, whatever its status."""
_TIMEOUT: Final = (10.0, 10.0)
_SET_CLOCK: Final = (
    "Set this machine's clock: `sudo timedatectl set-ntp true` on Linux, `sudo sntp -sS time.apple.com` on macOS."
)


def check_clock(setup: Setup) -> str:
    """Compare this machine's clock with the time in a response of Google: a token has times in it."""
    if not setup.options.uses_google:
        raise SkippedError("nothing to check is in the cloud")
    before = time.time()
    response = fetch(_CLOCK_URL, timeout=_TIMEOUT)
    skew = _skew(before, response.headers.get("Date", ""))
    if abs(skew) > CLOCK_SKEW.total_seconds():
        direction = "ahead of" if skew > 0 else "behind"
        raise ProblemError(f"This machine's clock is {abs(skew):.0f} s {direction} Google's.\nFix: {_SET_CLOCK}")
    return "this machine's clock agrees with Google's"


def _skew(before: float, date: str) -> float:
    """Return how far this machine's clock is ahead at least, in seconds. The date is in whole seconds."""
    try:
        google = parsedate_to_datetime(date).timestamp()
    except (ValueError, OverflowError) as error:
        raise SkippedError(f"the response of {_CLOCK_URL} does not have the time") from error
    return max(before - (google + 1), 0) or min(time.time() - google, 0)


def check_identity(setup: Setup) -> str:
    """Find the identity, and get a token that shows that Google accepts it."""
    if not setup.options.uses_google:
        raise SkippedError("nothing to check is in the cloud, so no credentials are needed")
    setup.identity.check()
    return setup.identity.describe()


def check_id_token(setup: Setup) -> str:
    """Get an ID token for the function."""
    target = setup.target
    if not setup.options.function_is_remote:
        raise SkippedError(f"no ID token is sent to {redacted(target.url)}: it is not https, or on this machine")
    token = setup.identity.id_token(setup.audience)
    if token is None:
        raise SkippedError(f"{setup.identity.describe()} cannot create ID tokens, which a private function needs")
    return f"of {token.email or 'an unnamed account'} for {setup.audience}"
