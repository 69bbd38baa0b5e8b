"""The functions that the benchmark calls. Each folder is one function."""
