"""A function whose stdout has slots, and so accepts no attributes, like streams written in C."""

import os
import sys
from typing import Any

import flask
from dagster_pipes import PipesContext
from gcf_pipes import pipes_function


class SlottedStream:
    """Writes to the process's stdout."""

    __slots__ = ()

    def write(self, text: str) -> int:
        return os.write(1, text.encode())

    def flush(self) -> None: ...


sys.stdout = SlottedStream()


@pipes_function
def main(request: flask.Request, pipes: PipesContext) -> Any:
    print("to stdout")
    print("to stderr", file=sys.stderr)
    return {}
