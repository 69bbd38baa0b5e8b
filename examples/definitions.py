"""Two assets that one cloud function computes: see `cloud_function/main.py` for its side.

Environment variables: `PIPES_BUCKET`, `FUNCTION`, `LAKE_URI`, `WEATHER_SOURCE_URI`.
"""

from dagster import (
    AssetCheckSpec,
    AssetExecutionContext,
    AssetSelection,
    Config,
    ConfigurableResource,
    Definitions,
    EnvVar,
    MaterializeResult,
    MonthlyPartitionsDefinition,
    ScheduleDefinition,
    asset,
    define_asset_job,
)
from pydantic import Field

from dagster_gcf_pipes import PipesCloudFunctionClient


class Locations(ConfigurableResource):
    """Where the function, its input and its output are."""

    function: str = Field(description="The function: its name, or projects/PROJECT/locations/REGION/functions/NAME.")
    lake_uri: str = Field(description="Where the Delta tables are: `gs://bucket/prefix`, or a local path.")
    weather_source_uri: str = Field(description="CSV file with the daily weather: `gs://bucket/name`, or a local path.")

    def table_uri(self, name: str) -> str:
        """Return where a Delta table is."""
        return f"{self.lake_uri.rstrip('/')}/{name}"


class CustomersConfig(Config):
    """What one run of `customers` generates."""

    rows: int = Field(default=2_000, ge=1, description="How many customers to append.")
    seed: int | None = Field(default=None, ge=0, description="Makes the customers the same in each run.")


@asset(group_name="crm", kinds={"googlecloud", "deltalake"}, owners=["team:crm"])
def customers(
    context: AssetExecutionContext,
    config: CustomersConfig,
    cloud_function: PipesCloudFunctionClient,
    locations: Locations,
) -> MaterializeResult:
    """Generated customers. Each run appends some to the Delta table."""
    return cloud_function.run(
        context=context,
        function=locations.function,
        event={"task": "customers", "table_uri": locations.table_uri("customers"), **config.model_dump()},
    ).get_materialize_result()


@asset(
    group_name="weather",
    kinds={"googlecloud", "deltalake"},
    owners=["team:weather"],
    partitions_def=MonthlyPartitionsDefinition(start_date="2012-01-01", end_date="2016-01-01"),
    check_specs=[
        AssetCheckSpec(
            "every_day_once",
            asset="monthly_weather",
            description="Each location has each day of the month exactly once.",
        ),
        AssetCheckSpec(
            "plausible_values",
            asset="monthly_weather",
            description="All values are possible: for example, the lowest temperature is not above the highest.",
        ),
    ],
)
def monthly_weather(
    context: AssetExecutionContext, cloud_function: PipesCloudFunctionClient, locations: Locations
) -> MaterializeResult:
    """Weather per month and location. Each run replaces its month in the Delta table."""
    return cloud_function.run(
        context=context,
        function=locations.function,
        event={
            "task": "monthly_weather",
            "source_uri": locations.weather_source_uri,
            "table_uri": locations.table_uri("monthly_weather"),
        },
    ).get_materialize_result()


customers_job = define_asset_job(
    "customers_job",
    selection=AssetSelection.assets(customers),
    description="Appends generated customers to the Delta table `customers`, in a cloud function.",
)
monthly_weather_job = define_asset_job(
    "monthly_weather_job",
    selection=AssetSelection.assets(monthly_weather),
    description="Computes and checks the weather of a month, in a cloud function.",
)

defs = Definitions(
    assets=[customers, monthly_weather],
    jobs=[customers_job, monthly_weather_job],
    schedules=[
        ScheduleDefinition(job=customers_job, cron_schedule="0 6 * * *", description="Appends customers each morning.")
    ],
    resources={
        "cloud_function": PipesCloudFunctionClient(bucket=EnvVar("PIPES_BUCKET"), forward_logs=True),
        "locations": Locations(
            function=EnvVar("FUNCTION"),
            lake_uri=EnvVar("LAKE_URI"),
            weather_source_uri=EnvVar("WEATHER_SOURCE_URI"),
        ),
    },
)
