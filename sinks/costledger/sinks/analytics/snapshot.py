"""One view of the ledger for several statements: numbers of one answer agree, whatever is written meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from costledger.sinks.database import Connection


@contextmanager
def snapshot(connection: Connection) -> Iterator[None]:
    """A read-only transaction that sees the ledger as it is at its first statement. The connection is in autocommit."""
    connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY")
    try:
        yield
    except BaseException:
        connection.rollback()
        raise
    connection.commit()
