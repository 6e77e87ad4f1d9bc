"""The queue's tables: procrastinate's own SQL, in a schema of their own named `jobs`, applied once.

procrastinate names its tables and functions without a schema. So that they are found wherever one asks from, each
function carries its search path; statements of the library itself need it in the session (see `queue`).
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Final, cast

import psycopg
from procrastinate.schema import SchemaManager

from costledger.sinks.queries import query

#: The schema of PostgreSQL that holds the queue.
SCHEMA: Final = "jobs"
#: In the names of what `migrate` applied.
_PREFIX: Final = "jobs_"


def pending_queue_migrations(database_url: str) -> list[str]:
    """What the queue in this database lacks, in order; one name where it is not there at all."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        return [_PREFIX + name for name in _pending(_applied(connection), known_migrations())]


def apply_queue_schema(database_url: str) -> list[str]:
    """Create the queue, or upgrade it to the installed procrastinate; returns the names of what was applied.

    For a caller that holds the lock of migrations. The role of `database_url` must own the database and be able to
    act as costledger_owner. All or nothing: one transaction.
    """
    known = known_migrations()
    with psycopg.connect(database_url, autocommit=True) as connection, connection.transaction():
        applied = _applied(connection)
        wanted = _pending(applied, known)
        if not wanted:
            return []
        connection.execute("CREATE SCHEMA IF NOT EXISTS jobs AUTHORIZATION costledger_owner")
        connection.execute("SET LOCAL ROLE costledger_owner")
        connection.execute("SET LOCAL search_path = jobs")
        if applied:
            folder = Path(SchemaManager.get_migrations_path())
            for name in wanted:
                connection.execute((folder / f"{name}.sql").read_bytes())
        else:
            connection.execute((files("procrastinate.sql") / "schema.sql").read_bytes())
        connection.execute(query("queue_privileges"))
        connection.cursor().executemany(
            "INSERT INTO jobs.schema_migrations (name) VALUES (%s)", [(name,) for name in wanted]
        )
    return [_PREFIX + name for name in wanted]


def known_migrations() -> list[str]:
    """The migrations of the installed procrastinate, the oldest first. Its schema file is the state after the last."""
    return sorted(path.stem for path in Path(SchemaManager.get_migrations_path()).glob("*.sql"))


def _pending(applied: set[str], known: list[str]) -> list[str]:
    """What comes after the newest that was applied; of an empty database only the newest, which stands for all."""
    if not applied:
        return known[-1:]
    return [name for name in known if name > max(applied)]


def _applied(connection: psycopg.Connection[tuple[object, ...]]) -> set[str]:
    found = connection.execute("SELECT to_regclass('jobs.schema_migrations') IS NOT NULL").fetchone()
    if found is None or not found[0]:
        return set()
    return {cast("str", name) for (name,) in connection.execute("SELECT name FROM jobs.schema_migrations")}
