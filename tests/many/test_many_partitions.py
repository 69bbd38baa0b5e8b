"""A thousand partitions of one run: each has its own events, also if some fail, and if the step starts again."""

import json
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from dagster import AssetKey, DagsterInstance, instance_for_test
from dagster._core.storage.partition_status_cache import get_and_update_asset_status_cache_value

from dagster_gcf_pipes.local._processes import python_command, run_process
from tests.dagster_runs import materializations
from tests.features.postgresql import find_postgresql, run_postgresql
from tests.many.partitions_job import BUCKET, EVENT, HOURS, URL, execute
from tests.many.simulated_platform import SimulatedPlatform, run_simulated_platform
from tests.waiting import wait_until

SALES = AssetKey("sales")
KEYS = HOURS.get_partition_keys()[:1000]
SOME = 100
EXECUTE = """
import sys
from dagster import DagsterInstance
from tests.many.partitions_job import execute
with DagsterInstance.get() as instance:
    execute("without_retries", int(sys.argv[1]), instance)
"""
FAILING = KEYS[13::27]
"""37 partitions."""


@dataclass(frozen=True)
class Stack:
    """A Dagster instance, and the platform that its functions run on."""

    database: str
    instance: DagsterInstance
    platform: SimulatedPlatform
    environment: pytest.MonkeyPatch

    def configure(self, **event: Any) -> None:
        self.environment.setenv(EVENT, json.dumps({"materialization": {}, **event}))

    @property
    def executions(self) -> Counter[str]:
        return self.platform.figures().executions

    def materialized(self, run_id: str) -> list[tuple[str | None, Any, str | None]]:
        """What Dagster has stored of a run: partition, metadata and data version of each materialization."""
        events = [each for each in materializations(self.instance, run_id) if each.asset_key == SALES]
        versions = [(event.tags or {})["dagster/data_version"] for event in events]
        return sorted(
            (event.partition, event.metadata["partition"].value, version)
            for event, version in zip(events, versions, strict=True)
        )

    @property
    def failed(self) -> set[str]:
        """The partitions that the UI shows as failed."""
        cached = get_and_update_asset_status_cache_value(self.instance, SALES, HOURS)
        assert cached
        return set(cached.deserialize_failed_partition_subsets(HOURS).get_partition_keys())


@pytest.fixture(scope="module")
def platform() -> Iterator[SimulatedPlatform]:
    with run_simulated_platform() as platform:
        yield platform


@pytest.fixture(params=["SQLite", "PostgreSQL"])
def stack(
    request: pytest.FixtureRequest, platform: SimulatedPlatform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Stack]:
    with ExitStack() as exits:
        settings: dict[str, Any] = {}
        if request.param == "PostgreSQL":
            if not (programs := find_postgresql()):
                pytest.skip("PostgreSQL is not installed: `apt-get install postgresql`")
            settings = {"storage": exits.enter_context(run_postgresql(programs)).create_storage()}
        bucket = f"bucket-{uuid.uuid4().hex}"
        platform.create_bucket(bucket)
        platform.reset()
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", platform.storage_url)
        monkeypatch.setenv(BUCKET, bucket)
        monkeypatch.setenv(URL, platform.function_url)
        instance = exits.enter_context(instance_for_test(settings, temp_dir=str(tmp_path)))
        yield Stack(request.param, instance, platform, monkeypatch)


def once(keys: Iterable[str]) -> list[tuple[str, str, str]]:
    return sorted((key, key, f"version of {key}") for key in keys)


def test_exactly_the_failed_partitions_are_failed_and_called_again(stack: Stack) -> None:
    """A thousand partitions, of which 37 fail. Most of the time is Dagster's own, for its events."""
    stack.configure(failures=1, failing_keys=FAILING)
    failed = execute("without_retries", len(KEYS), stack.instance)
    assert not failed.success
    assert stack.executions == Counter(KEYS)
    assert stack.materialized(failed.run_id) == once([key for key in KEYS if key not in FAILING])
    assert stack.failed == set(FAILING)

    again = execute("without_retries", len(KEYS), stack.instance, again=True)
    assert again.success
    assert stack.executions == Counter([*KEYS, *FAILING])
    assert stack.materialized(again.run_id) == once(KEYS)  # a run that has planned a partition has an event of it
    assert stack.failed == set()


@pytest.mark.parametrize("stack", ["SQLite"], indirect=True)
def test_a_retry_calls_only_the_failed_partitions_and_logs_none_twice(stack: Stack) -> None:
    keys, failing = KEYS[:SOME], FAILING[:3]
    stack.configure(failures=1, failing_keys=failing)
    result = execute("with_retries", len(keys), stack.instance)
    assert result.success
    assert stack.executions == Counter([*keys, *failing])
    assert stack.materialized(result.run_id) == once(keys)
    assert stack.failed == set()


@pytest.mark.parametrize("stack", ["SQLite"], indirect=True)
def test_a_run_that_is_killed_at_half_is_continued(stack: Stack) -> None:
    """Each partition is executed once. The calls that ran when the process was killed are adopted."""
    stack.configure(seconds=1)
    with run_process(python_command("-c", EXECUTE, str(SOME)), ready=r"(Materialized value sales)") as child:
        wait_until(lambda: child.output.count("Materialized value sales") >= SOME / 2, timeout=300)
        child.process.kill()
        child.process.wait(60)
    (killed,) = stack.instance.get_runs(limit=1)
    stack.instance.report_run_failed(killed)  # as run monitoring does
    before = stack.instance.get_materialized_partitions(SALES)
    assert 0 < len(before) < SOME
    assert stack.failed == set(KEYS[:SOME]) - before

    result = execute("without_retries", SOME, stack.instance, again=True)
    assert result.success
    assert stack.executions == Counter(KEYS[:SOME])
    assert stack.materialized(result.run_id) == once(KEYS[:SOME])
    assert stack.failed == set()


def test_the_failed_partitions_are_exact_if_the_run_fails_again(stack: Stack) -> None:
    """Dagster takes each partition for failed that a failed run has planned, and not materialized."""
    stack.configure(failures=2, failing_keys=KEYS[1:2])
    for again in (False, True):
        assert not execute("without_retries", 5, stack.instance, again=again).success
        assert stack.failed == {KEYS[1]}
    assert execute("without_retries", 5, stack.instance, again=True).success
    assert stack.failed == set()
    assert stack.executions == Counter([*KEYS[:5], KEYS[1], KEYS[1]])


@pytest.mark.parametrize("stack", ["SQLite"], indirect=True)
def test_the_failed_partitions_are_exact_if_a_step_downstream_fails(stack: Stack) -> None:
    stack.configure(failures=1, failing_keys=KEYS[1:2])
    assert not execute("with_a_mistake_downstream", 5, stack.instance).success
    assert stack.failed == {KEYS[1]}
    assert not execute("with_a_mistake_downstream", 5, stack.instance, again=True).success
    assert stack.failed == set()
