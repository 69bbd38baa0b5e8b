"""Google's state in the tests: the accounts, who may impersonate which, and the tokens."""

import secrets
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import Any, Final

from tests.google import keys

GOOGLE: Final = "google"
ISSUER: Final = "https://accounts.google.com"


@dataclass
class Accounts:
    """The state behind the stand-ins; a test changes it while they run.

    Attributes:
        service_accounts: The emails of those that exist.
        refresh_tokens: The member for each valid refresh token.
        token_creators: For each service account, the members who may impersonate it.
        attached: The service account that is attached to the machine, or None.
        lifetime: Seconds for which an ID token is valid.
        clock_offset: Seconds by which Google's clock is ahead of this machine's.
        statuses: For each endpoint, error statuses of its next responses; None for a response that is not one.
        asked: The number of requests to each endpoint.
        issued: All ID tokens and access tokens that were given out.
    """

    service_accounts: set[str] = field(default_factory=set)
    refresh_tokens: dict[str, str] = field(default_factory=dict)
    token_creators: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    attached: str | None = None
    lifetime: int = 3600
    clock_offset: float = 0
    statuses: dict[str, list[int | None]] = field(default_factory=lambda: defaultdict(list))
    asked: Counter[str] = field(default_factory=Counter)
    issued: list[str] = field(default_factory=list)
    _access_tokens: dict[str, str] = field(default_factory=dict)

    def now(self) -> float:
        """Return the time on Google's clock."""
        return time.time() + self.clock_offset

    def new_id_token(self, email: str, audience: str, *, include_email: bool = True) -> str:
        """Sign an ID token as Google does."""
        now = int(self.now())
        claims: dict[str, Any] = {
            "iss": ISSUER,
            "aud": audience,
            "azp": "1" * 21,
            "sub": "1" * 21,
            "iat": now,
            "exp": now + self.lifetime,
            "jti": secrets.token_hex(8),  # so that no two of one second are equal
        }
        if include_email:
            claims |= {"email": email, "email_verified": True}
        return self._keep(keys.sign(GOOGLE, claims))

    def new_access_token(self, member: str) -> str:
        """Make an access token, which is opaque."""
        token = self._keep(f"ya29.{secrets.token_urlsafe(40)}")
        self._access_tokens[token] = member
        return token

    def member_of(self, authorization: str | None) -> str | None:
        """Return whose access token an Authorization header carries."""
        return self._access_tokens.get((authorization or "").removeprefix("Bearer "))

    def may_create_tokens(self, member: str, service_account: str) -> bool:
        return service_account in self.service_accounts and member in self.token_creators[service_account]

    def _keep(self, token: str) -> str:
        self.issued.append(token)
        return token


def service_account_member(email: str) -> str:
    return f"serviceAccount:{email}"
