"""A test that all definitions load: nothing is called, and no variable needs a value."""

import dagster as dg

from examples.features.assets import defs


def test_definitions_load() -> None:
    """Run it with pytest."""
    dg.Definitions.validate_loadable(defs)
