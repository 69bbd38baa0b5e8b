"""The sections of the benchmark: each measures both implementations and yields rows of the table."""
