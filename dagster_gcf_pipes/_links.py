"""Links into the Google Cloud console."""

from urllib.parse import quote, urlencode

from dagster_gcf_pipes._execution import Execution, crash_filter, execution_filter, rfc3339
from dagster_gcf_pipes._function_place import FunctionPlace

CONSOLE = "https://console.cloud.google.com"


def function_console_url(place: FunctionPlace) -> str | None:
    """Return the console's page of a function, or of its Cloud Run service, or None if too little is known."""
    if not (place.project and place.region):
        return None
    if place.function:
        query = urlencode({"env": "gen2", "project": place.project})
        return f"{CONSOLE}/functions/details/{place.region}/{place.function}?{query}"
    if place.service:
        return f"{CONSOLE}/run/detail/{place.region}/{place.service}?{urlencode({'project': place.project})}"
    return None


def logs_explorer_url(execution: Execution, *, crashed: bool = False) -> str | None:
    """Return a link that opens the Logs Explorer on one execution, or None if its project is not known.

    The format is the one that the console itself writes when a query is shared: the query and the time range are
    parameters of the path. The time range is needed: without one the Logs Explorer shows the latest hour.

    Args:
        execution: What to look for.
        crashed: Whether to show as well what the platform logged of the instance, which need not bear the trace.
    """
    if not execution.project:
        return None
    query = quote(crash_filter(execution) if crashed else execution_filter(execution), safe="")
    time_range = f"startTime={rfc3339(execution.earliest)};endTime={rfc3339(execution.latest)}"
    return f"{CONSOLE}/logs/query;query={query};{time_range}?{urlencode({'project': execution.project})}"
