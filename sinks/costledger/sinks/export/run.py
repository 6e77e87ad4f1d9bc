"""One export: a snapshot, its totals checked against the roll-ups, its rows written, and the rows counted again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final

import psycopg

from costledger.schemas.errors import CostledgerError
from costledger.sinks.database import Connection, allow_silence
from costledger.sinks.export.columnar import parquet_schema, write_parquet
from costledger.sinks.export.delimited import write_delimited
from costledger.sinks.export.output import Destination
from costledger.sinks.export.request import Export, ExportFormat
from costledger.sinks.queries import query

#: An export may take hours: neither a limit on statements nor one on rests within a transaction may end it.
_UNLIMITED: Final = ("statement_timeout", "idle_in_transaction_session_timeout")


class ExportFailed(CostledgerError):
    """The ledger contradicts itself, or what was written is not what was promised: nothing of it should be used."""


@dataclass(frozen=True, slots=True)
class ExportSummary:
    """What an export holds. `amount` is the exact sum in USD of its rows.

    `unpriced`: entries of the period without a price; they are rows with an empty amount, but no rows of a FOCUS file.
    `hours`: the roll-ups' events and USD of the whole UTC hours of the period, which agreed with the entries.
    `watermark`: topic, partition and next offset of the ledger in this snapshot.
    """

    rows: int
    unpriced: int
    amount: Decimal
    bytes: int
    sha256: str
    hours: tuple[int, Decimal]
    watermark: list[tuple[str, int, int]]
    snapshot_at: datetime


def export_entries(
    connection: Connection,
    export: Export,
    destination: Destination,
    progress: Callable[[int, int], None] = lambda _rows, _of: None,
) -> ExportSummary:
    """Write all entries of the export to the destination; `progress` is told rows done and rows in all.

    Everything comes from one snapshot, so that rows, sum, roll-ups and watermark belong together whatever is recorded
    meanwhile. Raises `ExportFailed`, `psycopg.Error`, `OSError` of the destination, and ImportError where a Parquet
    file is wanted without the extra. Needs a connection in autocommit mode, and leaves it so.
    """
    if export.format is ExportFormat.PARQUET:
        parquet_schema()  # before anything is read
    with _snapshot(connection):
        (snapshot_at,) = _row(connection, b"SELECT now()", {})
        watermark = [(topic, partition, at) for topic, partition, at in connection.execute(query("export_watermark"))]
        rows, unpriced, amount, events, hours_amount = _row(connection, query("export_totals"), export.parameters())
        hours = _row(connection, query("export_rollups"), export.parameters())
        _check_rollups((events, hours_amount), hours)
        expected = rows - unpriced if export.format is ExportFormat.FOCUS else rows
        write = write_parquet if export.format is ExportFormat.PARQUET else write_delimited
        written = write(connection, export, destination, lambda done: progress(done, expected))
    if written != expected:
        raise ExportFailed(f"{written} rows were written of {expected} in the ledger")
    return ExportSummary(
        rows=written,
        unpriced=unpriced,
        amount=Decimal(amount),
        bytes=destination.bytes,
        sha256=destination.sha256,
        hours=(hours[0], Decimal(hours[1])),
        watermark=watermark,
        snapshot_at=snapshot_at.astimezone(UTC),
    )


@contextmanager
def _snapshot(connection: Connection) -> Iterator[None]:
    """Inside, one transaction that reads one state of the ledger, for as long as it takes."""
    before = connection.isolation_level, connection.read_only
    connection.isolation_level, connection.read_only = psycopg.IsolationLevel.REPEATABLE_READ, True
    try:
        with connection.transaction():
            for limit in _UNLIMITED:
                connection.execute("SELECT set_config(%s, '0', true)", (limit,))
            allow_silence(connection, None)
            yield
    finally:
        if not connection.closed:
            connection.isolation_level, connection.read_only = before


def _check_rollups(entries: tuple[int, str], rollups: tuple[int, str]) -> None:
    (events, amount), (told_events, told_amount) = entries, rollups
    if events != told_events or Decimal(amount) != Decimal(told_amount):
        raise ExportFailed(
            f"the whole hours of the period have {events} events of {amount} USD by the entries and {told_events} of "
            f"{told_amount} USD by the roll-ups: `costledger reconcile` shows where"
        )


def _row(connection: Connection, statement: bytes, parameters: dict[str, object]) -> tuple[Any, ...]:
    row = connection.execute(statement, parameters).fetchone()
    assert row is not None  # noqa: S101 - an aggregate without GROUP BY has one row
    return row
