"""The filters for an execution's log entries, and the links that open them."""

from datetime import datetime, timedelta, timezone
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from dagster_gcf_pipes._log_query import LogScope, crash_filter, execution_filter, logs_explorer_url, time_filter

TRACE = "0af7651916cd43dd8448eb211c80319c"
STARTED = datetime(2026, 3, 18, 16, 5, 55, 290_123, tzinfo=timezone.utc)
ENDED = datetime(2026, 3, 18, 18, 10, 0, tzinfo=timezone(timedelta(hours=1)))


def execution(**fields: str | None) -> LogScope:
    return LogScope(STARTED, ENDED, TRACE, **fields)


RUN = 'resource.type="cloud_run_revision"'
ORDERS = f'{RUN}\nresource.labels.service_name="orders"'
OWN = f'trace="projects/my-project/traces/{TRACE}"'


@pytest.mark.parametrize(
    ("fields", "own", "crash"),
    [
        pytest.param({"project": "my-project"}, f"{RUN}\n{OWN}", f"{RUN}\n{OWN}", id="no service: none of others'"),
        pytest.param(
            {"project": "my-project", "service": "orders"},
            f"{ORDERS}\n{OWN}",
            f'{ORDERS}\n{OWN} OR (log_id("run.googleapis.com/varlog/system") AND severity>=WARNING)',
            id="trace",
        ),
        pytest.param(
            {"project": "my-project", "service": "orders", "execution_id": "aBc123"},
            f'{ORDERS}\n{OWN} OR labels.execution_id="aBc123"',
            f'{ORDERS}\n{OWN} OR labels.execution_id="aBc123" OR '
            '(log_id("run.googleapis.com/varlog/system") AND severity>=WARNING)',
            id="trace and execution id",
        ),
        pytest.param(
            {"project": "my-project", "service": "orders", "revision": "orders-00007-xyz", "instance_id": "00a4"},
            f"{ORDERS}\n{OWN}",
            f'{ORDERS}\n{OWN} OR (log_id("run.googleapis.com/varlog/system") AND severity>=WARNING AND '
            'resource.labels.revision_name="orders-00007-xyz" AND labels.instanceId="00a4")',
            id="instance",
        ),
        pytest.param(
            {"project": "123456789012", "service": "orders"},
            f'{ORDERS}\ntrace:"{TRACE}"',
            f'{ORDERS}\ntrace:"{TRACE}" OR (log_id("run.googleapis.com/varlog/system") AND severity>=WARNING)',
            id="project's number",
        ),
        pytest.param(
            {"project": "my-project", "execution_id": 'a" OR severity>="DEFAULT'},
            f'{RUN}\n{OWN} OR labels.execution_id="a\\" OR severity>=\\"DEFAULT"',
            f'{RUN}\n{OWN} OR labels.execution_id="a\\" OR severity>=\\"DEFAULT"',
            id="hostile execution id",
        ),
    ],
)
def test_filters(fields: dict[str, str | None], own: str, crash: str) -> None:
    assert (execution_filter(execution(**fields)), crash_filter(execution(**fields))) == (own, crash)


def test_time_filter_leaves_a_minute_for_clocks_that_differ() -> None:
    expected = 'timestamp>="2026-03-18T16:04:55.290Z"\ntimestamp<="2026-03-18T17:11:00.000Z"'
    assert time_filter(execution(project="my-project")) == expected


def test_logs_explorer_url() -> None:
    url = logs_explorer_url(execution(project="my-project", service="orders", execution_id="aBc123"))
    assert url == (
        "https://console.cloud.google.com/logs/query;query=resource.type%3D%22cloud_run_revision%22%0A"
        "resource.labels.service_name%3D%22orders%22%0A"
        f"trace%3D%22projects%2Fmy-project%2Ftraces%2F{TRACE}%22%20OR%20labels.execution_id%3D%22aBc123%22;"
        "startTime=2026-03-18T16:04:55.290Z;endTime=2026-03-18T17:11:00.000Z?project=my-project"
    )


def test_logs_explorer_url_of_a_crash_is_read_back_as_its_filter() -> None:
    """Its parentheses, slashes and semicolons end no part of the URL."""
    crashed = execution(project="example.com:my-project", service="orders", execution_id="a;b?c#d/e")
    parts = urlsplit(logs_explorer_url(crashed, crashed=True) or "")
    path, query, *time_range = parts.path.split(";")
    assert (path, unquote(query)) == ("/logs/query", f"query={crash_filter(crashed)}")
    assert len(time_range) == 2
    assert parse_qs(parts.query) == {"project": ["example.com:my-project"]}


def test_no_logs_explorer_url_without_a_project() -> None:
    assert logs_explorer_url(execution(service="orders")) is None
