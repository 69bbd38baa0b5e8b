"""A nested resource: the client inside a resource of your own."""

import dagster as dg

from dagster_gcf_pipes import PipesCloudFunctionClient


class Warehouse(dg.ConfigurableResource):
    """What computes the tables of a data set."""

    cloud_function: PipesCloudFunctionClient
    dataset: str

    def compute(self, context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        """Compute the table of an asset."""
        extras = {"dataset": self.dataset}
        return self.cloud_function.run(context=context, function="describe", extras=extras).get_materialize_result()


@dg.asset
def orders(context: dg.AssetExecutionContext, warehouse: Warehouse) -> dg.MaterializeResult:
    """The orders of a shop."""
    return warehouse.compute(context)


cloud_function = PipesCloudFunctionClient(bucket=dg.EnvVar("PIPES_BUCKET"), project="my-project", region="europe-west1")
defs = dg.Definitions(
    assets=[orders],
    resources={"warehouse": Warehouse(cloud_function=cloud_function, dataset=dg.EnvVar("PIPES_BUCKET"))},
)
