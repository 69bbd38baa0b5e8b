"""The component of the resource."""

from functools import cache
from typing import Any, Final, get_type_hints

import dagster as dg
from pydantic import BaseModel, Field, create_model

from dagster_gcf_pipes._client import PipesCloudFunctionClient
from dagster_gcf_pipes._config import PipesCloudFunctionSettings
from dagster_gcf_pipes.components._resolving import (
    YamlModel,
    located_errors,
    resolve_setting,
    resolve_templates,
    type_spec,
)
from dagster_gcf_pipes.components._scaffolders import ClientScaffolder

DEFAULT_RESOURCE_KEY: Final = "cloud_function"


@dg.scaffold_with(ClientScaffolder)
class PipesCloudFunctionClientComponent(dg.Component, dg.Resolvable):
    """The resource `PipesCloudFunctionClient`, which calls Google Cloud Functions.

    For example::

        type: dagster_gcf_pipes.PipesCloudFunctionClientComponent
        attributes:
          bucket: "{{ env.PIPES_BUCKET }}"
          project: my-project
          region: europe-west1

    In a text field, `{{ env.NAME }}` alone is read when a run starts, not when the definitions load.

    Args:
        resource_key: The key under which assets and ops ask for the resource. Default `cloud_function`.
        settings: The fields of `PipesCloudFunctionClient`.

    Attributes:
        resource_key: The key of the resource.
        resource: The resource.

    Raises:
        pydantic.ValidationError: A field is missing, unknown or not valid.
    """

    def __init__(self, *, resource_key: str = DEFAULT_RESOURCE_KEY, **settings: Any) -> None:
        self.resource_key = resource_key
        self.resource: PipesCloudFunctionClient = PipesCloudFunctionClient(**settings)

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:  # noqa: ARG002
        """Return definitions with the resource alone."""
        return dg.Definitions(resources={self.resource_key: self.resource})

    @classmethod
    def get_spec(cls) -> dg.ComponentTypeSpec:
        """Say what the component produces."""
        return type_spec("resource")

    @classmethod
    def model(cls) -> type[BaseModel]:
        """Return the model of the attributes: the key, and the fields of the resource."""
        return _model()

    @classmethod
    def resolve_from_model(cls, context: dg.ResolutionContext, model: BaseModel) -> "PipesCloudFunctionClientComponent":
        """Return the component of the attributes in a YAML file."""
        values = {name: getattr(model, name) for name in model.model_fields_set}
        with located_errors(context, model):
            return cls(**{name: _resolve(name)(context.at_path(name), value) for name, value in values.items()})


_KEY: Final = Field(default=DEFAULT_RESOURCE_KEY, description="Key of the resource. Default `cloud_function`.")


def _resolve(name: str) -> Any:
    return resolve_setting if _types().get(name) in (str, str | None) else resolve_templates


@cache
def _model() -> type[BaseModel]:
    fields = PipesCloudFunctionSettings.model_fields
    settings: Any = {
        name: (_types()[name] | str, Field(default=field.default, description=field.description))
        for name, field in fields.items()
    }
    return create_model(
        "PipesCloudFunctionClientComponentModel", __base__=YamlModel, resource_key=(str, _KEY), **settings
    )


@cache
def _types() -> dict[str, Any]:
    """Return the types of the fields without their validators, which would refuse a template."""
    return get_type_hints(PipesCloudFunctionSettings)
