"""The deployed function: one entry point with several tasks. The event names the task.

    {"task": "customers", "table_uri": "gs://lake/customers", "rows": 2000}
    {"task": "monthly_weather", "table_uri": "gs://lake/monthly_weather", "source_uri": "gs://lake/weather.csv"}

Outside Cloud Run, a table or a source can also be at a local path.
"""

from collections.abc import Callable, Mapping
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
    """Run the task that the event names. Its result is the response."""
    event = request.get_json()
    task = get_choice(event, "task", TASKS)
    return TASKS[task](event, pipes)
