"""Many calls in one step: a call for each event, of which some may fail."""

import dagster as dg

from dagster_gcf_pipes import PipesCloudFunctionClient

SITES = {f"site{number}": f"https://site{number}.example" for number in range(40)}


class Sites(dg.Config):
    """The pages to fetch, by the names of their sites."""

    urls: dict[str, str] = SITES


@dg.asset
def pages(
    context: dg.AssetExecutionContext, config: Sites, cloud_function: PipesCloudFunctionClient
) -> dg.MaterializeResult:
    """The pages of all sites. Of a hundred, five may be missing."""
    events = {site: {"url": url} for site, url in config.urls.items()}
    calls = cloud_function.run_many(
        context=context, function="crawl", events=events, max_concurrency=20, tolerate_failures=0.05
    )
    sizes = {site: call.response.json()["bytes"] for site, call in calls.succeeded.items()}
    return dg.MaterializeResult(metadata={"sizes": sizes, "missing": [*calls.failed], **calls.metadata})


cloud_function = PipesCloudFunctionClient(bucket=dg.EnvVar("PIPES_BUCKET"), project="my-project", region="europe-west1")
defs = dg.Definitions(assets=[pages], resources={"cloud_function": cloud_function})
