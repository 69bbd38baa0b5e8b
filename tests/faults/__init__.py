"""Faults on the wire, and what the two halves do when they are injected."""
