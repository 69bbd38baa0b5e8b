"""The steps of a call: a generator that yields what the call waits for.

One call waits in the thread that makes it. Of many calls, a few threads advance those that have something to do.
"""

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TypeAlias, TypeVar

Result = TypeVar("Result")


@dataclass(frozen=True)
class Wait:
    """What a call waits for.

    Attributes:
        reached: Whether the wait is over. Asked again whenever something about the call has changed.
        timeout: Seconds after which the wait is over in any case, or None.
    """

    reached: Callable[[], bool]
    timeout: float | None = None


Steps: TypeAlias = Generator[Wait, bool, Result]
"""Each `Wait` is answered with whether its condition was reached in time. The generator returns the result."""


def take_steps(steps: Steps[Result], wait_until: Callable[[Callable[[], bool], float | None], bool]) -> Result:
    """Take the steps of one call to their end.

    Args:
        steps: The steps.
        wait_until: Waits for a condition, at most so many seconds, and returns whether it holds.
    """
    try:
        wait = next(steps)
        while True:
            wait = steps.send(wait_until(wait.reached, wait.timeout))
    except StopIteration as end:
        result: Result = end.value
        return result
