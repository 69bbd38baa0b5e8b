"""Test functions, and the assets that call them, without a cloud."""
