"""One small module for each feature of Dagster, with functions on Google Cloud: docs/reference/dagster-features.md."""
