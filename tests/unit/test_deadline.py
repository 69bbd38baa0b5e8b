"""The threads of operations with a deadline: used again, ended when idle, and none of a parent process."""

import os
import subprocess
import threading

import pytest
from gcf_pipes._shared.deadline import Deadline

from dagster_gcf_pipes.local._processes import python_command
from tests.waiting import wait_until

FORK = """
import os
from gcf_pipes._shared.deadline import Deadline
parent = os.getpid()
Deadline(5).run(os.getpid)  # leaves an idle thread
if not (child := os.fork()):
    os._exit(Deadline(5).run(os.getpid) == parent)
assert os.waitpid(child, 0)[1] == 0
assert Deadline(5).run(os.getpid) == parent
"""


def test_a_thread_is_used_again_and_ends_when_it_is_idle() -> None:
    idents: list[int] = []

    def is_used_again() -> bool:
        idents.append(Deadline(5).run(threading.get_ident))
        return len(set(idents)) < len(idents)

    wait_until(is_used_again)
    wait_until(lambda: not [thread for thread in threading.enumerate() if thread.ident in idents])
    assert Deadline(5).run(lambda: "another thread") == "another thread"


def test_operations_that_run_at_once_have_threads_of_their_own() -> None:
    together = threading.Barrier(8)

    def wait_for_the_others() -> int:
        together.wait(20)
        return threading.get_ident()

    assert len(set(Deadline(30).run_all([wait_for_the_others] * 8))) == 8


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_child_starts_threads_of_its_own() -> None:
    subprocess.run(python_command("-W", "ignore", "-c", FORK), check=True, timeout=60)
