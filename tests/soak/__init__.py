"""Runs with random faults, for minutes: nothing is lost, doubled or hidden, and memory does not grow."""
