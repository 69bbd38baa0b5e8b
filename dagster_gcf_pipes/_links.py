"""Links into the Google Cloud console."""

from urllib.parse import quote, urlencode

from dagster_gcf_pipes._functions import FunctionName
from dagster_gcf_pipes._log_query import LogScope, crash_filter, execution_filter, rfc3339

CONSOLE = "https://console.cloud.google.com"


def function_console_url(name: FunctionName) -> str | None:
    """Return the console's page of a function, or of its Cloud Run service, or None if too little is known."""
    if not (name.project and name.region):
        return None
    if name.function:
        query = urlencode({"env": "gen2", "project": name.project})
        return f"{CONSOLE}/functions/details/{name.region}/{name.function}?{query}"
    if name.service:
        return f"{CONSOLE}/run/detail/{name.region}/{name.service}?{urlencode({'project': name.project})}"
    return None


def logs_explorer_url(scope: LogScope, *, crashed: bool = False) -> str | None:
    """Return a link that opens the Logs Explorer on one scope, or None if its project is not known.

    The format is the one that the console itself writes when a query is shared: the query and the time range are
    parameters of the path. The time range is needed: without one the Logs Explorer shows the latest hour.

    Args:
        scope: What to look for.
        crashed: Whether to show as well what the platform logged of the instance, which need not bear the trace.
    """
    if not scope.project:
        return None
    query = quote(crash_filter(scope) if crashed else execution_filter(scope), safe="")
    time_range = f"startTime={rfc3339(scope.earliest)};endTime={rfc3339(scope.latest)}"
    return f"{CONSOLE}/logs/query;query={query};{time_range}?{urlencode({'project': scope.project})}"
