"""The deployed function: one entry point, several tasks, and the event says which of them runs.

    {"task": "customers", "table_uri": "gs://lake/customers", "rows": 2000}
    {"task": "monthly_weather", "table_uri": "gs://lake/monthly_weather", "source_uri": "gs://lake/weather.csv"}

Off Cloud Run a table or a source can be at a local path as well.
"""

import logging
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from typing import Any, Final, TypeAlias

import flask
from dagster_pipes import PipesContext
from gcf_pipes import pipes_function
from tasks import customers, weather
from tasks.event import get_choice

Task: TypeAlias = Callable[[Mapping[str, Any], PipesContext], dict[str, Any]]

TASKS: Final[Mapping[str, Task]] = {"customers": customers.run, "monthly_weather": weather.run}


@pipes_function
def main(request: flask.Request, pipes: PipesContext) -> dict[str, Any]:
    """Run the task that the event names; what it returns is the response."""
    pipes.log.addFilter(CreationTimeFilter())
    event = request.get_json()
    task = get_choice(event, "task", TASKS)
    return TASKS[task](event, pipes)


class CreationTimeFilter(logging.Filter):
    """Starts each log line with the time at which it was created: `2026-11-21T07:00:00.123Z generated 500 people`.

    The timestamp that Dagster shows is the time of arrival.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Put the time in front of the message; every record passes."""
        created = datetime.fromtimestamp(record.created, timezone.utc).replace(tzinfo=None)
        record.msg = f"{created.isoformat(timespec='milliseconds')}Z {record.getMessage()}"
        record.args = None  # they are in the message now
        return True
