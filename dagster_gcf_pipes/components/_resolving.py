"""How a YAML file becomes a component: its templates, its model, and its errors."""

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, get_args

import dagster as dg
from pydantic import BaseModel, ValidationError, create_model, model_validator

from dagster_gcf_pipes._arguments import what_was_meant

_TEMPLATE: Final = re.compile(r"\{[{%#]")
_ENVIRONMENT_VARIABLE: Final = re.compile(r"\{\{\s*env\.(?P<name>\w+)\s*\}\}")


def resolve_templates(context: dg.ResolutionContext, value: Any) -> Any:
    """Resolve the templates in a value, and leave all other texts as they are.

    Dagster itself reads a text without a template as Python, too: the text "1.10" becomes the number 1.1.
    """
    if isinstance(value, dict):
        return {key: resolve_templates(context.at_path(key), each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [resolve_templates(context.at_path(index), each) for index, each in enumerate(value)]
    if isinstance(value, str) and _TEMPLATE.search(value):
        return context.resolve_value(value)
    return value


def resolve_setting(context: dg.ResolutionContext, value: Any) -> Any:
    """Resolve the value of a text field of a resource. `{{ env.NAME }}` becomes an `EnvVar`.

    Dagster reads an `EnvVar` when a run starts. So the definitions load where the variable is missing, as in CI.
    """
    found = _ENVIRONMENT_VARIABLE.fullmatch(value) if isinstance(value, str) else None
    return dg.EnvVar(found["name"]) if found else resolve_templates(context, value)


def type_spec(*produces: str) -> dg.ComponentTypeSpec:
    """Say what a component produces. Dagster asks for it since 1.13.18."""
    known = "produces" in dg.ComponentTypeSpec.__annotations__
    return dg.ComponentTypeSpec(produces=produces) if known else dg.ComponentTypeSpec()


def described(text: str) -> dg.Resolver:
    """Describe an attribute, which is resolved as Dagster resolves others."""
    resolver: dg.Resolver = dg.Resolver.default(description=text)
    return resolver


class YamlModel(dg.Model):
    """The model of a YAML file. It says of an unknown key what was meant."""

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_keys(cls, values: Any) -> Any:
        if isinstance(values, dict) and (unknown := [key for key in values if key not in cls.model_fields]):
            meant = what_was_meant(str(unknown[0]), cls.model_fields)
            fix = f"Write {meant!r}." if meant else f"Write some of {[*cls.model_fields]}."
            raise ValueError(f"There is no key {unknown[0]!r}.\nFix: {fix}")
        return values


def yaml_model(model: type[BaseModel], *, no_text: Sequence[str]) -> type[BaseModel]:
    """Return the model of a YAML file in which some fields cannot be a text, a template for the whole of the field.

    Where a text is allowed, Dagster says of a wrong key or value within a field only that the field is not valid.
    """
    fields = {name: model.model_fields[name] for name in no_text}
    types: Any = {name: (get_args(field.annotation)[0], field) for name, field in fields.items()}
    return create_model(model.__name__, __base__=(YamlModel, model), **types)


@contextmanager
def located_errors(context: dg.ResolutionContext, model: BaseModel) -> Iterator[None]:
    """Replace pydantic's error by Dagster's, which shows the place in the YAML file. Its text is that of the first."""
    try:
        yield
    except ValidationError as error:
        first = error.errors()[0]
        for step in first["loc"]:
            context = context.at_path(step)
        text = first["msg"].removeprefix("Value error, ")
        name = context.path[-1] if context.path else "attributes"
        raise context.build_resolve_fn_exc([text], field_name=str(name), model=model) from None
