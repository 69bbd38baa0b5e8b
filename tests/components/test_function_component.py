"""`PipesCloudFunctionComponent`: what its YAML means, and what its step does."""

from collections.abc import Iterator, Mapping
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster.components.testing.test_cases import TestOpCustomization, TestTranslation
from dagster.components.testing.utils import DefsFolderSandbox, create_defs_folder_sandbox
from gcf_pipes._shared.protocol import BOOTSTRAP_KEYS

from dagster_gcf_pipes import PipesCloudFunctionComponent, PipesCloudFunctionSpec
from dagster_gcf_pipes.testing import LocalPipesCloudFunctionClient
from tests.dagster_runs import check_evaluations, materializations, step_error
from tests.functions.reports.main import main as reports

pytestmark = [  # Dagster's own calls of its deprecated and beta members, and the template in one of its cases
    pytest.mark.filterwarnings("ignore:The `__fields__` attribute is deprecated"),
    pytest.mark.filterwarnings(r"ignore:Class `\w*CodeReference\w*` is currently in beta"),
    pytest.mark.filterwarnings("ignore:Accessing `{{automation_condition.*}}` is deprecated"),
]
TYPE = "dagster_gcf_pipes.PipesCloudFunctionComponent"
DAILY = {"type": "daily", "start_date": "2024-01-01", "end_date": "2024-01-04"}


@pytest.fixture
def sandbox() -> Iterator[DefsFolderSandbox]:
    with create_defs_folder_sandbox() as sandbox:
        yield sandbox


def component(**attributes: Any) -> PipesCloudFunctionComponent:
    """Return the component of the attributes in a YAML file."""
    attributes = {"execution": {"function": "reports"}, **attributes}
    return PipesCloudFunctionComponent.from_attributes_dict(attributes=attributes)


def definitions(*components: dg.Component, client: dg.ConfigurableResource[Any] | None = None) -> dg.Definitions:
    resources = {"cloud_function": client or LocalPipesCloudFunctionClient(functions={"reports": reports})}
    context = dg.ComponentTree.for_test().load_context
    return dg.Definitions.merge(*(each.build_defs(context) for each in components), dg.Definitions(resources=resources))


def run(defs: dg.Definitions, instance: dg.DagsterInstance, **arguments: Any) -> dg.ExecuteInProcessResult:
    job = defs.resolve_implicit_global_asset_job_def()
    return job.execute_in_process(instance=instance, raise_on_error=False, **arguments)


def test_it_materializes_the_asset_with_what_the_function_reports(instance: dg.DagsterInstance) -> None:
    event = {"materializations": [{"metadata": {"rows": 3}}]}
    weather = component(
        execution={"function": "reports", "event": event, "extras": {"units": "metric"}},
        assets=[{"key": "weather/raw", "kinds": ["googlecloud"], "deps": ["stations"]}],
    )
    result = run(definitions(weather), instance)
    (materialization,) = materializations(instance, result.run_id)
    assert materialization.asset_key == dg.AssetKey(["weather", "raw"])
    assert materialization.metadata["rows"].value == 3


def test_several_assets_and_their_checks_are_one_step(instance: dg.DagsterInstance) -> None:
    event = {"checks": [{"check_name": "no_gaps", "asset_key": "a", "passed": False, "severity": "WARN"}]}
    both = component(
        execution={"function": "reports", "event": event},
        assets=[{"key": "a"}, {"key": "b", "deps": ["a"]}],
        checks=[{"name": "no_gaps", "asset": "a"}],
    )
    result = run(definitions(both), instance)
    assert {each.asset_key for each in materializations(instance, result.run_id)} == {
        dg.AssetKey("a"),
        dg.AssetKey("b"),
    }
    assert [(each.check_name, each.passed) for each in check_evaluations(instance, result.run_id)] == [
        ("no_gaps", False)
    ]
    assert len(result.get_step_success_events()) == 1


@pytest.mark.parametrize("assets", [[{"key": "weather"}], []])
def test_a_check_that_the_function_does_not_report_fails_the_step(
    instance: dg.DagsterInstance, assets: list[Any]
) -> None:
    weather = component(assets=assets, checks=[{"name": "no_gaps", "asset": "weather"}])
    result = run(definitions(weather), instance)
    step = "weather" if assets else "weather_no_gaps"
    assert "Expected the function to report the checks ['no_gaps'], got none." in step_error(result, step)
    assert len(materializations(instance, result.run_id)) == len(assets)


