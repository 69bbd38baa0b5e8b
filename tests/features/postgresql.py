"""A PostgreSQL cluster of the tests' own."""

import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from signal import SIGQUIT
from typing import Any

import sqlalchemy
from dagster import instance_for_test

from dagster_gcf_pipes.local._processes import run_process

USER = "postgres"
TEMPLATE = "dagster"
"""The database with Dagster's tables. A copy takes a tenth of the time that their creation takes."""
FAST = ("fsync=off", "synchronous_commit=off", "full_page_writes=off")
"""The data does not outlive the tests."""


def find_postgresql() -> Path | None:
    """Return the folder of the programs of PostgreSQL, or None. Debian keeps it off the PATH."""
    if initdb := shutil.which("initdb"):
        return Path(initdb).resolve().parent
    folders = [each.parent for each in Path("/usr/lib/postgresql").glob("*/bin/initdb")]
    return max(folders, key=lambda folder: float(folder.parent.name), default=None)


@dataclass(frozen=True)
class PostgreSQL:
    """A running cluster.

    Attributes:
        folder: Its files, and the only socket on which it listens.
    """

    folder: Path

    def create_storage(self) -> dict[str, Any]:
        """Create a database with Dagster's tables; return the entry `storage` of a `dagster.yaml`."""
        name = f"test_{uuid.uuid4().hex}"
        self._execute(f"CREATE DATABASE {name} TEMPLATE {TEMPLATE}")
        return self._storage(name)

    def create_template(self) -> None:
        """Create the database that the others are copies of."""
        self._execute(f"CREATE DATABASE {TEMPLATE}")
        with instance_for_test({"storage": self._storage(TEMPLATE)}):
            pass  # Dagster creates its tables

    def _storage(self, database: str) -> dict[str, Any]:
        return {"postgres": {"postgres_url": self._url(database)}}

    def _url(self, database: str) -> str:
        return f"postgresql+psycopg2://{USER}@/{database}?host={self.folder}"

    def _execute(self, statement: str) -> None:
        engine = sqlalchemy.create_engine(self._url("postgres"), isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(sqlalchemy.text(statement))
        engine.dispose()


@contextmanager
def run_postgresql(programs: Path) -> Iterator[PostgreSQL]:
    """Run a new cluster while the block runs."""
    with tempfile.TemporaryDirectory(prefix="postgresql-", ignore_cleanup_errors=True) as name:
        folder, data = Path(name), f"{name}/data"
        as_user = _as_another_user(folder)
        initdb = [*as_user, str(programs / "initdb"), "-D", data, "-U", USER, "--auth=trust", "--no-sync"]
        subprocess.run(initdb, check=True, capture_output=True, cwd=folder)
        settings = ["listen_addresses=", f"unix_socket_directories={folder}", *FAST]
        server = [*as_user, str(programs / "postgres"), "-D", data, *(f"--{each}" for each in settings)]
        with run_process(server, ready="(ready to accept connections)", cwd=folder, stop_signal=SIGQUIT):
            cluster = PostgreSQL(folder)
            cluster.create_template()
            yield cluster


def _as_another_user(folder: Path) -> Sequence[str]:
    """Return the start of a command that root runs as the user `postgres`, who then owns the folder."""
    if os.getuid() != 0:
        return []
    shutil.chown(folder, USER)
    return ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--init-groups"]
