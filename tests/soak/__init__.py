"""Runs for minutes on end, with random faults on the way: nothing is lost, doubled or hidden, and no memory grows."""
