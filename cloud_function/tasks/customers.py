"""The task `customers`: generates people and appends them to a Delta table."""

from collections.abc import Mapping
from datetime import date
from typing import Any, Final

import polars as pl
from dagster_pipes import PipesContext
from faker import Faker

from tasks.event import get_integer, get_uri
from tasks.tables import append_rows, counted, to_markdown

DEFAULT_ROWS: Final = 2_000
BATCH_ROWS: Final = 500
PREVIEW_ROWS: Final = 5
PREVIEW: Final = ("name", "city", pl.col("country_code").alias("country"))
SCHEMA: Final = {
    "customer_id": pl.String,
    "name": pl.String,
    "email": pl.String,
    "city": pl.String,
    "country_code": pl.String,
    "signed_up": pl.Date,
}
FIRST_DAY, LAST_DAY = date(2015, 1, 1), date(2025, 12, 31)


def run(event: Mapping[str, Any], pipes: PipesContext) -> dict[str, Any]:
    """Append people to the table, and report the table's new version.

    Args:
        event: `table_uri`: the Delta table; `rows`: how many people, 2,000 by default; `seed`: the same seed
            generates the same people, none by default.
        pipes: The Pipes context of the call.

    Raises:
        EventError: A field of the event is missing or has the wrong type.
    """
    table_uri = get_uri(event, "table_uri", example="gs://lake/customers")
    row_count = get_integer(event, "rows", default=DEFAULT_ROWS, minimum=1)
    people = generate_people(row_count, get_integer(event, "seed", default=None, minimum=0), pipes)
    table = append_rows(table_uri, people)
    pipes.log.info(f"appended {counted(people.height, 'customer')}; the table has {table.row_count} now")
    pipes.report_custom_message(table.message)
    pipes.report_asset_materialization(
        metadata={
            "preview": to_markdown(people.select(PREVIEW).head(PREVIEW_ROWS)),
            "rows": people.height,
            **table.metadata,
        },
        # Each append changes the table, and the version identifies its content.
        data_version=f"{table.id}@{table.version}",
    )
    return {"rows": people.height, "table_version": table.version}


def generate_people(row_count: int, seed: int | None, pipes: PipesContext) -> pl.DataFrame:
    """Generate people, and log the progress."""
    faker = Faker()
    faker.seed_instance(seed)  # otherwise concurrent requests would share one random generator
    people: list[tuple[Any, ...]] = []
    while len(people) < row_count:
        people += [generate_person(faker) for _ in range(min(BATCH_ROWS, row_count - len(people)))]
        pipes.log.info(f"generated {len(people)} of {counted(row_count, 'customer')}")
    return pl.DataFrame(people, schema=SCHEMA, orient="row")


def generate_person(faker: Faker) -> tuple[Any, ...]:
    """Generate the values of one row, in the order of the schema."""
    return (
        str(faker.uuid4()),
        faker.name(),
        faker.ascii_safe_email(),  # at example.com and the like, so that it belongs to nobody
        faker.city(),
        faker.country_code(),
        faker.date_between_dates(FIRST_DAY, LAST_DAY),
    )
