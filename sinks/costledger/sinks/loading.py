"""Getting rows into `ledger.entries`, inside a transaction that is open.

Three ways, each slower and more patient than the one before:

1. binary COPY straight into the table: right as long as no event id is there already;
2. COPY into a temporary table, then insert what the ledger lacks: tells repeats from conflicts;
3. the second way on ever smaller halves: finds the rows that PostgreSQL refuses.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import psycopg
from psycopg import sql

from costledger.sinks.batch import DATA_ERROR, ID_CONFLICT, Rejected, rejected
from costledger.sinks.database import Connection, Meaning, meaning_of
from costledger.sinks.packing import COPY_COLUMNS, COPY_HEADER, COPY_TRAILER
from costledger.sinks.queries import query
from costledger.sinks.rows import Row

#: Rows handed to libpq at once: some hundreds of kilobytes.
_CHUNK_ROWS: Final = 1_000

_COLUMNS: Final = sql.SQL(", ").join(map(sql.Identifier, COPY_COLUMNS))


@dataclass(slots=True)
class Loaded:
    """What became of rows: in the ledger, there already, or refused."""

    inserted: list[Row] = field(default_factory=list)
    duplicates: list[Row] = field(default_factory=list)
    refused: list[Rejected] = field(default_factory=list)


def load_fast(
    connection: Connection, rows: Sequence[Row], meanwhile: Callable[[Sequence[Row]], None] = lambda _rows: None
) -> Loaded | None:
    """The first way; None where a row's id is in the ledger (or twice in the batch) or a row is refused.

    `meanwhile` is given all rows, part by part, while PostgreSQL has the same part to write.
    """
    try:
        with connection.transaction():
            _copy(connection, sql.Identifier("ledger", "entries"), rows, meanwhile)
    except psycopg.Error as error:
        if meaning_of(error) is not Meaning.DATA:
            raise
        return None
    return Loaded(inserted=list(rows))


def load_carefully(connection: Connection, rows: Sequence[Row]) -> Loaded:
    """The second way, and the third where it must be. Rows are in the order of partition and offset."""
    loaded = Loaded()
    _load_halves(connection, rows, loaded)
    return loaded


def _load_halves(connection: Connection, rows: Sequence[Row], loaded: Loaded) -> None:
    # Depth: the logarithm of the batch's size, which is bounded.
    try:
        with connection.transaction():
            part = _load_new(connection, rows)
    except psycopg.Error as error:
        if meaning_of(error) is not Meaning.DATA:
            raise
        if len(rows) == 1:
            loaded.refused.append(rejected(rows[0].message, DATA_ERROR, _explained(error)))
            return
        middle = len(rows) // 2
        _load_halves(connection, rows[:middle], loaded)
        _load_halves(connection, rows[middle:], loaded)
    else:
        loaded.inserted += part.inserted
        loaded.duplicates += part.duplicates
        loaded.refused += part.refused


def _load_new(connection: Connection, rows: Sequence[Row]) -> Loaded:
    connection.execute(
        "CREATE TEMPORARY TABLE IF NOT EXISTS batch_entries (LIKE ledger.entries INCLUDING DEFAULTS) "
        "ON COMMIT DELETE ROWS"
    )
    connection.execute("TRUNCATE pg_temp.batch_entries")
    _copy(connection, sql.Identifier("pg_temp", "batch_entries"), rows)
    new = set(connection.execute(query("insert_batch")))
    if len(new) == len(rows):
        return Loaded(inserted=list(rows))
    conflicts = set(connection.execute(query("find_conflicts")))
    loaded = Loaded()
    for row in rows:
        place = (row.partition, row.offset)
        if place in new:
            loaded.inserted.append(row)
        elif place in conflicts:
            text = f"event_id is {row.event_id}, which the ledger has with another content; it must be new"
            loaded.refused.append(rejected(row.message, ID_CONFLICT, text))
        else:
            loaded.duplicates.append(row)
    return loaded


def _copy(
    connection: Connection,
    table: sql.Identifier,
    rows: Sequence[Row],
    meanwhile: Callable[[Sequence[Row]], None] = lambda _rows: None,
) -> None:
    statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT BINARY)").format(table, _COLUMNS)
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        copy.write(COPY_HEADER)
        for start in range(0, len(rows), _CHUNK_ROWS):
            chunk = rows[start : start + _CHUNK_ROWS]
            copy.write(b"".join([row.packed for row in chunk]))
            meanwhile(chunk)
        copy.write(COPY_TRAILER)


def _explained(error: psycopg.Error) -> str:
    return f"PostgreSQL refuses the row ({error.sqlstate}): {error.diag.message_primary}"
