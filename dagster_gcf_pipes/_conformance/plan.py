"""Which calls are made, and which of them run at the same time."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from functools import partial
from threading import Semaphore
from typing import Final

from gcf_pipes import GcfPipesError

from dagster_gcf_pipes._conformance import claims, contexts, endings, refusals, reporting, stopping, streams, whole
from dagster_gcf_pipes._conformance.calls import Caller, UnreachableError, in_background
from dagster_gcf_pipes._conformance.findings import Check, Checks, Finding, NotMetError, find
from dagster_gcf_pipes._conformance.requirements import REQUIREMENTS
from dagster_gcf_pipes._errors import PipesCloudFunctionError
from dagster_gcf_pipes._http import AnsweredBy

_LONG: Final = (stopping.stay_silent, stopping.cancel, stopping.cancel_many, stopping.run_out_of_time)
"""What mostly waits. It runs while all others run."""
_SHORT: Final = (
    claims.deliver_at_once,
    claims.deliver_late,
    claims.deliver_claimed,
    claims.deliver_with_foreign_chunk,
    contexts.echo_fields,
    contexts.echo_missing,
    contexts.echo_unicode,
    contexts.echo_large,
    contexts.echo_object,
    contexts.echo_at_once,
    contexts.forward_output,
    endings.fail,
    endings.respond_with_statuses,
    refusals.refuse,
    refusals.refuse_what_does_not_fit,
    streams.burst,
)
SHORT_AT_ONCE: Final = 2
"""How many of the short ones run at once: an instance may serve few calls at once."""

_FIX: Final = "Fix: Start the function, and pass its URL. `dagster-gcf-pipes doctor --url URL` says more."


def check_function(caller: Caller) -> Iterator[Finding]:
    """Make all calls, and yield what is known of each requirement, in their order.

    The task `report` comes first, and alone: it says what the function announces.

    Raises:
        UnreachableError: The first call does not reach it.
    """
    checks = dict(reporting.report(caller))
    attempt = caller.sessions[0].answer.attempt
    if attempt.answered_by is AnsweredBy.NOT_SENT:
        raise UnreachableError(f"Expected the function to take a call, but it was not sent: {attempt.error}.\n{_FIX}")
    problems = []
    for future in _start(caller):
        try:
            checks.update(future.result())
        except (GcfPipesError, PipesCloudFunctionError) as error:
            problems.append(str(error))
    checks.update(whole.check_sessions(caller))
    for requirement in REQUIREMENTS:
        yield find(requirement, checks.get(requirement.name) or _could_not(problems))


def _start(caller: Caller) -> Sequence[Future[Checks]]:
    turns = Semaphore(SHORT_AT_ONCE)

    def in_turn(scenario: Callable[[Caller], Checks]) -> Checks:
        with turns:
            return scenario(caller)

    long = [in_background(partial(scenario, caller)) for scenario in _LONG]
    return [*long, *(in_background(partial(in_turn, scenario)) for scenario in _SHORT)]


def _could_not(problems: Sequence[str]) -> Check:
    def check() -> str:
        raise NotMetError(f"The calls could not be made: {'; '.join(problems)}")

    return check
