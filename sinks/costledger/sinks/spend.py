"""What a user has spent and may spend, straight from the ledger: for who must know it when the real-time view is lost."""

from __future__ import annotations

import os
from collections.abc import Callable
from threading import Lock
from typing import Final, TypeVar

import psycopg

from costledger.schemas.budgets import Budget
from costledger.schemas.periods import Period
from costledger.schemas.times import from_microseconds
from costledger.sinks.budgets import get_budget
from costledger.sinks.database import Connection, connect
from costledger.sinks.queries import query

_APPLICATION_NAME: Final = "costledger guard"

Result = TypeVar("Result")


def month_to_date(connection: Connection, user_id: str, period: Period) -> int:
    """The sum of the user's priced entries in a period of any zone, in 1e-12 USD: what the ledger has now.

    The roll-ups answer for full hours of UTC, the entries for the rest: some milliseconds, however many entries.
    """
    bounds = {"start": from_microseconds(period.start_us), "end": from_microseconds(period.end_us)}
    row = connection.execute(query("month_to_date"), {"user_id": user_id, **bounds}).fetchone()
    return 0 if row is None else int(row[0])


class LedgerReader:
    """Answers about users through one connection, opened when first needed and again when it broke.

    Safe to share between threads, which wait for each other; a forked child opens its own. Raises `psycopg.Error`
    where the database cannot be asked within `timeout_seconds`.
    """

    def __init__(self, database_url: str, timeout_seconds: float = 5.0) -> None:
        self._database_url = database_url
        self._timeout_seconds = timeout_seconds
        #: Of a parent process; kept, because to free them would end its sessions.
        self._parents: list[Connection | None] = []
        self._connection: Connection | None = None
        self._start_afresh()

    def budget(self, user_id: str) -> Budget | None:
        """The user's own budget; None where none was set."""
        return self._ask(lambda connection: get_budget(connection, user_id))

    def month_to_date(self, user_id: str, period: Period) -> int:
        """What the ledger has of the user in a period, in 1e-12 USD."""
        return self._ask(lambda connection: month_to_date(connection, user_id, period))

    def close(self) -> None:
        """Close the connection; the next question opens another one."""
        with self._lock:
            connection = self._connection
            self._connection = None
        if connection is not None:
            connection.close()

    def _ask(self, work: Callable[[Connection], Result]) -> Result:
        if self._pid != os.getpid():
            # The lock may be held by a thread of the parent, and the socket is the parent's.
            self._parents.append(self._connection)
            self._start_afresh()
        with self._lock:
            was_open = self._connection is not None
            try:
                return work(self._open())
            except psycopg.OperationalError:
                # It may have been idle for hours: a server that was restarted meanwhile is no reason to fail.
                if not self._drop_broken() or not was_open:
                    raise
            try:
                return work(self._open())
            except psycopg.OperationalError:
                self._drop_broken()
                raise

    def _open(self) -> Connection:
        if self._connection is None:
            self._connection = connect(self._database_url, _APPLICATION_NAME, self._timeout_seconds)
            self._connection.execute("SET default_transaction_read_only = on")
        return self._connection

    def _drop_broken(self) -> bool:
        """Give up a connection that broke; False where there is none or it still works."""
        if self._connection is None or not self._connection.closed:
            return False
        self._connection = None
        return True

    def _start_afresh(self) -> None:
        self._pid = os.getpid()
        self._lock = Lock()
        self._connection = None
