"""Partitioned assets: the function knows the partition of its run, and its time window."""

import dagster as dg

from dagster_gcf_pipes import PipesCloudFunctionClient

days = dg.DailyPartitionsDefinition(start_date="2024-01-01", end_date="2024-02-01")
months = dg.MonthlyPartitionsDefinition(start_date="2024-01-01", end_date="2025-01-01")
hours = dg.HourlyPartitionsDefinition("2024-10-27-00:00", timezone="Europe/Berlin", end_date="2024-10-28-00:00")
regions = dg.StaticPartitionsDefinition(["north/east", "köln", 'the "rest"'])
customers = dg.DynamicPartitionsDefinition(name="customers")
regions_by_day = dg.MultiPartitionsDefinition({"day": days, "region": regions})


def sales_asset(name: str, partitions_def: dg.PartitionsDefinition[str]) -> dg.AssetsDefinition:
    """Return an asset with these partitions."""

    @dg.asset(name=name, partitions_def=partitions_def)
    def sales(context: dg.AssetExecutionContext, cloud_function: PipesCloudFunctionClient) -> dg.MaterializeResult:
        return cloud_function.run(context=context, function="partitioned").get_materialize_result()

    return sales


sales = [
    sales_asset("daily_sales", days),
    sales_asset("monthly_sales", months),
    sales_asset("hourly_sales", hours),
    sales_asset("regional_sales", regions),
    sales_asset("customer_sales", customers),
    sales_asset("regional_sales_by_day", regions_by_day),
]
cloud_function = PipesCloudFunctionClient(bucket=dg.EnvVar("PIPES_BUCKET"), project="my-project", region="europe-west1")
defs = dg.Definitions(assets=sales, resources={"cloud_function": cloud_function})
