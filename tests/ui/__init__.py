"""Tests of what Dagster's UI shows in a browser: run them with `just ui`."""
