"""Example definitions for Dagster: run them with `just dev`."""
