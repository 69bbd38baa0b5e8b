"""The snippets that need a daemon. They are in one file, so that one process runs them: they share a daemon.

All schedules and sensors are started when the daemon is. Their tests are last, because they wait longest.
"""

from dagster import AssetsDefinition, RunsFilter
from dagster._core.execution.backfill import PartitionBackfill

from examples.features import (
    backfills,
    declarative_automation,
    freshness,
    launchpad,
    pools,
    reported_partitions,
    run_partitions,
    run_retries,
    schedules,
    sensors,
)
from tests.dagster_runs import materializations
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


def test_backfills(daemon: Daemon) -> None:
    """They are launched at once, because the daemon looks at them each 30 s."""
    days, bad, others = ["2024-01-03", "2024-01-04", "2024-01-05"], "2024-01-04", ["2024-01-10", "2024-01-11"]
    failing = {"runConfigData": {"ops": {"deliveries": {"config": {"day": bad}}}}}
    one_run_each = daemon.launch_backfill([backfills.parcels], days[:2])
    single_runs = daemon.launch_backfill([backfills.routes], [*days, "2024-01-08"])
    calls_that_fail = daemon.launch_backfill([run_partitions.deliveries, run_partitions.tours], days, **failing)
    calls = daemon.launch_backfill([run_partitions.deliveries, run_partitions.tours], others)
    week = [f"2024-01-{day:02}" for day in range(1, 8)]
    missing = {"runConfigData": {"ops": {"pickups": {"config": {"day": week[2]}}}}}
    runs_of_two_days = daemon.launch_backfill([run_partitions.pickups], week, **missing)
    leaving_out = {"runConfigData": {"ops": {"readings": {"config": {"day": bad}}}}}
    reports = daemon.launch_backfill([reported_partitions.readings], days, **leaving_out)

    assert daemon.finished_backfill(one_run_each).status.value == "COMPLETED_SUCCESS"
    assert backfilled(daemon, one_run_each) == [[(day, day, day)] for day in days[:2]]

    # a gap divides the backfill into two ranges, and so into two runs; a range may be one partition
    assert daemon.finished_backfill(single_runs).status.value == "COMPLETED_SUCCESS"
    assert backfilled(daemon, single_runs) == [
        [(day, days[0], days[-1]) for day in days],
        [("2024-01-08", "2024-01-08", "2024-01-08")],
    ]

    # `run_partitions`, and the asset downstream in the same run
    assert daemon.finished_backfill(calls).status.value == "COMPLETED_SUCCESS"
    assert backfilled(daemon, calls) == [sorted([(day, day, day) for day in others] * 2)]

    # exactly the failed partition is failed, and a backfill of it completes the asset
    failed = daemon.finished_backfill(calls_that_fail)
    assert failed.status.value == "COMPLETED_FAILED"
    assert failed_partitions(failed, run_partitions.deliveries) == [bad]
    assert backfilled(daemon, calls_that_fail) == [[(day, day, day) for day in days if day != bad]]
    assert bad not in daemon.instance.get_materialized_partitions(run_partitions.deliveries.key)
    assert (
        daemon.finished_backfill(daemon.launch_backfill([run_partitions.deliveries], [bad])).status.value
        == "COMPLETED_SUCCESS"
    )
    assert daemon.instance.get_materialized_partitions(run_partitions.deliveries.key) == {*days, *others}

    # so it is with several runs, of which the last has one partition
    failed = daemon.finished_backfill(runs_of_two_days)
    assert failed.status.value == "COMPLETED_FAILED"
    assert failed_partitions(failed, run_partitions.pickups) == [week[2]]
    in_runs = [week[:2], week[3:4], week[4:6], week[6:]]
    assert backfilled(daemon, runs_of_two_days) == [[(day, day, day) for day in of_run] for of_run in in_runs]

    # exactly the partition that the function did not report is failed
    incomplete = daemon.finished_backfill(reports)
    assert incomplete.status.value == "COMPLETED_FAILED"
    assert failed_partitions(incomplete, reported_partitions.readings) == [bad]
    assert backfilled(daemon, reports) == [[(day, day, day) for day in days if day != bad]]
    completed = daemon.finished_backfill(daemon.launch_backfill([reported_partitions.readings], [bad]))
    assert completed.status.value == "COMPLETED_SUCCESS"
    assert daemon.instance.get_materialized_partitions(reported_partitions.readings.key) == {*days}


def failed_partitions(backfill: PartitionBackfill, asset: AssetsDefinition) -> list[str]:
    assert backfill.asset_backfill_data
    subset = backfill.asset_backfill_data.failed_and_downstream_subset.get_partitions_subset(asset.key)
    return list(subset.get_partition_keys())


def backfilled(daemon: Daemon, backfill_id: str) -> list[list[tuple[str | None, object, object]]]:
    """Return what the runs of a backfill materialized: the partitions, each with the range that the function saw."""
    runs = daemon.instance.get_runs(RunsFilter(tags={"dagster/backfill": backfill_id}))
    logged = [materializations(daemon.instance, run.run_id) for run in runs]
    return sorted(
        sorted((event.partition or "", event.metadata["first"].value, event.metadata["last"].value) for event in events)
        for events in logged
    )


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
