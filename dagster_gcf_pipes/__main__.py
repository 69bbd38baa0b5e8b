"""Runs the command line: `python -m dagster_gcf_pipes`."""

from dagster_gcf_pipes._cli import main

main()
