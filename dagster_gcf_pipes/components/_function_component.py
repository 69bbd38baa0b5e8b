"""The component of the assets and checks that one function computes."""

from collections.abc import Iterable, Sequence
from typing import Annotated, Any, TypeAlias

import dagster as dg
from dagster.components.resolved.core_models import AssetSpecKwargs, resolve_asset_spec
from dagster.components.utils.translation import TranslationFn, TranslationFnResolver
from pydantic import BaseModel, model_validator
from typing_extensions import Self

from dagster_gcf_pipes._client import PipesCloudFunctionClient
from dagster_gcf_pipes._errors import PipesCloudFunctionMessagesError, PipesCloudFunctionRequestError
from dagster_gcf_pipes.components._client_component import DEFAULT_RESOURCE_KEY
from dagster_gcf_pipes.components._resolving import described, located_errors, type_spec, yaml_model
from dagster_gcf_pipes.components._scaffolders import FunctionScaffolder
from dagster_gcf_pipes.components._spec import PipesCloudFunctionSpec

Result: TypeAlias = dg.MaterializeResult[Any] | dg.AssetCheckResult


def _asset_spec(context: dg.ResolutionContext, model: BaseModel) -> dg.AssetSpec:
    """Resolve an asset as Dagster does. Dagster reads the code version "1" as a number, and then refuses it."""
    version = context.at_path("code_version").resolve_value(getattr(model, "code_version", None))
    text = None if version is None else repr(str(version))
    spec: dg.AssetSpec = resolve_asset_spec(context, model.model_copy(update={"code_version": text}))
    return spec


_ResolvedAssetSpec: TypeAlias = Annotated[
    dg.AssetSpec, dg.Resolver(_asset_spec, model_field_type=AssetSpecKwargs.model())
]


