"""Delta tables: at a `gs://` URI in the cloud, at a local path elsewhere. The code is the same."""

import random
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import polars as pl
from dagster_pipes import PipesMetadataRawValue, PipesMetadataValue
from deltalake import DeltaTable, write_deltalake
from deltalake.exceptions import CommitFailedError

Metadata = Mapping[str, PipesMetadataRawValue | PipesMetadataValue]

COMMIT_ATTEMPTS: Final = 8
"""deltalake itself retries only a few times, and never if another writer has just created the table."""

_CONSOLE_URL: Final = "https://console.cloud.google.com/storage/browser"


@dataclass(frozen=True)
class TableState:
    """The state of a Delta table right after a write, perhaps with later writes of others.

    Attributes:
        uri: Where the table is.
        id: The table's id. A table that is deleted and created again gets another one.
        version: The number of commits since the table's first.
        row_count: The number of rows of the whole table.
    """

    uri: str
    id: str
    version: int
    row_count: int

    @property
    def metadata(self) -> Metadata:
        """Metadata for Dagster, which shows `dagster/row_count` specially."""
        metadata: dict[str, PipesMetadataRawValue | PipesMetadataValue] = {
            "dagster/row_count": self.row_count,
            "table_version": self.version,
            "location": {"raw_value": self.uri, "type": "path"},
        }
        if self.uri.startswith("gs://"):
            url = f"{_CONSOLE_URL}/{self.uri.removeprefix('gs://')}"
            metadata["console"] = {"raw_value": url, "type": "url"}
        return metadata

    @property
    def message(self) -> dict[str, Any]:
        """The state as a custom message, for the code that called the function."""
        return {"table_uri": self.uri, "table_version": self.version, "row_count": self.row_count}


def append_rows(uri: str, rows: pl.DataFrame) -> TableState:
    """Append rows in one commit. Create the table if it does not exist."""
    _commit(uri, rows, mode="append")
    return _read_state(uri)


def replace_rows(uri: str, rows: pl.DataFrame, *, partition: str, value: str) -> TableState:
    """Replace all rows of one partition in one commit. Create the table if it does not exist.

    Args:
        uri: Where the table is.
        rows: The new rows. All of them have `value` in the column `partition`.
        partition: The partition column.
        value: The partition to replace.
    """
    _commit(uri, rows, mode="overwrite", predicate=f"{partition} = '{value}'", partition_by=[partition])
    return _read_state(uri)


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: `1 row`, `2 rows`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def to_markdown(rows: pl.DataFrame) -> PipesMetadataValue:
    """Render rows as a Markdown table. Keep it narrow: Dagster's pages are."""
    lines = [rows.columns, ["---"] * rows.width, *rows.iter_rows()]
    return {"raw_value": "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines), "type": "md"}


def _cell(value: object) -> str:
    return str(value).replace("|", "\\|")


def _commit(uri: str, rows: pl.DataFrame, **options: Any) -> None:
    """Write, and retry after a conflict with another writer: a failed commit changes nothing."""
    for attempt in range(COMMIT_ATTEMPTS):
        try:
            write_deltalake(uri, rows, **options)
        except CommitFailedError:
            if attempt == COMMIT_ATTEMPTS - 1:
                raise
            time.sleep(random.uniform(0, 0.2 * 2**attempt))  # noqa: S311 - it only spreads the retries
        else:
            return


def _read_state(uri: str) -> TableState:
    table = DeltaTable(uri)
    return TableState(uri, str(table.metadata().id), table.version(), table.count())
