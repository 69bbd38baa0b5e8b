"""The handler of `pipes.log`. Users can also add it to the root logger to send all logs to Dagster."""

import logging

from dagster_pipes import DagsterPipesError, PipesContext

from gcf_pipes._shared.log_levels import standard_level
from gcf_pipes._shared.own_logs import are_own_logs


def use_our_handler(pipes: PipesContext) -> None:
    """Give `pipes.log` our handler instead of that of `dagster_pipes`."""
    for handler in [*pipes.log.handlers]:
        pipes.log.removeHandler(handler)
    pipes.log.addHandler(PipesLogHandler(pipes))


class PipesLogHandler(logging.Handler):
    """Sends log records to Dagster, except the runtime's own.

    It holds no lock while it waits for room, because other threads and the upload that makes room may log meanwhile.

    After the context is closed, `pipes.log` raises like every Pipes call. On any other logger the handler then does
    nothing, because code that logs there does not expect Pipes errors.

    Args:
        pipes: The context of the call.
    """

    def __init__(self, pipes: PipesContext) -> None:
        super().__init__()
        self._pipes = pipes

    def handle(self, record: logging.LogRecord) -> bool:
        """Send a record that passes the filters, without the lock of other handlers."""
        result = self.filter(record)
        if result:
            self.emit(result if isinstance(result, logging.LogRecord) else record)  # since 3.12 a filter may replace it
        return bool(result)

    def emit(self, record: logging.LogRecord) -> None:
        """Send a record.

        The level comes from its number, because a user's filter may have changed its name.

        Raises:
            DagsterPipesError: As in every Pipes call.
        """
        if are_own_logs():
            return
        try:
            self._pipes._write_message(  # noqa: SLF001 - as in dagster_pipes' own handler
                "log", {"message": record.getMessage(), "level": standard_level(record.levelno)}
            )
        except DagsterPipesError:
            if record.name == self._pipes.log.name or not self._pipes.is_closed:
                raise
