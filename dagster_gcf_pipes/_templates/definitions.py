from dagster import AssetExecutionContext, Definitions, EnvVar, asset
from dagster_gcf_pipes import PipesCloudFunctionClient


@asset
def orders(context: AssetExecutionContext, cloud_function: PipesCloudFunctionClient):
    event = {"table_uri": "gs://lake/orders"}
    return cloud_function.run(context=context, function="orders", event=event).get_materialize_result()


bucket, project, region = EnvVar("PIPES_BUCKET"), "my-project", "europe-west1"
cloud_function = PipesCloudFunctionClient(bucket=bucket, project=project, region=region)
defs = Definitions(assets=[orders], resources={"cloud_function": cloud_function})
