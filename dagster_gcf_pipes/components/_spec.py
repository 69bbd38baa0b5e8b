"""How a component calls a function: `execution`."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeAlias

import dagster as dg
from dagster.components.resolved.core_models import OpSpec
from pydantic import BaseModel, Field, model_validator
from typing_extensions import Self

from dagster_gcf_pipes._errors import PipesCloudFunctionRequestError
from dagster_gcf_pipes._functions import check_url
from dagster_gcf_pipes._request_body import encode_body, json_object
from dagster_gcf_pipes.components._resolving import (
    YamlModel,
    described,
    located_errors,
    resolve_templates,
    yaml_model,
)

Partitions: TypeAlias = Literal["one_call", "one_call_per_partition"]


class RetryPolicyModel(YamlModel):
    """The fields of `dagster.RetryPolicy`."""

    max_retries: int = Field(default=1, ge=1, description="How often Dagster retries the step. Default 1.")
    delay: float | None = Field(default=None, gt=0, description="Seconds before a retry. Default: none.")
    backoff: Literal["linear", "exponential"] | None = Field(default=None, description="How the delay grows.")
    jitter: Literal["full", "plus_minus"] | None = Field(default=None, description="How the delay varies at random.")


def _retry_policy(_: dg.ResolutionContext, model: RetryPolicyModel | None) -> dg.RetryPolicy | None:
    if model is None:
        return None
    return dg.RetryPolicy(
        max_retries=model.max_retries,
        delay=model.delay,
        backoff=model.backoff and dg.Backoff[model.backoff.upper()],
        jitter=model.jitter and dg.Jitter[model.jitter.upper()],
    )


def _json(text: str) -> dg.Resolver:
    return dg.Resolver(
        resolve_templates, model_field_type=dict[str, Any], description=text, inject_before_resolve=False
    )


class PipesCloudFunctionSpec(OpSpec):
    """How to call the function, and how Dagster runs the step that calls it: `execution` of the component.

    Raises:
        pydantic.ValidationError: A value is missing, unknown or not valid.
    """

    function: Annotated[
        str | None, described("The function's name in the project and region of the resource, or its full name.")
    ] = None
    function_url: Annotated[str | None, described("The function's URL. Either this or `function`.")] = None
    event: Annotated[Mapping[str, Any], _json("The JSON object for the function's request body. Default: empty.")] = (
        Field(default_factory=dict)
    )
    extras: Annotated[
        Mapping[str, Any], _json("The JSON object that the function finds in `pipes.extras`. Default: empty.")
    ] = Field(default_factory=dict)
    partitions: Annotated[
        Partitions,
        described(
            "Whether a run over several partitions calls the function once ('one_call', the default), or once for each "
            "('one_call_per_partition')."
        ),
    ] = "one_call"
    retry_policy: Annotated[
        dg.RetryPolicy | None,
        dg.Resolver(
            _retry_policy,
            model_field_type=RetryPolicyModel,
            description="When Dagster retries the step. Default: never.",
        ),
    ] = None
    can_subset: Annotated[
        bool,
        described(
            "Whether a run may compute some of the assets alone. Then the function has to compute only those of "
            "`pipes.asset_keys`. Default false."
        ),
    ] = False

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.function is None) == (self.function_url is None):
            raise ValueError(
                "Expected either `function` or `function_url`, got "
                f"{'neither' if self.function is None else 'both'}.\nFix: Write one of them below `execution`."
            )
        try:
            encode_body(self.event, {})
            json_object(self.extras, "extras")
            if self.function_url is not None:
                check_url(self.function_url)
        except PipesCloudFunctionRequestError as error:
            raise ValueError(str(error)) from error
        return self

    @classmethod
    def model(cls) -> type[BaseModel]:
        """Return the model of the attributes in a YAML file."""
        return yaml_model(super().model(), no_text=["partitions", "retry_policy"])

    @classmethod
    def resolve_from_model(cls, context: dg.ResolutionContext, model: BaseModel) -> Self:
        """Return what the attributes in a YAML file mean."""
        with located_errors(context, model):
            resolved: Self = super().resolve_from_model(context, model)
            return resolved
