"""Create or upgrade the database: plain SQL files in `sql/migrations`, applied once each by yoyo-migrations.

Safe to run from several processes at once and to run again after a crash: an advisory lock of PostgreSQL
(which a dead process cannot leave behind, unlike a row in a lock table) lets one at a time in, and every
migration can be repeated.
"""

from __future__ import annotations

import logging
from functools import cache
from importlib.resources import as_file, files
from typing import Final
from urllib.parse import urlencode

import psycopg
import yoyo
from psycopg.conninfo import conninfo_to_dict

from costledger.sinks.database import Connection
from costledger.sinks.locks import AdvisoryLock

logger = logging.getLogger(__name__)

_LOCK_TIMEOUT: Final = "120s"


def migrate(database_url: str) -> list[str]:
    """Apply what the database lacks; returns the names of the migrations that were applied, in order.

    The role of `database_url` must own the database and be a superuser or have CREATEROLE. Errors of the
    database come as `psycopg.Error`; after 120 s of waiting for another process as `psycopg.errors.LockNotAvailable`.
    """
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(f"SET lock_timeout = '{_LOCK_TIMEOUT}'")
        connection.execute("SELECT pg_advisory_lock(%s)", (AdvisoryLock.MIGRATIONS.value,))
        return _apply(database_url)


def pending_migrations(database_url: str) -> list[str]:
    """The names of the migrations that the database lacks, in order."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        return pending_on(connection)


def pending_on(connection: Connection) -> list[str]:
    """The same, over a connection of the migrating role or of `costledger_writer`."""
    found = connection.execute("SELECT to_regclass('public._yoyo_migration') IS NOT NULL").fetchone()
    if found is None or not found[0]:
        return list(_known())
    applied = {name for (name,) in connection.execute("SELECT migration_id FROM public._yoyo_migration")}
    return [name for name in _known() if name not in applied]


@cache
def _known() -> tuple[str, ...]:
    with as_file(files(__package__) / "sql" / "migrations") as folder:
        return tuple(sorted(path.stem for path in folder.glob("*.sql")))


def _apply(database_url: str) -> list[str]:
    backend = yoyo.get_backend(_yoyo_url(database_url))
    try:
        with as_file(files(__package__) / "sql" / "migrations") as folder:
            wanted = backend.to_apply(yoyo.read_migrations(str(folder)))
            names = [str(migration.id) for migration in wanted]
            backend.apply_migrations(wanted)
    finally:
        backend.connection.close()
    for name in names:
        logger.info("applied migration %s", name)
    return names


def _yoyo_url(database_url: str) -> str:
    """The same address for yoyo; as parameters, so that sockets, options and odd characters survive."""
    parameters = {name: str(value) for name, value in conninfo_to_dict(database_url).items() if value is not None}
    return f"postgresql+psycopg:///?{urlencode(parameters)}"
