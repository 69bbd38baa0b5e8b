"""Deliveries of one call, several of which may arrive: one runs."""

from typing import Final

from dagster_pipes import PIPES_PROTOCOL_VERSION, PIPES_PROTOCOL_VERSION_FIELD

DELIVERIES: Final = 3
OVERLAP: Final = 1
"""Seconds that the code runs, so that the deliveries overlap."""
CODE_SECONDS: Final = 5
"""Seconds that the code would take which must not run."""
CONFLICT: Final = 409
SUCCESS: Final = range(200, 300)
_FOREIGN: Final = {
    PIPES_PROTOCOL_VERSION_FIELD: PIPES_PROTOCOL_VERSION,
    "method": "log",
    "params": {"message": "conformance: of another writer", "level": "INFO"},
}
_SKIPPED: Final = (
    "the emulator creates an object twice, whatever the precondition. Use fake-gcs-server, which honours it"
)
