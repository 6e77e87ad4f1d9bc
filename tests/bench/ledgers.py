"""Ledgers for the benchmarks: a database migrated afresh for each run, and the check of what was written."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from typing import Any
from urllib.parse import urlsplit

import psycopg
import psycopg.abc
from psycopg import sql

from costledger.schemas.money import to_usd
from costledger.sinks.chain.sealing import seal
from costledger.sinks.migrations import migrate

Connection = psycopg.Connection[tuple[Any, ...]]


class WrongResult(RuntimeError):
    """What a contender came to is not the workload's: its rate means nothing."""


@contextmanager
def fresh_ledger(server_url: str, first_day: date, last_day: date) -> Iterator[tuple[str, Connection]]:
    """URL of an empty ledger with partitions for these days, and a connection to it; dropped at the end.

    The server has written its dirty pages before: no run pays for the one before it.
    """
    name = f"bench_{uuid.uuid4().hex[:12]}"
    url = urlsplit(server_url)._replace(path=f"/{name}").geturl()
    with psycopg.connect(server_url, autocommit=True) as server:
        server.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        try:
            migrate(url)
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute("SELECT ledger.ensure_partitions(%s, %s)", (first_day, last_day))
                server.execute("CHECKPOINT")
                yield url, connection
        finally:
            server.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def consumed(connection: Connection) -> int:
    """How many offsets a sink has accounted for."""
    ((offsets,),) = connection.execute("SELECT coalesce(sum(next_offset), 0) FROM ledger.sink_offsets").fetchall()
    return int(offsets)


def log_position(connection: Connection) -> str:
    """Where the server's write-ahead log ends."""
    ((position,),) = connection.execute("SELECT pg_current_wal_insert_lsn()::text").fetchall()
    return str(position)


def log_bytes_since(connection: Connection, position: str) -> int:
    """How much was written to the log since: by the whole server, full pages after its last checkpoint included."""
    ((size,),) = connection.execute("SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), %s)", (position,)).fetchall()
    return int(size)


def sealing_rate(connection: Connection, topic: str, rows: int) -> float:
    """Entries per second that one process seals into the hash chain; `WrongResult` unless it seals so many."""
    began = time.monotonic()
    sealed = seal(connection, topic)
    if sealed != rows:
        raise WrongResult(f"{sealed} entries were sealed; the workload has {rows}")
    return rows / (time.monotonic() - began)


def check_entries(connection: Connection, rows: int, amount: int) -> None:
    """`WrongResult` unless the ledger has so many entries and their amounts (1e-12 USD) add up to this."""
    _check(connection, "entries", "SELECT count(*), sum(amount) FROM ledger.entries", rows, amount)


def check_rows(connection: Connection, table: str, rows: int, amount: int) -> None:
    """The same of a peer's own table in the schema `public`."""
    query = sql.SQL("SELECT count(*), sum(amount) FROM {}").format(sql.Identifier("public", table))
    _check(connection, table, query, rows, amount)


def check_totals(connection: Connection, rows: int, amount: int) -> None:
    """`WrongResult` unless both roll-ups have so many events and add up to this amount (1e-12 USD)."""
    for table in ("hourly_totals", "daily_totals"):
        query = sql.SQL("SELECT sum(events), sum(amount) FROM {}").format(sql.Identifier("ledger", table))
        _check(connection, table, query, rows, amount)


def _check(connection: Connection, what: str, query: psycopg.abc.Query, rows: int, amount: int) -> None:
    (found,) = connection.execute(query).fetchall()
    if found != (rows, to_usd(amount)):
        raise WrongResult(f"the {what} of the ledger are {found}; the workload's are {(rows, to_usd(amount))}")
