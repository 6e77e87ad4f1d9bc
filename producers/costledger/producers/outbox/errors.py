"""What an error of PostgreSQL means for the outbox. Told apart by SQLSTATE, never by text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from costledger.schemas.errors import CostledgerError

if TYPE_CHECKING:
    import psycopg

_UNDEFINED_TABLE: Final = "42P01"
_UNDEFINED_COLUMN: Final = "42703"
# Classes and codes that pass: connection (08), rollbacks such as deadlock and serialization (40), resources such as a
# full disk or too many connections (53), operator intervention (57), the system's own I/O (58); lock timeout, a
# read-only server (a standby during failover), idle-in-transaction and transaction timeouts.
_PASSING_CLASSES: Final = frozenset({"08", "40", "53", "57", "58"})
_PASSING_CODES: Final = frozenset({"55P03", "25006", "25P03", "25P04"})


class OutboxError(CostledgerError):
    """The table of the outbox cannot be used; the cause is psycopg's error."""


class ConnectionNeeded(CostledgerError):
    """An event was tracked without the connection whose transaction it belongs to."""


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
    if error.sqlstate == _UNDEFINED_TABLE:
        text += f"; create it in this database with `costledger outbox create --table {table}`"
    elif error.sqlstate == _UNDEFINED_COLUMN:
        text += "; a table of this name exists, and it is no outbox"
    return OutboxError(text)


def passes(error: psycopg.Error) -> bool:
    """Whether trying again later may succeed; a connection that broke has no SQLSTATE, and passes."""
    import psycopg

    state = error.sqlstate
    if state is None:
        return isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError))
    return state[:2] in _PASSING_CLASSES or state in _PASSING_CODES
