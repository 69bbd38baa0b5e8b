"""Everything between Dagster and the bucket: the context that goes out, and the messages that come in.

It knows neither HTTP nor the resource: it imports `_errors`, and what both halves share, and nothing else of ours.
"""