def test_checks_alone_are_a_step_of_their_own(instance: dg.DagsterInstance) -> None:
    event = {"checks": [{"check_name": name, "passed": True} for name in ("no_gaps", "fresh")]}
    checks = component(
        execution={"function": "reports", "event": event},
        checks=[{"name": "no_gaps", "asset": "weather"}, {"name": "fresh", "asset": "weather"}],
    )
    result = run(definitions(checks), instance)
    assert {each.check_name for each in check_evaluations(instance, result.run_id)} == {"no_gaps", "fresh"}


def test_a_blocking_check_that_fails_stops_what_follows(instance: dg.DagsterInstance) -> None:
    event = {"checks": [{"check_name": "no_gaps", "passed": False}]}
    raw = component(
        execution={"function": "reports", "event": event},
        assets=[{"key": "raw"}],
        checks=[{"name": "no_gaps", "asset": "raw", "blocking": True}],
    )
    daily = component(assets=[{"key": "daily", "deps": ["raw"]}])
    result = run(definitions(raw, daily), instance)
    assert not result.success
    assert [each.asset_key.to_user_string() for each in materializations(instance, result.run_id)] == ["raw"]


def test_a_part_of_the_assets_runs_if_the_function_can(instance: dg.DagsterInstance) -> None:
    both = component(execution={"function": "reports", "can_subset": True}, assets=[{"key": "a"}, {"key": "b"}])
    defs = definitions(both)
    job = defs.resolve_implicit_global_asset_job_def()
    result = job.execute_in_process(instance=instance, asset_selection=[dg.AssetKey("b")])
    assert [each.asset_key for each in materializations(instance, result.run_id)] == [dg.AssetKey("b")]


def test_components_that_call_the_same_function_have_steps_with_different_names(instance: dg.DagsterInstance) -> None:
    norway, chile = (component(assets=[{"key": f"weather/{country}"}]) for country in ("no", "cl"))
    result = run(definitions(norway, chile), instance)
    assert {each.node_name for each in result.get_step_success_events()} == {"weather__no", "weather__cl"}


def test_dagster_retries_the_step_by_its_retry_policy(instance: dg.DagsterInstance) -> None:
    policy = {"max_retries": 2, "delay": 0.01, "backoff": "exponential", "jitter": "full"}
    failing = component(
        execution={"function": "reports", "event": {"fails": True}, "retry_policy": policy}, assets=[{"key": "a"}]
    )
    defs = definitions(failing)
    assert defs.get_assets_def("a").op.retry_policy == dg.RetryPolicy(
        max_retries=2, delay=0.01, backoff=dg.Backoff.EXPONENTIAL, jitter=dg.Jitter.FULL
    )
    result = run(defs, instance)
    assert len([event for event in result.all_events if event.event_type is dg.DagsterEventType.STEP_RESTARTED]) == 2


def test_pool_tags_and_description_belong_to_the_step() -> None:
    execution = {"function": "reports", "pool": "weather_api", "tags": {"team": "data"}, "description": "Reads."}
    for part in ({"assets": [{"key": "a"}]}, {"checks": [{"name": "fresh", "asset": "a"}]}):
        defs = definitions(component(execution=execution, **part))
        assets = [*(defs.assets or ()), *(defs.asset_checks or ())]
        op = assets[0].op  # type: ignore[union-attr]
        assert (op.pool, op.tags["team"], op.description) == ("weather_api", "data", "Reads.")


def test_single_run_backfill_policies_are_kept() -> None:
    policies = {"single_run": None, "multi_run": 5}
    for kind, size in policies.items():
        policy = {"type": kind, **({"max_partitions_per_run": size} if size else {})}
        partitioned = component(
            execution={"function": "reports", "backfill_policy": policy}, assets=[{"key": "a", "partitions_def": DAILY}]
        )
        backfill_policy = definitions(partitioned).get_assets_def("a").backfill_policy
        assert backfill_policy is not None
        assert backfill_policy.max_partitions_per_run == size


