"""Steps that call the simulated function many times, and what became of them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from dagster import AssetExecutionContext, DagsterInstance, MaterializeResult, asset, materialize

from dagster_gcf_pipes import (
    PipesCloudFunctionCallsError,
    PipesCloudFunctionClient,
    PipesCloudFunctionCompletedCalls,
    PipesCloudFunctionError,
)


@dataclass
class Step:
    """A step after its end.

    Attributes:
        calls: What `run_many` returned, if it did.
        error: What it raised, if it did.
        log: The lines in the log of the run: Dagster's own events, our lines and those of the functions.
    """

    calls: PipesCloudFunctionCompletedCalls | None = None
    error: PipesCloudFunctionError | None = None
    log: list[str] = field(default_factory=list)

    @property
    def succeeded(self) -> PipesCloudFunctionCompletedCalls:
        assert self.calls, self.error
        return self.calls

    @property
    def failed(self) -> PipesCloudFunctionCallsError:
        assert isinstance(self.error, PipesCloudFunctionCallsError), self.error or "the step succeeded"
        return self.error

    def lines_of(self, key: str) -> list[str]:
        """Return the log lines of a call, without its key."""
        label = f"[{key}] "
        return [line.removeprefix(label) for line in self.log if line.startswith(label)]


def run_step(
    client: PipesCloudFunctionClient, url: str, events: Mapping[str, Mapping[str, Any]], **arguments: Any
) -> Step:
    """Materialize an asset whose step calls a function many times."""
    return run_body(
        client, lambda context, client: client.run_many(context=context, function_url=url, events=events, **arguments)
    )


def run_body(
    client: PipesCloudFunctionClient,
    body: Callable[[AssetExecutionContext, PipesCloudFunctionClient], PipesCloudFunctionCompletedCalls],
    **asset_arguments: Any,
) -> Step:
    """Materialize an asset that returns the results of calls."""
    step = Step()

    @asset(**asset_arguments)
    def pages(context: AssetExecutionContext, cloud_function: PipesCloudFunctionClient) -> MaterializeResult:
        try:
            step.calls = body(context, cloud_function)
        except PipesCloudFunctionError as error:
            step.error = error
            raise
        return step.calls.get_materialize_result()

    with DagsterInstance.ephemeral() as instance:
        run = materialize([pages], resources={"cloud_function": client}, instance=instance, raise_on_error=False)
        assert run.success == (step.calls is not None)
        step.log = [line for entry in instance.all_logs(run.run_id) for line in entry.user_message.splitlines()]
    return step
