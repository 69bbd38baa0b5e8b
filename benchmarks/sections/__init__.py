"""The sections of the benchmark: each measures both pairs and yields rows of the table."""