ALL = """
execution:
  function: reports
  event:
    country: "{{ env.COUNTRY }}"
    checks: [{check_name: no_gaps, passed: true}]
  extras: {units: metric}
  pool: weather_api
  backfill_policy: {type: single_run}
  partitions: one_call_per_partition
  retry_policy: {max_retries: 2, delay: 30}
assets:
  - key: weather/raw
    deps: [stations]
    kinds: [googlecloud, python]
    partitions_def: {type: daily, start_date: "2024-01-01"}
    automation_condition: "{{ automation_condition.on_cron('0 6 * * *') }}"
checks:
  - {name: no_gaps, asset: weather/raw, blocking: true}
client: cloud_function
"""


def test_one_call_for_each_partition_of_a_run(instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch) -> None:
    """With all that a component can say, as in the reference."""
    monkeypatch.setenv("COUNTRY", "NO")
    client = LocalPipesCloudFunctionClient(functions={"reports": reports})
    defs = definitions(component(**yaml.safe_load(ALL)), client=client)
    range_of_run = {"start": "2024-01-01", "end": "2024-01-03"}
    tags = {f"dagster/asset_partition_range_{side}": key for side, key in range_of_run.items()}
    result = run(defs, instance, tags=tags)
    assert result.success
    # as each function closes
    partitions = [str(each.partition) for each in materializations(instance, result.run_id)]
    assert sorted(partitions) == ["2024-01-01", "2024-01-02", "2024-01-03"]
    assert [call.event["country"] for call in client.calls] == ["NO", "NO", "NO"]


@pytest.mark.parametrize("partitions", ["one_call", None])
def test_otherwise_one_call_for_the_range_of_a_run(instance: dg.DagsterInstance, partitions: str | None) -> None:
    execution = {"function": "reports", "backfill_policy": {"type": "single_run"}}
    execution |= {"partitions": partitions} if partitions else {}
    client = LocalPipesCloudFunctionClient(functions={"reports": reports})
    weather = component(execution=execution, assets=[{"key": "weather", "partitions_def": DAILY}])
    tags = {"dagster/asset_partition_range_start": "2024-01-01", "dagster/asset_partition_range_end": "2024-01-02"}
    result = run(definitions(weather, client=client), instance, tags=tags)
    assert len(materializations(instance, result.run_id)) == 2
    assert len(client.calls) == 1


