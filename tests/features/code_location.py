"""The snippets that the daemon serves: one code location with a repository for each.

Their assets, schedules and sensors need names that no other of these snippets has.
"""

from types import ModuleType

from dagster import RepositoryDefinition, create_repository_using_definitions_args

from examples.features import schedules as _schedules


def repository(snippet: ModuleType) -> RepositoryDefinition:
    """Return a repository with the name of the snippet."""
    defs = snippet.defs
    return create_repository_using_definitions_args(
        snippet.__name__.rpartition(".")[2],
        assets=defs.assets,
        schedules=defs.schedules,
        sensors=defs.sensors,
        jobs=defs.jobs,
        resources=defs.resources,
        executor=defs.executor,
        asset_checks=defs.asset_checks,
    )


schedules = repository(_schedules)
