"""Prints the findings."""

import dataclasses
import json
import os
from collections.abc import Iterable
from typing import Final

import click

from dagster_gcf_pipes._doctor.findings import Finding

_COLORS: Final = {"ok": "green", "problem": "red", "skipped": "yellow"}
_INDENT: Final = " " * 9


def show(findings: Iterable[Finding], *, as_json: bool) -> int:
    """Print the findings, each when it is there, or all as a JSON array. Return the exit code."""
    shown = []
    for finding in findings:
        shown.append(finding)
        if not as_json:
            click.echo(_styled(finding), color=False if "NO_COLOR" in os.environ else None)
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(finding) for finding in shown], indent=2))
    return 1 if any(finding.status == "problem" for finding in shown) else 0


def _styled(finding: Finding) -> str:
    status = click.style(f"{finding.status:<{len(_INDENT)}}", fg=_COLORS[finding.status])
    fix = f"\n{_INDENT}Fix: {finding.fix}" if finding.fix else ""
    return f"{status}{finding.check}: {finding.text}{fix}"
