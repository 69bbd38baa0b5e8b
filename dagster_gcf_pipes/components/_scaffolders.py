"""What `dg scaffold defs` writes."""

from pathlib import Path
from typing import Any, Final

import click
import dagster as dg
from dagster.components import scaffold_component
from pydantic import BaseModel, Field

from dagster_gcf_pipes._scaffold import identifier_of, scaffold_function
from dagster_gcf_pipes.local._settings import SettingsError

KINDS: Final = ["googlecloud", "python"]
DEV_COMMAND: Final = "dg dev"


class ClientParams(BaseModel):
    """The options of `dg scaffold defs dagster_gcf_pipes.PipesCloudFunctionClientComponent`."""

    bucket: str = Field(default="{{ env.PIPES_BUCKET }}", description="Name of the bucket of the messages.")
    project: str | None = Field(default=None, description="Project of the functions.")
    region: str | None = Field(default=None, description="Region of the functions.")


class ClientScaffolder(dg.Scaffolder[ClientParams]):
    """Writes the component of the resource."""

    @classmethod
    def get_scaffold_params(cls) -> type[ClientParams]:
        """Return the model of the options."""
        return ClientParams

    def scaffold(self, request: dg.ScaffoldRequest[ClientParams]) -> None:
        """Write `defs.yaml` with the fields that most set-ups need."""
        scaffold_component(request, request.params.model_dump(exclude_none=True))


class FunctionParams(BaseModel):
    """The options of `dg scaffold defs dagster_gcf_pipes.PipesCloudFunctionComponent`."""

    function: str | None = Field(default=None, description="The function's name. Default: the folder's, with hyphens.")
    asset_key: str | None = Field(default=None, description="Key of the asset. Default: the function's name.")
    with_function: bool = Field(default=False, description="Whether to write the function, too.")


class FunctionScaffolder(dg.Scaffolder[FunctionParams]):
    """Writes the component of a function, and the function itself on request."""

    @classmethod
    def get_scaffold_params(cls) -> type[FunctionParams]:
        """Return the model of the options."""
        return FunctionParams

    def scaffold(self, request: dg.ScaffoldRequest[FunctionParams]) -> None:
        """Write `defs.yaml`, and the folder `functions/NAME` of the project."""
        params = request.params
        function = params.function or request.target_path.name.replace("_", "-")
        execution: dict[str, Any] = {"function": function}
        if params.with_function:
            _write_function(function, request)
            execution["event"] = {"table_uri": f"gs://lake/{function}"}
        key = params.asset_key or identifier_of(function)
        scaffold_component(request, {"execution": execution, "assets": [{"key": key, "kinds": KINDS}]})


def _write_function(name: str, request: dg.ScaffoldRequest[FunctionParams]) -> None:
    try:
        scaffold_function(name, request.project_root or Path(), command=DEV_COMMAND)
    except SettingsError as error:
        request.target_path.rmdir()  # Dagster has just made it, and would refuse the next command
        raise click.ClickException(str(error)) from error