def test_a_text_in_the_event_stays_a_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dagster alone would read it as Python."""
    monkeypatch.setenv("COUNTRY", "NO")
    event = {"version": "1.10", "list": "[1]", "country": "{{ env.COUNTRY }}", "nested": [{"none": "None"}], "n": 1}
    assert component(execution={"function": "reports", "event": event}, assets=[{"key": "a"}]).execution.event == {
        "version": "1.10",
        "list": "[1]",
        "country": "NO",
        "nested": [{"none": "None"}],
        "n": 1,
    }


@pytest.mark.parametrize(("value", "version"), [("1", "1"), ("{{ env.VERSION }}", "2"), ("{{ env.UNSET }}", None)])
def test_a_code_version_is_a_text(monkeypatch: pytest.MonkeyPatch, value: str, version: str | None) -> None:
    monkeypatch.setenv("VERSION", "2")
    (spec,) = component(assets=[{"key": "a", "code_version": value}]).assets or ()
    assert spec.code_version == version


def test_template_variables_give_the_partitions_that_yaml_cannot(sandbox: DefsFolderSandbox) -> None:
    path = sandbox.defs_folder_path / "weather"
    path.mkdir()
    (path / "defs.yaml").write_text(
        yaml.safe_dump(
            {
                "type": TYPE,
                "template_vars_module": ".template_vars",
                "attributes": {
                    "execution": {"function": "reports", "event": "{{ event }}"},
                    "assets": [
                        {"key": "monthly", "partitions_def": "{{ monthly }}"},
                    ],
                },
            }
        )
    )
    (path / "template_vars.py").write_text(
        "import dagster as dg\n"
        "@dg.template_var\ndef monthly(): return dg.MonthlyPartitionsDefinition('2024-01-01')\n"
        "@dg.template_var\ndef event(): return {'a': [1]}\n"
    )
    with sandbox.load_component_and_build_defs(path) as (loaded, defs):
        assert isinstance(loaded, PipesCloudFunctionComponent)
        assert loaded.execution.event == {"a": [1]}
        partitions = defs.get_assets_def("monthly").partitions_def
        assert isinstance(partitions, dg.MonthlyPartitionsDefinition)


@pytest.mark.parametrize(
    "partitions",
    [
        dg.MonthlyPartitionsDefinition("2024-01-01"),
        dg.DynamicPartitionsDefinition(name="sites"),
        dg.MultiPartitionsDefinition(
            {"day": dg.DailyPartitionsDefinition("2024-01-01"), "site": dg.StaticPartitionsDefinition(["a"])}
        ),
    ],
)
def test_any_partitions_definition_works_in_python(partitions: "dg.PartitionsDefinition[Any]") -> None:
    by_hand = PipesCloudFunctionComponent(
        execution=PipesCloudFunctionSpec(function="reports"), assets=[dg.AssetSpec("a", partitions_def=partitions)]
    )
    assert definitions(by_hand).get_assets_def("a").partitions_def == partitions


def test_a_subclass_changes_the_assets_and_the_call(instance: dg.DagsterInstance) -> None:
    class Prefixed(PipesCloudFunctionComponent):
        def get_asset_spec(self, spec: dg.AssetSpec) -> dg.AssetSpec:
            return super().get_asset_spec(spec).replace_attributes(key=spec.key.with_prefix("lake"))

        def execute(self, context: Any, client: Any) -> Any:
            event = {**self.execution.event, "materializations": [{"metadata": {"run": context.run_id}}]}
            return client.run(context=context, function=self.execution.function, event=event).get_results()

    attributes = {
        "execution": {"function": "reports"},
        "assets": [{"key": "raw"}],
        "checks": [{"name": "fresh", "asset": "raw"}],
    }
    prefixed = Prefixed.from_attributes_dict(attributes=attributes)
    defs = definitions(prefixed)
    assert {each.asset_key for each in defs.get_assets_def(dg.AssetKey(["lake", "raw"])).check_keys} == {
        dg.AssetKey(["lake", "raw"])
    }
    job = defs.resolve_implicit_global_asset_job_def()
    result = job.execute_in_process(
        instance=instance, asset_selection=[dg.AssetKey(["lake", "raw"])], raise_on_error=False
    )
    (materialization,) = materializations(instance, result.run_id)
    assert materialization.metadata["run"].value == result.run_id


def test_execute_may_return_a_single_result(instance: dg.DagsterInstance) -> None:
    class Single(PipesCloudFunctionComponent):
        def execute(self, context: Any, client: Any) -> Any:
            return client.run(context=context, function="reports").get_materialize_result()

    single = Single.from_attributes_dict(attributes={"execution": {"function": "reports"}, "assets": [{"key": "a"}]})
    assert run(definitions(single), instance).success


def test_another_resource_serves_if_the_component_names_it(instance: dg.DagsterInstance) -> None:
    other = component(assets=[{"key": "a"}], client="other")
    client = LocalPipesCloudFunctionClient(functions={"reports": reports})
    defs = dg.Definitions.merge(definitions(other), dg.Definitions(resources={"other": client}))
    assert run(defs, instance).success


def test_a_resource_of_another_kind_is_refused(instance: dg.DagsterInstance) -> None:
    class Other(dg.ConfigurableResource[Any]):
        pass

    result = run(definitions(component(assets=[{"key": "a"}]), client=Other()), instance)
    assert "Expected the resource 'cloud_function' to be a `PipesCloudFunctionClient`, got a Other." in step_error(
        result, "a"
    )


@pytest.mark.parametrize(
    ("attributes", "text"),
    [
        (
            {"execution": {"function": "a", "function_url": "https://a.example/"}, "assets": [{"key": "a"}]},
            "Expected either `function` or `function_url`, got both.",
        ),
        ({"execution": {}, "assets": [{"key": "a"}]}, "Expected either `function` or `function_url`, got neither."),
        ({"execution": {"function": "a"}}, "Expected `assets`, `checks` or both, got neither."),
        (
            {"execution": {"function_url": "ftp://a"}, "assets": [{"key": "a"}]},
            "Expected the URL of a function",
        ),
        (
            {"execution": {"function": "a", "event": {"x": float("nan")}}, "assets": [{"key": "a"}]},
            "Expected `event['x']` to be JSON, got nan.",
        ),
        (
            {"execution": {"function": "a", "event": {BOOTSTRAP_KEYS[0]: 1}}, "assets": [{"key": "a"}]},
            "which Pipes adds itself",
        ),
        (
            {"execution": {"function": "a"}, "assets": [{"key": "a"}], "checks": [{"name": "fresh", "asset": "b"}]},
            "Expected the checks to be of 'a', the assets of this component. The check 'fresh' is of 'b'.",
        ),
        (
            {
                "execution": {"function": "a", "partitions": "one_call_per_partition"},
                "assets": [{"key": "a"}],
            },
            "Expected an asset with partitions",
        ),
        (
            {"execution": {"function": "a"}, "assets": [{"key": "a"}, {"key": "a"}]},
            "Expected each asset once in `assets`, got 'a' twice.",
        ),
        ({"execution": {"function": "a", "partitions": "x"}, "assets": [{"key": "a"}]}, "'one_call' or"),
        (
            {"execution": {"functoin": "a"}, "assets": [{"key": "a"}]},
            "There is no key 'functoin'.\nFix: Write 'function'.",
        ),
        (
            {"execution": {"function": "a", "retry_policy": {"dealy": 3}}, "assets": [{"key": "a"}]},
            "Fix: Write 'delay'.",
        ),
        ({"execution": {"function": "a"}, "assets": [{"kee": "a"}]}, "kee"),
    ],
)
def test_bad_yaml_says_what_is_wrong_and_where(
    sandbox: DefsFolderSandbox, attributes: Mapping[str, Any], text: str
) -> None:
    path = sandbox.defs_folder_path / "weather"
    path.mkdir()
    (path / "defs.yaml").write_text(yaml.safe_dump({"type": TYPE, "attributes": attributes}))
    with pytest.raises(Exception) as caught, sandbox.build_all_defs():  # noqa: PT011 - the texts are what counts
        pass
    errors = [str(caught.value), str(caught.value.__cause__)]
    assert any(text in error and "defs.yaml:" in error for error in errors), errors


class TestAttributes(TestTranslation):
    """Dagster's own cases: attributes that apply to the assets of a component."""

    def test_translation(self, sandbox: DefsFolderSandbox, attributes: Any, assertion: Any, key_modifier: Any) -> None:
        yaml = {
            "type": TYPE,
            "attributes": {
                "execution": {"function": "reports"},
                "assets": [{"key": "weather"}],
                "translation": attributes,
            },
        }
        path = sandbox.scaffold_component(
            PipesCloudFunctionComponent, scaffold_params={"function": "reports"}, defs_yaml_contents=yaml
        )
        with sandbox.load_component_and_build_defs(path) as (_, defs):
            key = dg.AssetKey("weather")
            spec = defs.get_assets_def(key_modifier(key) if key_modifier else key).get_asset_spec()
            assert assertion(spec)


class TestAssetAttributes(TestTranslation):
    """The same cases, as attributes of the asset itself. Those of a key need another key."""

    def test_translation(self, attributes: Mapping[str, Any], assertion: Any, key_modifier: Any) -> None:
        if key_modifier:
            pytest.skip("an asset in the list has its key, and needs neither a prefix nor another one")
        defs = definitions(component(assets=[{"key": "weather", **attributes}]))
        assert assertion(defs.get_assets_def("weather").get_asset_spec())


class TestExecution(TestOpCustomization):
    """Dagster's own cases of `execution`."""

    def test_translation(self, attributes: Mapping[str, Any], assertion: Any) -> None:
        execution = {"function": "reports", **attributes}
        defs = definitions(component(execution=execution, assets=[{"key": "weather", "partitions_def": DAILY}]))
        assets = defs.get_assets_def("weather")
        assert assertion(assets if "backfill_policy" in attributes else assets.op)


@pytest.mark.skipif("produces" not in dg.ComponentTypeSpec.__annotations__, reason="Dagster asks since 1.13.18")
def test_it_says_what_it_produces() -> None:
    assert PipesCloudFunctionComponent.get_spec().produces == ["asset", "asset_check"]
