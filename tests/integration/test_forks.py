"""A function that forks: the session stays with the parent, and nothing hangs or is lost."""

import pytest
from google.cloud import storage

from dagster_gcf_pipes.local import FunctionServer
from tests.integration.test_outcomes import Caller
from tests.quotes import Quote
from tests.sessions import summarize


@pytest.fixture
def caller(endings: FunctionServer, bucket: str, storage_client: storage.Client) -> Caller:
    return Caller(endings.url, bucket, storage_client)


@pytest.mark.parametrize("include_stdio", [False, True])
def test_a_pipes_call_in_a_forked_child_is_refused_at_once(caller: Caller, include_stdio: bool, quote: Quote) -> None:
    child = caller.call("pipes_call_in_child", include_stdio=include_stdio).json()["child"]
    quote("forked_child", child)
    assert summarize(caller.messages()) == ["opened", "from the parent", "closed"]


@pytest.mark.parametrize(("how", "code"), [("returns", 0), ("exits", 3), ("raises", 1), ("closes", 0)])
@pytest.mark.parametrize("include_stdio", [False, True])
def test_a_forked_child_leaves_the_session_to_its_parent(
    caller: Caller, how: str, code: int, include_stdio: bool
) -> None:
    assert caller.call("child_ends", how=how, include_stdio=include_stdio).json() == {"code": code}
    assert summarize(caller.messages()) == ["opened", "from the parent", "closed"]


def test_forked_children_that_print_do_not_hang(caller: Caller) -> None:
    response = caller.call("children_print", children=6, include_stdio=True)
    assert response.json() == {"ended": [True] * 6}
    assert caller.exception() is None
