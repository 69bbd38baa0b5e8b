"""The snippets that need a daemon. They are in one file, so that one process runs them: they share a daemon."""

from tests.features.daemon import Daemon
from tests.features.runs import materialized, metadata


def test_schedules(daemon: Daemon) -> None:
    (run,) = daemon.finished_runs(tags={"dagster/schedule_name": "each_morning"})
    assert run.is_success
    assert metadata(materialized(daemon.instance, run)["daily_report"])["rows"] == 3
