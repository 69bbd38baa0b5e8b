"""Jobs, resources and configuration."""

import os

import pytest
from dagster import DagsterInstance

from examples.features import (
    configure_at_launch,
    direct_invocation,
    dynamic_mapping,
    nested_resources,
    open_pipes_session,
    ops,
    run_many,
    run_tags,
)
from tests.dagster_runs import logged
from tests.features.runs import failure_text, materialized, reported, run_assets, run_job, step_keys


def test_ops_and_graphs(instance: DagsterInstance) -> None:
    run = run_job(ops, instance, "nightly")
    assert run.is_success
    assert logged(instance, run.run_id) == ["resizing photo.png", "resizing small-photo.png"]


def test_dynamic_mapping(instance: DagsterInstance) -> None:
    run = run_job(dynamic_mapping, instance, "resize_each")
    assert run.is_success
    assert sorted(logged(instance, run.run_id)) == ["resizing 0.png", "resizing 1.png", "resizing 2.png"]
    steps = step_keys(instance, run, "STEP_SUCCESS")
    assert sorted(steps[1:4]) == ["resize[image_0]", "resize[image_1]", "resize[image_2]"]


def test_run_many(instance: DagsterInstance) -> None:
    run = run_assets(run_many, instance)
    assert run.is_success
    metadata = reported(materialized(instance, run)["pages"])
    assert metadata == {"sizes": {site: len(url) for site, url in run_many.SITES.items()}, "missing": []}
    assert sorted(logged(instance, run.run_id)) == sorted(
        f"[{site}] fetching {url}" for site, url in run_many.SITES.items()
    )


@pytest.mark.parametrize(("gone", "succeeds"), [(["site7", "site3"], True), (["site7", "site3", "site5"], False)])
def test_run_many_with_failures(instance: DagsterInstance, gone: list[str], *, succeeds: bool) -> None:
    """Of the snippet's forty calls, two may fail."""
    urls = {**run_many.SITES, **{site: f"https://{site}.invalid" for site in gone}}
    run = run_assets(run_many, instance, run_config={"ops": {"pages": {"config": {"urls": urls}}}})
    assert run.is_success is succeeds
    if succeeds:
        metadata = reported(materialized(instance, run)["pages"])
        assert metadata["missing"] == ["site3", "site7"]
        assert len(metadata["sizes"]) == 38
    else:
        assert not materialized(instance, run)
        assert "3 of 40 calls failed" in failure_text(instance, run)


def test_nested_resources(instance: DagsterInstance) -> None:
    run = run_assets(nested_resources, instance)
    assert run.is_success
    (event,) = materialized(instance, run).values()
    assert reported(event)["seen"]["extras"] == {"dataset": os.environ["PIPES_BUCKET"]}


def test_configure_at_launch(instance: DagsterInstance) -> None:
    config = {"resources": {"cloud_function": {"config": {"bucket": {"env": "PIPES_BUCKET"}, "forward_logs": True}}}}
    run = run_job(configure_at_launch, instance, "ledger_job", run_config=config)
    assert run.is_success
    assert list(materialized(instance, run)) == ["ledger"]


def test_open_pipes_session(instance: DagsterInstance) -> None:
    run = run_assets(open_pipes_session, instance)
    assert run.is_success
    assert reported(materialized(instance, run)["orders"])["rows"] == 3
    assert logged(instance, run.run_id) == ["computing orders"]


def test_run_tags(instance: DagsterInstance) -> None:
    run = run_assets(run_tags, instance, tags={"team": "crm", "secret": "not passed on"})
    assert run.is_success
    assert reported(materialized(instance, run)["orders"])["seen"]["extras"] == {"team": "crm"}


def test_direct_invocation() -> None:
    direct_invocation.test_orders()
