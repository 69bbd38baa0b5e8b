"""Dagster components: the resource, and the assets and checks of a function, from YAML.

`dg` finds them under their names in the root package, such as `dagster_gcf_pipes.PipesCloudFunctionComponent`.
"""

from dagster_gcf_pipes.components._client_component import PipesCloudFunctionClientComponent
from dagster_gcf_pipes.components._function_component import PipesCloudFunctionComponent
from dagster_gcf_pipes.components._spec import PipesCloudFunctionSpec

__all__ = ["PipesCloudFunctionClientComponent", "PipesCloudFunctionComponent", "PipesCloudFunctionSpec"]
