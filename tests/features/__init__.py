"""Each snippet of examples/features runs as a user runs it.

A test imports the snippet that it runs: `from examples.features import assets`, and then `assets.defs`. Its fixtures
say where it runs. `instance` is a real instance, on SQLite and on PostgreSQL: `runs.py` has what runs a snippet in this
process. `daemon` is a daemon and a webserver on both: add the snippet to `code_location.py`, and its test to
`test_daemon.py`. All schedules and sensors are started at the beginning, so put a test that waits long last.

The functions are entry points of examples/features/functions/main.py. Each snippet has a row in
docs/reference/dagster-features.md, and `test_table.py` holds rows, snippets and tests together.
"""
