"""The handler of `pipes.log`, which people also add to the root logger, to send all that is logged to Dagster."""

import logging

from dagster_pipes import DagsterPipesError, PipesContext

from gcf_pipes._log_levels import standard_level
from gcf_pipes._own_logs import are_own_logs


def use_our_handler(pipes: PipesContext) -> None:
    """Give `pipes.log` our handler instead of that of `dagster_pipes`."""
    for handler in [*pipes.log.handlers]:
        pipes.log.removeHandler(handler)
    pipes.log.addHandler(PipesLogHandler(pipes))


class PipesLogHandler(logging.Handler):
    """Sends what is logged to Dagster.

    It holds no lock while it waits for room: other threads, and the upload that makes room, may log meanwhile. What the
    runtime itself logs is left out.

    After the end of the run, `pipes.log` raises as every Pipes call does. On another logger the handler does nothing
    then: whoever logs there knows nothing of Pipes.

    Args:
        pipes: The context of the run.
    """

    def __init__(self, pipes: PipesContext) -> None:
        super().__init__()
        self._pipes = pipes

    def handle(self, record: logging.LogRecord) -> bool:
        """Send a record that the filters let through, without the lock that other handlers hold."""
        result = self.filter(record)
        if result:
            self.emit(result if isinstance(result, logging.LogRecord) else record)  # since 3.12 a filter may replace it
        return bool(result)

    def emit(self, record: logging.LogRecord) -> None:
        """Send a record.

        Its level is that of its number: a filter of the user's may have coloured its name.

        Raises:
            DagsterPipesError: As every Pipes call.
        """
        if are_own_logs():
            return
        try:
            self._pipes._write_message(  # noqa: SLF001 - as the handler of dagster_pipes does
                "log", {"message": record.getMessage(), "level": standard_level(record.levelno)}
            )
        except DagsterPipesError:
            if record.name == self._pipes.log.name or not self._pipes.is_closed:
                raise
