"""Fresh databases without migrating each: copies of one that was migrated."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import sql
from tests.fixtures.fix_postgres import PostgresServer
from tests.sinks.conftest import Ledger

from costledger.sinks.migrations import migrate


@pytest.fixture(scope="session")
def migrated(postgres: PostgresServer) -> str:
    """The name of a migrated database that nobody is connected to."""
    url = postgres.create_database()
    migrate(url)
    return urlsplit(url).path.removeprefix("/")


@pytest.fixture
def ledger(postgres: PostgresServer, migrated: str) -> Iterator[Ledger]:
    """A fresh migrated database, in place of the fixture that migrates one."""
    url = postgres.create_database()
    name = sql.Identifier(urlsplit(url).path.removeprefix("/"))
    with psycopg.connect(postgres.url, autocommit=True) as connection:
        connection.execute(sql.SQL("DROP DATABASE {}").format(name))
        connection.execute(sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(name, sql.Identifier(migrated)))
        # These belong to a database, and no copy has them.
        connection.execute(sql.SQL("REVOKE TEMPORARY ON DATABASE {} FROM PUBLIC").format(name))
        connection.execute(sql.SQL("GRANT TEMPORARY ON DATABASE {} TO costledger_writer").format(name))
    found = Ledger(url)
    yield found
    found.connection.close()
