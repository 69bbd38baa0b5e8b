"""Links into the Google Cloud console."""

from urllib.parse import quote, urlencode

from dagster_gcf_pipes._functions import FunctionName
from dagster_gcf_pipes._log_query import LogScope, crash_filter, execution_filter, rfc3339

CONSOLE = "https://console.cloud.google.com"


def function_console_url(name: FunctionName) -> str | None:
    """Return the link to a function, or to its Cloud Run service, in the console. None if too little is known."""
    if not (name.project and name.region):
        return None
    if name.function:
        query = urlencode({"env": "gen2", "project": name.project})
        return f"{CONSOLE}/functions/details/{name.region}/{name.function}?{query}"
    if name.service:
        return f"{CONSOLE}/run/detail/{name.region}/{name.service}?{urlencode({'project': name.project})}"
    return None


def logs_explorer_url(scope: LogScope, *, crashed: bool = False) -> str | None:
    """Return a link to an execution's entries in the Logs Explorer, or None if the project is not known.

    The console uses this format when you share a query: query and time range are parameters of the path. Without a
    time range, the Logs Explorer shows the last hour.

    Args:
        scope: The execution.
        crashed: Whether to include the platform's warnings about the instance. They may lack the trace.
    """
    if not scope.project:
        return None
    query = quote(crash_filter(scope) if crashed else execution_filter(scope), safe="")
    time_range = f"startTime={rfc3339(scope.earliest)};endTime={rfc3339(scope.latest)}"
    return f"{CONSOLE}/logs/query;query={query};{time_range}?{urlencode({'project': scope.project})}"
