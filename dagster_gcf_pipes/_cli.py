"""The command `dagster-gcf-pipes`."""

import click


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="dagster-gcf-pipes")
def main() -> None:
    """Develop cloud functions that Dagster calls, run them on this machine, and check them in the cloud."""
