"""Holds a function in any language against the protocol: it calls six tasks of it, as Dagster would, and looks.

The requirements are those of docs/protocol.md. It needs no Dagster instance.
"""

from dagster_gcf_pipes._conformance.calls import UnreachableError
from dagster_gcf_pipes._conformance.options import DEFAULT_STOP_WITHIN, DEFAULT_TIMEOUT, Options, caller_of
from dagster_gcf_pipes._conformance.plan import check_function
from dagster_gcf_pipes._conformance.show import show

__all__ = [
    "DEFAULT_STOP_WITHIN",
    "DEFAULT_TIMEOUT",
    "Options",
    "UnreachableError",
    "caller_of",
    "check_function",
    "show",
]
