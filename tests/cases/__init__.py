"""The end-to-end cases: one list, which runs for each language and each channel."""
