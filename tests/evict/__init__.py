"""Kills Dagster's processes at each point in the life of a call, starts again, and counts what the user sees."""
