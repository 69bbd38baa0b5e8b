"""Prints the findings."""

import json
import os
from collections.abc import Iterable, Sequence
from typing import Any, Final

import click

from dagster_gcf_pipes._conformance.findings import Finding

_STYLES: Final = {
    "ok": ("ok", "green"),
    "failed": ("FAILED", "red"),
    "not_there": ("not there", "yellow"),
    "skipped": ("skipped", "yellow"),
}
_INDENT: Final = " " * 11


def show(findings: Iterable[Finding], *, as_json: bool) -> int:
    """Print the findings, one a line, or all as a JSON array. Return the exit code."""
    shown = list(findings)
    if as_json:
        click.echo(json.dumps([_as_json(finding) for finding in shown], indent=2))
    else:
        for finding in shown:
            click.echo(_styled(finding), color=False if "NO_COLOR" in os.environ else None)
        click.echo(_summary(shown))
    return 0 if all(finding.holds for finding in shown) else 1


def _styled(finding: Finding) -> str:
    text, color = _STYLES[finding.status]
    status = click.style(f"{text:<{len(_INDENT)}}", fg=color)
    optional = "" if finding.requirement.required else " (optional)"
    does = f"\n{_INDENT}The function: {finding.requirement.text}" if finding.status == "failed" else ""
    fix = f"\n{_INDENT}Fix: {finding.fix}" if finding.fix else ""
    return f"{status}{finding.requirement.name}{optional}: {finding.text}{does}{fix}"


def _summary(findings: Sequence[Finding]) -> str:
    counts = {status: sum(each.status == status for each in findings) for status in _STYLES}
    return ", ".join(f"{count} {_STYLES[status][0]}" for status, count in counts.items() if count)


def _as_json(finding: Finding) -> dict[str, Any]:
    return {
        "requirement": finding.requirement.name,
        "required": finding.requirement.required,
        "status": finding.status,
        "text": finding.text,
        "fix": finding.fix,
    }
