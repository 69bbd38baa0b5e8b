"""Tests of what a browser shows of `just dev`: run them with `just ui`."""
