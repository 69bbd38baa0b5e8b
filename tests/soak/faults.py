"""Sporadic, transient faults: they must not change the outcome of the user's code."""

from collections.abc import Container, Mapping
from dataclasses import dataclass
from random import Random
from typing import Final

from tests.faults.plan import (
    CALL,
    DELETE,
    INSTANCE_DIED,
    NO_INSTANCE_429,
    NO_INSTANCE_500,
    PLATFORM_TIMEOUT,
    READ,
    STORAGE_RATE_LIMITED,
    STORAGE_UNAVAILABLE,
    UPLOAD,
    Action,
    Delay,
    DeliverLate,
    Duplicate,
    Fault,
    Match,
    ResetAfter,
    ResetBefore,
    Stall,
    StatusAfter,
    Truncate,
)
from tests.faults.stack import Link

STORAGE_RATE: Final = 0.005
"""The chance of each fault for a request to the bucket. A run makes about a dozen of them."""
CALL_RATE: Final = 0.02
"""The chance of each fault for an attempt of a call."""

STORAGE_ACTIONS: Final[tuple[Action, ...]] = (
    STORAGE_UNAVAILABLE,
    STORAGE_RATE_LIMITED,
    ResetBefore(),
    ResetAfter(),
    StatusAfter(503),
    Stall(0.3),
    Delay(0.3),
)
CALL_ACTIONS: Final[tuple[Action, ...]] = (
    NO_INSTANCE_429,
    NO_INSTANCE_500,
    INSTANCE_DIED,
    PLATFORM_TIMEOUT,
    ResetBefore(),
    ResetAfter(),
    DeliverLate(0.5),
    DeliverLate(1.5, INSTANCE_DIED),
    ResetAfter(within=0.2),
    StatusAfter(503),
    StatusAfter(504, within=0.2),
    Stall(0.3),
    Duplicate(answer="second"),
    Duplicate(concurrently=True),
)


@dataclass(frozen=True)
class Sporadic(Container[int]):
    """Ordinals chosen by a seed, each with the same chance.

    Attributes:
        seed: The seed.
        rate: The chance, from 0 to 1.
    """

    seed: str
    rate: float

    def __contains__(self, ordinal: object) -> bool:
        return Random(f"{self.seed} {ordinal}").random() < self.rate


def sporadic_faults(seed: int) -> Mapping[Link, list[Fault]]:
    """Return the plan of each link. A fault need not be triggered in a short time."""
    cut = Truncate(5)
    return {
        "writer": [
            *_sporadic(UPLOAD, STORAGE_ACTIONS, STORAGE_RATE, f"{seed} upload"),
            *_sporadic(UPLOAD.answered(200), [cut], STORAGE_RATE, f"{seed} uploaded"),
        ],
        "reader": [
            *_sporadic(READ, STORAGE_ACTIONS, STORAGE_RATE, f"{seed} read"),
            *_sporadic(READ.answered(200), [cut], STORAGE_RATE, f"{seed} found"),
            *_sporadic(DELETE, STORAGE_ACTIONS, STORAGE_RATE, f"{seed} delete"),
        ],
        "call": _sporadic(CALL, CALL_ACTIONS, CALL_RATE, f"{seed} call"),
    }


def _sporadic(match: Match, actions: "tuple[Action, ...] | list[Action]", rate: float, seed: str) -> list[Fault]:
    return [
        Fault(match, action, at=Sporadic(f"{seed} {number}", rate), minimum=0) for number, action in enumerate(actions)
    ]
