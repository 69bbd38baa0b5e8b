"""How halves of different versions work together, or say which one to upgrade.

Each half says its version, the version of its wire protocol, and names of capabilities. The Dagster side says it in the
headers of a request, with the capabilities that this call needs. The function says it in the headers of each response
and in `opened`, with the capabilities that it has. A half that says nothing is not judged.

Only the protocol and the capabilities decide. The versions of the packages are for the texts.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from gcf_pipes._shared.protocol import PROTOCOL, PROTOCOL_HEADER, VERSION, VERSION_HEADER, OpenedExtras

_UPGRADE_DAGSTER: Final = "Fix: Upgrade Dagster's side: `pip install --upgrade dagster-gcf-pipes` where Dagster runs."
_VERSION: Final = re.compile(r"[0-9]{1,9}\.[0-9]{1,9}[0-9A-Za-z.+-]{0,40}")
_PROTOCOL: Final = re.compile(r"([1-9][0-9]{0,3})((?: [a-z][a-z0-9_]{0,39}){0,20})")


@dataclass(frozen=True)
class Half:
    """What one half says about itself.

    Attributes:
        protocol: The version of its wire protocol.
        capabilities: Those that a function has, or those that a call needs.
        version: The version of its package, or None if it is not known.
    """

    protocol: int
    capabilities: frozenset[str] = frozenset()
    version: str | None = None

    @classmethod
    def ours(cls, capabilities: Iterable[str] = ()) -> "Half":
        """Return this half, with some capabilities."""
        return cls(PROTOCOL, frozenset(capabilities), VERSION)

    @classmethod
    def parse(cls, protocol: str | None, version: str | None) -> "Half | None":
        """Return the other half, or None if it does not say its protocol, or in another form."""
        match = _PROTOCOL.fullmatch(protocol or "")
        if not match:
            return None
        return cls(int(match[1]), frozenset(match[2].split()), valid_version(version))

    @property
    def protocol_text(self) -> str:
        """The version of the protocol and the capabilities, as `parse` takes them."""
        return " ".join([str(self.protocol), *sorted(self.capabilities)])

    @property
    def headers(self) -> dict[str, str]:
        """The headers of a request or a response."""
        return {PROTOCOL_HEADER: self.protocol_text, VERSION_HEADER: self.version or ""}

    @property
    def opened_extras(self) -> OpenedExtras:
        """The facts for `opened`."""
        return OpenedExtras(protocol=self.protocol_text, version=self.version or "")


def valid_version(text: str | None) -> str | None:
    """Return the version of a package, or None if it has not the form of one. The other half's text is untrusted."""
    return text if text and _VERSION.fullmatch(text) else None


def protocol_problem(*, function: Half, dagster: Half) -> str:
    """Return why the halves cannot work together, and which one to upgrade, or an empty text."""
    if function.protocol == dagster.protocol:
        return ""
    return (
        f"Expected both sides to have one version of the wire protocol, got {function.protocol} from "
        f"{_describe_function(function)} and {dagster.protocol} from {_describe_dagster(dagster)}.\n"
        f"{_upgrade_function(dagster) if function.protocol < dagster.protocol else _UPGRADE_DAGSTER}"
    )


def capability_problem(*, function: Half | None, dagster: Half) -> str:
    """Return what Dagster's side uses and the function does not announce, and what to do, or an empty text."""
    missing = dagster.capabilities - (function.capabilities if function else frozenset())
    if not missing:
        return ""
    names = ", ".join(f"`{name}`" for name in sorted(missing))
    return (
        f"Expected {_describe_function(function)} to announce {names}, which {_describe_dagster(dagster)} uses, but it "
        "does not.\n"
        f"{_upgrade_function(dagster)} Its entry point has to be decorated with `gcf_pipes.pipes_function`."
    )


def _upgrade_function(dagster: Half) -> str:
    version = dagster.version or "the version of Dagster's side"
    return f"Fix: Upgrade the function: set `gcf-pipes` in its requirements.txt to {version}, and deploy it again."


def _describe_function(function: Half | None) -> str:
    return f"the function's gcf_pipes {function.version or ''}".rstrip() if function else "the function"


def _describe_dagster(dagster: Half) -> str:
    return f"dagster-gcf-pipes {dagster.version or ''}".rstrip()
