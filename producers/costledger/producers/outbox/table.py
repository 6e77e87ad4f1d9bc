"""The outbox table as its operators see it: connect, create, count; and one batch of the relay's work."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from costledger.producers.outbox.delivery import ACKNOWLEDGE_SECONDS_MAX, WaitingRow
from costledger.producers.outbox.errors import explained, passes
from costledger.producers.outbox.statements import check_table_name, require_psycopg, statement
from costledger.schemas.errors import Unavailable

if TYPE_CHECKING:
    import psycopg

    Connection = psycopg.Connection[tuple[Any, ...]]

_CONNECT_SECONDS_MAX: Final = 5
#: Above the wait for Kafka, so that PostgreSQL ends the transaction of a relay that was suspended, and of no other.
_IDLE_IN_TRANSACTION_SECONDS_MAX: Final = 2 * ACKNOWLEDGE_SECONDS_MAX


@dataclass(frozen=True, slots=True)
class Waiting:
    """What waits in the table: rows, and the age of the oldest in seconds."""

    rows: int
    oldest_at: datetime | None
    oldest_seconds: float


class OutboxTable:
    """The table in one database, by a connection of its own. `with` closes it.

    Every method raises `Unavailable` for what passes, and `OutboxError` where the table cannot be used.
    """

    def __init__(self, database_url: str, table: str, timeout_seconds: float) -> None:
        require_psycopg()
        self.table = check_table_name(table)
        self._database_url = database_url
        self._timeout_seconds = timeout_seconds
        self._connection: Connection | None = None

    def __enter__(self) -> OutboxTable:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def create(self) -> bool:
        """Create the table where it is missing; whether it was. A table of that name with other columns is an error."""
        with self._transaction() as connection:
            connection.execute("SELECT pg_advisory_xact_lock(hashtext(%s))", ("costledger outbox create",))
            found = connection.execute("SELECT to_regclass(%s) IS NOT NULL", (self.table,)).fetchone()
            existed = bool(found and found[0])
            if not existed:
                # Several statements at once: none of them has parameters.
                connection.execute(statement("create_table", self.table))
            connection.execute(statement("check_table", self.table))
        return not existed

    def check(self) -> None:
        """Raise `OutboxError` where the table is missing or is another one."""
        with self._transaction() as connection:
            connection.execute(statement("check_table", self.table))

    def waiting(self) -> Waiting:
        """How many rows wait, and since when."""
        with self._transaction() as connection:
            row = connection.execute(statement("status", self.table)).fetchone()
        return Waiting(*row) if row else Waiting(0, None, 0.0)

    def relay_batch(
        self,
        rows_max: int,
        passed_over: Sequence[int],
        deliver: Callable[[list[WaitingRow]], Sequence[int]],
    ) -> int:
        """Take the oldest rows that nobody else has in hand, deliver them, delete those that arrived; how many it took.

        One transaction: until it is committed the rows are there, and locked. `deliver` returns the ids of the rows
        that arrived; `passed_over` are rows that are not to be taken.
        """
        with self._transaction() as connection:
            claim = {"passed_over": list(passed_over), "rows_max": rows_max}
            rows = [WaitingRow(*row) for row in connection.execute(statement("claim_rows", self.table), claim)]
            if rows:
                connection.execute(statement("delete_rows", self.table), {"ids": list(deliver(rows))})
        return len(rows)

    def close(self) -> None:
        """Close the connection; the next use opens another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        import psycopg

        try:
            connection = self._usable()
            with connection.transaction():
                yield connection
        except psycopg.Error as error:
            self.close()
            told = explained(error, self.table)
            if passes(error):
                raise Unavailable(f"PostgreSQL: {told}") from error
            raise told from error

    def _usable(self) -> Connection:
        import psycopg

        if self._connection is None:
            milliseconds = int(self._timeout_seconds * 1000)
            connection = psycopg.connect(
                self._database_url,
                autocommit=True,
                application_name="costledger outbox",
                connect_timeout=_CONNECT_SECONDS_MAX,
                keepalives_idle=10,
                keepalives_interval=5,
                keepalives_count=3,
                tcp_user_timeout=milliseconds,
            )
            self._connection = connection
            limits = {
                "statement_timeout": milliseconds,
                "idle_in_transaction_session_timeout": int(_IDLE_IN_TRANSACTION_SECONDS_MAX * 1000),
            }
            for name, value in limits.items():
                connection.execute("SELECT set_config(%s, %s, false)", (name, str(value)))
        return self._connection
