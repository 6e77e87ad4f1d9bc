"""What of the ledger a price book may be asked about again: read page by page, in the order of event ids.

No transaction stays open between two pages, so that the reader may take its time; what is recorded meanwhile may be
seen or not. Memory is that of a page.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple

from costledger.schemas.errors import InvalidValue, Unavailable
from costledger.schemas.events import EventRecord
from costledger.sinks.database import Connection
from costledger.sinks.locks import AdvisoryLock
from costledger.sinks.queries import query
from costledger.sinks.reconcile.entries import entry_of_row

PAGE_ENTRIES: Final = 2_000


@dataclass(frozen=True, slots=True)
class Window:
    """Entries that occurred from `start` up to but not at `end` (aware times), of one user or service where named."""

    start: datetime
    end: datetime
    user_id: str | None = None
    service: str | None = None

    def __post_init__(self) -> None:
        if self.end <= self.start:
            raise InvalidValue("to", self.end.isoformat(), f"after from ({self.start.isoformat()})")

    def parameters(self) -> dict[str, object]:
        """For the queries."""
        return {"from": self.start, "to": self.end, "user_id": self.user_id, "service": self.service}


class Candidate(NamedTuple):
    """An entry as a record, and the ids of the entries that take it back."""

    record: EventRecord
    reversed_by: tuple[str, ...]


def candidates(connection: Connection, window: Window, page_entries: int = PAGE_ENTRIES) -> Iterator[list[Candidate]]:
    """Pages of the entries that are unpriced or were priced by a price book, and are no reversing entries."""
    after = None
    while True:
        parameters = {**window.parameters(), "after": after, "limit": page_entries}
        rows = connection.execute(query("rerate_candidates"), parameters).fetchall()
        if rows:
            yield [_candidate(row) for row in rows]
        if len(rows) < page_entries:
            return
        after = rows[-1][2]


def ids_in_ledger(connection: Connection, event_ids: Iterable[str]) -> set[str]:
    """Those of the ids that are in the ledger."""
    wanted = list(event_ids)
    if not wanted:
        return set()
    rows = connection.execute(query("ids_in_ledger"), {"event_ids": wanted})
    return {event_id for (event_id,) in rows}


def recorded_since(connection: Connection, window: Window, since: datetime, mark: str) -> int:
    """How many entries with `mark` in their metadata the ledger has got since a moment of the database's clock."""
    parameters = {**window.parameters(), "since": since, "mark": mark}
    row = connection.execute(query("rerated_since"), parameters).fetchone()
    return 0 if row is None else int(row[0])


def database_time(connection: Connection) -> datetime:
    """Now, by the database's clock."""
    row = connection.execute(query("database_time")).fetchone()
    assert row is not None  # noqa: S101 - a SELECT without FROM has one row
    now: datetime = row[0]
    return now


@contextmanager
def alone(connection: Connection) -> Iterator[None]:
    """Inside, nobody else on this ledger is inside; `Unavailable` at once where somebody is.

    The lock ends with the connection, so a dead process does not keep it.
    """
    row = connection.execute("SELECT pg_try_advisory_lock(%s)", (AdvisoryLock.RERATING.value,)).fetchone()
    if row is None or not row[0]:
        raise Unavailable("entries of this ledger are being rated again by another process: wait for its end")
    try:
        yield
    finally:
        if not connection.closed:
            connection.execute("SELECT pg_advisory_unlock(%s)", (AdvisoryLock.RERATING.value,))


def _candidate(row: tuple[Any, ...]) -> Candidate:
    *columns, reversed_by = row
    record = entry_of_row(tuple(columns)).record
    if record["unit_price"] is not None:
        record["unit_price"] = f"{record['unit_price']:f}"
    return Candidate(record, tuple(reversed_by))
