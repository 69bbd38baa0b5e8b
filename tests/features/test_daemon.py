"""The snippets that need a daemon. They are in one file, so that one process runs them: they share a daemon.

All schedules and sensors are started when the daemon is. Their tests are last, because they wait longest.
"""

from examples.features import declarative_automation, freshness, launchpad, pools, run_retries, schedules, sensors
from tests.features.daemon import Daemon
from tests.features.runs import materialized, reported
from tests.waiting import wait_until

FRESHNESS = """
query ($key: AssetKeyInput!) {
  assetNodeOrError(assetKey: $key) { ... on AssetNode { freshnessStatusInfo { freshnessStatus } } }
}
"""


def test_launchpad_config(daemon: Daemon) -> None:
    config = {"ops": {"shipments": {"config": {"rows": 5}}}}
    run = daemon.finished_run(daemon.launch(launchpad, "shipments_job", runConfigData=config))
    assert run.is_success
    assert reported(materialized(daemon.instance, run)["shipments"])["rows"] == 5


def test_run_retries(daemon: Daemon) -> None:
    first = daemon.launch(run_retries, "invoices_job")
    failed, retried = daemon.finished_runs(count=2, job_name="invoices_job")
    assert (failed.run_id, failed.is_failure, retried.is_success) == (first, True, True)
    assert retried.parent_run_id == first
    assert reported(materialized(daemon.instance, retried)["invoices"]) == {"attempt": 1}


def test_pools(daemon: Daemon) -> None:
    daemon.instance.event_log_storage.set_concurrency_slots("warehouse", 1)
    for job in ("debtors_job", "creditors_job"):
        daemon.launch(pools, job)
    runs = [daemon.finished_runs(job_name=job)[0] for job in ("debtors_job", "creditors_job")]
    assert all(run.is_success for run in runs)
    first, second = sorted(map(daemon.step_times, runs))
    assert first[1] <= second[0]


def test_freshness_policies(daemon: Daemon) -> None:
    def status() -> str:
        node = daemon.dagster.ask(FRESHNESS, key={"path": ["prices"]})["assetNodeOrError"]
        return str(node["freshnessStatusInfo"]["freshnessStatus"])

    wait_until(lambda: status() == "UNKNOWN")
    assert daemon.finished_run(daemon.launch(freshness, "prices_job")).is_success
    wait_until(lambda: status() == "HEALTHY")


def test_sensors(daemon: Daemon) -> None:
    (run,) = daemon.finished_runs(tags={"dagster/sensor_name": sensors.each_file.name})
    assert run.is_success
    assert reported(materialized(daemon.instance, run)["arrivals"])["rows"] == 3


def test_declarative_automation(daemon: Daemon) -> None:
    wait_until(lambda: daemon.has_ticked("automation"))  # what was there before does not count as new
    daemon.launch(declarative_automation, "clicks_job")
    (run,) = daemon.finished_runs(tags={"dagster/sensor_name": "automation"})
    assert run.is_success
    assert list(materialized(daemon.instance, run)) == ["visits"]


def test_schedules(daemon: Daemon) -> None:
    (run,) = daemon.finished_runs(tags={"dagster/schedule_name": schedules.each_morning.name})
    assert run.is_success
    assert reported(materialized(daemon.instance, run)["daily_report"])["rows"] == 3
