"""Writes events into the outbox through the caller's connection, without harming the caller's transaction.

Where a transaction is open, a savepoint is set before and rolled back to on failure. Where none is, one begins as
the connection's mode has it: in autocommit mode the rows are committed at once, else with the caller's next commit.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple
from uuid import UUID

from costledger.producers.outbox.errors import CallersFailure, OutboxError, explained
from costledger.producers.outbox.statements import statement
from costledger.schemas.events import EventRecord

if TYPE_CHECKING:
    from psycopg import AsyncConnection, Connection


class Row(NamedTuple):
    """One event: what is written (id, key and value of the message), and the record that it came from."""

    event_id: UUID
    key: bytes
    value: bytes
    record: EventRecord

    def parameters(self) -> dict[str, Any]:
        """The parameters of the INSERT."""
        return {"event_id": str(self.event_id), "key": self.key, "value": self.value}


def write_rows(connection: Connection[Any], table: str, rows: Sequence[Row]) -> None:
    """Insert the rows, all or none. The caller's transaction is as usable after a failure as it was before.

    `OutboxError` where that fails; `CallersFailure` where the caller's own pipelined statements had failed before.
    """
    import psycopg

    try:
        _sync(connection)
    except psycopg.Error as error:
        raise CallersFailure(error) from error
    try:
        if _begins(connection):
            _insert_first(connection, table, rows)
        elif len(rows) > 1 or _pipelined(connection):
            with connection.transaction():
                _insert(connection, table, rows)
        elif connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE:
            _insert(connection, table, rows)  # autocommit: one statement is a transaction
        else:
            _insert_guarded(connection, table, rows[0])
    except psycopg.Error as error:
        raise explained(error, table) from error


async def write_rows_async(connection: AsyncConnection[Any], table: str, rows: Sequence[Row]) -> None:
    """The same as `write_rows`, through an asynchronous connection."""
    import psycopg

    try:
        await _sync_async(connection)
    except psycopg.Error as error:
        raise CallersFailure(error) from error
    try:
        if _begins(connection):
            await _insert_first_async(connection, table, rows)
        else:
            async with connection.transaction():
                await _insert_async(connection, table, rows)
    except psycopg.Error as error:
        raise explained(error, table) from error


def _insert_first(connection: Connection[Any], table: str, rows: Sequence[Row]) -> None:
    """Begin the caller's transaction with the rows. Nothing else is in it yet, so it can be ended on failure."""
    import psycopg

    try:
        _insert(connection, table, rows)
    except BaseException:
        with suppress(psycopg.Error):  # the connection is broken, which the first error says
            connection.rollback()
        raise


async def _insert_first_async(connection: AsyncConnection[Any], table: str, rows: Sequence[Row]) -> None:
    import psycopg

    try:
        await _insert_async(connection, table, rows)
    except BaseException:
        with suppress(psycopg.Error):  # as above
            await connection.rollback()
        raise


def _insert_guarded(connection: Connection[Any], table: str, row: Row) -> None:
    """Savepoint, row and release in one round trip: several statements at once need parameters bound on this side."""
    import psycopg

    cursor = psycopg.ClientCursor(connection, row_factory=psycopg.rows.tuple_row)
    try:
        cursor.execute(statement("insert_guarded", table), row.parameters())
    except BaseException:
        if connection.info.transaction_status == psycopg.pq.TransactionStatus.INERROR:
            cursor.execute(statement("undo_guarded", table))
        raise


def _insert(connection: Connection[Any], table: str, rows: Sequence[Row]) -> None:
    """Send the rows and see the result, also in a pipeline. With a cursor of our own: the caller's may be of any kind."""
    import psycopg

    cursor = psycopg.Cursor(connection, row_factory=psycopg.rows.tuple_row)
    insert = statement("insert_row", table)
    if len(rows) == 1:
        cursor.execute(insert, rows[0].parameters())
    else:
        cursor.executemany(insert, [row.parameters() for row in rows])
    _sync(connection)


async def _insert_async(connection: AsyncConnection[Any], table: str, rows: Sequence[Row]) -> None:
    import psycopg

    cursor = psycopg.AsyncCursor(connection, row_factory=psycopg.rows.tuple_row)
    await cursor.executemany(statement("insert_row", table), [row.parameters() for row in rows])
    await _sync_async(connection)


def _sync(connection: Connection[Any]) -> None:
    """In a pipeline: wait for what was sent before. What fails then is raised here, and taken for nothing else."""
    if _pipelined(connection):
        with connection.pipeline() as pipeline:
            pipeline.sync()


async def _sync_async(connection: AsyncConnection[Any]) -> None:
    if _pipelined(connection):
        async with connection.pipeline() as pipeline:
            await pipeline.sync()


def _pipelined(connection: Connection[Any] | AsyncConnection[Any]) -> bool:
    from psycopg.pq import PipelineStatus

    return connection.info.pipeline_status != PipelineStatus.OFF


def _begins(connection: Connection[Any] | AsyncConnection[Any]) -> bool:
    """Whether the next statement begins a transaction that the caller will end.

    `OutboxError` where nothing can be written now: in a transaction that has failed, and while a COPY or a stream of
    results is read, when waiting for the connection would be waiting for ever.
    """
    from psycopg.pq import TransactionStatus

    status = connection.info.transaction_status
    if status == TransactionStatus.INERROR:
        raise OutboxError("the transaction has failed, and takes no more rows until it is rolled back")
    if status == TransactionStatus.ACTIVE:
        raise OutboxError(
            "the connection is in the middle of another command (a COPY, a stream of results, another thread): "
            "track before or after it"
        )
    return status == TransactionStatus.IDLE and not connection.autocommit
