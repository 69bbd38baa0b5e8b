"""Messages that reach Dagster without a bucket."""