@dg.scaffold_with(FunctionScaffolder)
class PipesCloudFunctionComponent(dg.Component, dg.Resolvable, dg.Model):
    """The assets and asset checks that one Google Cloud Function computes.

    For example::

        type: dagster_gcf_pipes.PipesCloudFunctionComponent
        attributes:
          execution:
            function: weather
            event: {table_uri: gs://lake/weather}
          assets:
            - key: weather/raw

    Several assets become one multi-asset: one call computes them all. Checks without assets become one step. Override
    `get_asset_spec` to change the assets, and `execute` to change the call.

    Raises:
        pydantic.ValidationError: A value is missing, unknown or not valid.
    """

    execution: Annotated[PipesCloudFunctionSpec, described("How to call the function, and how Dagster runs the step.")]
    assets: Annotated[
        Sequence[_ResolvedAssetSpec] | None, described("The assets that the function computes. Default: none.")
    ] = None
    checks: Annotated[
        Sequence[dg.ResolvedAssetCheckSpec] | None,
        described("The asset checks that the function makes. Default: none."),
    ] = None
    translation: Annotated[TranslationFn[dg.AssetSpec] | None, TranslationFnResolver(lambda _: {})] = None
    client: Annotated[
        str, described("The key of the resource, a `PipesCloudFunctionClient`. Default `cloud_function`.")
    ] = DEFAULT_RESOURCE_KEY

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not (self.assets or self.checks):
            raise ValueError(
                "Expected `assets`, `checks` or both, got neither.\nFix: Write what the function computes."
            )
        if self.execution.partitions == "one_call_per_partition" and not any(
            spec.partitions_def for spec in self.assets or ()
        ):
            raise ValueError(
                "Expected an asset with partitions for `partitions: one_call_per_partition`, got none.\n"
                "Fix: Give an asset a `partitions_def`, or leave `partitions` out."
            )
        keys = [spec.key for spec in self.assets or ()]
        if twice := next((key for key in keys if keys.count(key) > 1), None):
            raise ValueError(
                f"Expected each asset once in `assets`, got {twice.to_user_string()!r} twice.\nFix: Remove one of them."
            )
        if keys and (foreign := [check for check in self.checks or () if check.asset_key not in keys]):
            raise ValueError(
                f"Expected the checks to be of {_texts(keys)}, the assets of this component. The check "
                f"{foreign[0].name!r} is of {foreign[0].asset_key.to_user_string()!r}.\n"
                "Fix: Correct the key, or write the check into a component of its own, without `assets`."
            )
        return self

    @classmethod
    def model(cls) -> type[BaseModel]:
        """Return the model of the attributes in a YAML file."""
        return yaml_model(super().model(), no_text=["execution", "assets", "checks"])

    @classmethod
    def resolve_from_model(cls, context: dg.ResolutionContext, model: BaseModel) -> Self:
        """Return the component of the attributes in a YAML file."""
        with located_errors(context, model):
            resolved: Self = super().resolve_from_model(context, model)
            return resolved

    @classmethod
    def get_spec(cls) -> dg.ComponentTypeSpec:
        """Say what the component produces."""
        return type_spec("asset", "asset_check")

    def get_asset_spec(self, spec: dg.AssetSpec) -> dg.AssetSpec:
        """Return an asset as Dagster shows it. Default: as it is in `assets`, with the attributes of `translation`.

        Args:
            spec: The asset as it is in `assets`. The checks follow if you change its key.
        """
        return self.translation(spec, spec) if self.translation else spec

    def execute(
        self, context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext, client: PipesCloudFunctionClient
    ) -> Result | Iterable[Result]:
        """Call the function, and return its results: those of an asset or a check, or all.

        Args:
            context: The context of the step.
            client: The resource.
        """
        call = client.run_partitions if self.execution.partitions == "one_call_per_partition" else client.run
        return call(
            context=context,
            function=self.execution.function,
            function_url=self.execution.function_url,
            event=self.execution.event,
            extras=dict(self.execution.extras),
        ).get_results()

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:  # noqa: ARG002
        """Return definitions with one step that calls the function."""
        given = self.assets or ()
        specs = [self.get_asset_spec(spec) for spec in given]
        new_keys = {spec.key: new.key for spec, new in zip(given, specs, strict=True)}
        checks = [_with_asset(check, new_keys.get(check.asset_key, check.asset_key)) for check in self.checks or ()]
        if not specs:
            return dg.Definitions(asset_checks=[self._checks_def(checks)])
        return dg.Definitions(assets=[self._assets_def(specs, checks)])

    def _assets_def(self, specs: Sequence[dg.AssetSpec], checks: Sequence[dg.AssetCheckSpec]) -> dg.AssetsDefinition:
        @dg.multi_asset(
            **self._step(specs[0].key.to_python_identifier()),
            specs=specs,
            check_specs=checks,
            backfill_policy=self.execution.backfill_policy,
        )
        def assets(context: dg.AssetExecutionContext) -> Iterable[Result]:
            yield from self._execute(context)

        return assets

    def _checks_def(self, checks: Sequence[dg.AssetCheckSpec]) -> dg.AssetChecksDefinition:
        @dg.multi_asset_check(**self._step(checks[0].get_python_identifier()), specs=checks)
        def asset_checks(context: dg.AssetCheckExecutionContext) -> Iterable[Result]:
            yield from self._execute(context)

        return asset_checks

    def _step(self, name: str) -> dict[str, Any]:
        """Return the arguments of the decorators. By default the first asset or check names the step."""
        return {
            "name": self.execution.name or name,
            "description": self.execution.description,
            "op_tags": self.execution.tags,
            "pool": self.execution.pool,
            "retry_policy": self.execution.retry_policy,
            "can_subset": self.execution.can_subset,
            "required_resource_keys": {self.client},
        }

    def _execute(self, context: dg.AssetExecutionContext | dg.AssetCheckExecutionContext) -> Iterable[Result]:
        client = getattr(context.resources, self.client)
        if not isinstance(client, PipesCloudFunctionClient):
            raise PipesCloudFunctionRequestError(
                f"Expected the resource {self.client!r} to be a `PipesCloudFunctionClient`, got a "
                f"{type(client).__name__}.\nFix: Write the key of the resource as `client` of the component."
            )
        results = self.execute(context, client)
        reported = set()
        for result in [results] if isinstance(results, dg.MaterializeResult | dg.AssetCheckResult) else results:
            reported |= {check.check_name for check in _checks(result)}
            yield result
        if missing := {key.name for key in context.selected_asset_check_keys} - reported:
            raise PipesCloudFunctionMessagesError(
                f"Expected the function to report the checks {sorted(missing)}, got none.\n"
                "Fix: Call `pipes.report_asset_check` in the function, or remove the checks from the component.",
                allow_retries=False,
            )


def _checks(result: Result) -> Sequence[dg.AssetCheckResult]:
    return [result] if isinstance(result, dg.AssetCheckResult) else result.check_results or []


def _with_asset(check: dg.AssetCheckSpec, key: dg.AssetKey) -> dg.AssetCheckSpec:
    return check.replace_key(dg.AssetCheckKey(key, check.name))


def _texts(keys: Iterable[dg.AssetKey]) -> str:
    return ", ".join(sorted(repr(key.to_user_string()) for key in keys))
