"""The snippets that the daemon serves: one code location with a repository for each.

Their assets, schedules and sensors need names that no other of these snippets has.
"""

from types import ModuleType

from dagster import (
    AutomationConditionSensorDefinition,
    RepositoryDefinition,
    SensorDefinition,
    create_repository_using_definitions_args,
    in_process_executor,
)

from examples.features import backfills as _backfills
from examples.features import declarative_automation as _declarative_automation
from examples.features import freshness as _freshness
from examples.features import launchpad as _launchpad
from examples.features import pools as _pools
from examples.features import reported_partitions as _reported_partitions
from examples.features import run_partitions as _run_partitions
from examples.features import run_retries as _run_retries
from examples.features import schedules as _schedules
from examples.features import sensors as _sensors


def repository(snippet: ModuleType, *sensors: SensorDefinition) -> RepositoryDefinition:
    """Return a repository with the name of the snippet. Its runs are one process each, which is quick."""
    defs = snippet.defs
    return create_repository_using_definitions_args(
        snippet.__name__.rpartition(".")[2],
        assets=defs.assets,
        schedules=defs.schedules,
        sensors=[*(defs.sensors or ()), *sensors],
        jobs=defs.jobs,
        resources=defs.resources,
        executor=defs.executor or in_process_executor,
        asset_checks=defs.asset_checks,
    )


_AUTOMATION = AutomationConditionSensorDefinition("automation", target="*", minimum_interval_seconds=1)
"""Dagster's own one looks each 30 s."""

backfills = repository(_backfills)
declarative_automation = repository(_declarative_automation, _AUTOMATION)
freshness = repository(_freshness)
launchpad = repository(_launchpad)
pools = repository(_pools)
reported_partitions = repository(_reported_partitions)
run_partitions = repository(_run_partitions)
run_retries = repository(_run_retries)
schedules = repository(_schedules)
sensors = repository(_sensors)
