"""A function whose stdout takes no attribute, as some that are written in C, or with slots, do not."""

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
