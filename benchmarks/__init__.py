"""Measures our pair of Pipes parts and the stock pair, side by side: `python -m benchmarks`."""
