"""What an error of PostgreSQL means for the outbox. Told apart by SQLSTATE, never by text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from costledger.schemas import sqlstates
from costledger.schemas.errors import CostledgerError

if TYPE_CHECKING:
    import psycopg


class OutboxError(CostledgerError):
    """The table of the outbox cannot be used; the cause is psycopg's error."""


class ConnectionNeeded(CostledgerError):
    """An event was tracked without the connection whose transaction it belongs to."""

    def __init__(self) -> None:
        super().__init__(
            "COSTLEDGER_DURABILITY is 'outbox', and no connection was given: track with tracker.using(connection) "
            "inside the transaction that the event belongs to"
        )


class BlockEnded(CostledgerError):
    """An event was tracked outside of the `async with` block that would have written it."""


class CallersFailure(CostledgerError):
    """A statement of the caller's own, sent earlier in its pipeline, has failed; `error` is its error."""

    def __init__(self, error: psycopg.Error) -> None:
        super().__init__(error)
        self.error = error

    def __str__(self) -> str:
        return f"an earlier statement in the same pipeline failed: {one_line(self.error)}"


def one_line(error: BaseException) -> str:
    """The text of an error in one line."""
    return " ".join(str(error).split())


def explained(error: psycopg.Error, table: str) -> OutboxError:
    """The error, with the table, the SQLSTATE and, where the table is missing, what to do."""
    state = f", SQLSTATE {error.sqlstate}" if error.sqlstate else ""
    text = f"the outbox table {table} cannot be used ({type(error).__name__}{state}): {one_line(error)}"
    if error.sqlstate == sqlstates.UNDEFINED_TABLE:
        text += f"; create it in this database with `costledger outbox create --table {table}`"
    elif error.sqlstate == sqlstates.UNDEFINED_COLUMN:
        text += "; a table of this name exists, and it is no outbox"
    return OutboxError(text)


def passes(error: psycopg.Error) -> bool:
    """Whether trying again later may succeed; a connection that broke has no SQLSTATE, and passes."""
    import psycopg

    state = error.sqlstate
    if state is None:
        return isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError))
    return sqlstates.passes(state)
