"""Measures our implementation of Pipes and Dagster's own (stock), side by side: `python -m benchmarks`."""
