"""Config that a person enters in the launchpad becomes the event."""

import dagster as dg
from pydantic import Field

from dagster_gcf_pipes import PipesCloudFunctionClient


class ShipmentsConfig(dg.Config):
    """What the launchpad asks for."""

    rows: int = Field(default=3, ge=1, description="How many shipments to compute.")


@dg.asset
def shipments(
    context: dg.AssetExecutionContext, config: ShipmentsConfig, cloud_function: PipesCloudFunctionClient
) -> dg.MaterializeResult:
    """What the shop sent."""
    return cloud_function.run(context=context, function="orders", event=config.model_dump()).get_materialize_result()


shipments_job = dg.define_asset_job("shipments_job", selection=[shipments])


cloud_function = PipesCloudFunctionClient(bucket=dg.EnvVar("PIPES_BUCKET"), project="my-project", region="europe-west1")
defs = dg.Definitions(assets=[shipments], jobs=[shipments_job], resources={"cloud_function": cloud_function})
