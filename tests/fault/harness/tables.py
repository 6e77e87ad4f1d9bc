"""The oracle in tables beside the ledger (schema `oracle`), so that millions of events are compared in SQL.

`attempted`: every event once, `must` where it must have arrived. `put_aside`: what the quarantine must hold. Everything is loaded anew for each check.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from decimal import Decimal

from tests.fault.harness.oracle import CONFLICT, EVENT, POISON, REFUSED, REPEAT, Attempt, Record

from costledger.sinks.database import Connection

_TABLES = """
DROP SCHEMA IF EXISTS oracle CASCADE;
CREATE SCHEMA oracle;
CREATE UNLOGGED TABLE oracle.attempted (
    event_id uuid PRIMARY KEY, user_id text, service text, operation text, occurred_at timestamptz,
    amount numeric, must boolean
);
CREATE UNLOGGED TABLE oracle.put_aside (sha256 bytea, event_id uuid, reason text);
"""
_PICODOLLARS = Decimal(10) ** 12


class Counts:
    """How many attempts of each kind there were."""

    def __init__(self) -> None:
        self.by_kind: dict[str, int] = dict.fromkeys((EVENT, REPEAT, CONFLICT, REFUSED, POISON), 0)

    @property
    def attempts(self) -> int:
        """All of them."""
        return sum(self.by_kind.values())


def load_oracle(connection: Connection, records: Iterable[Record]) -> Counts:
    """Fill the tables from the files of all generators; how many attempts of each kind there were."""
    records = list(records)
    counts = Counts()
    connection.execute(_TABLES)
    with connection.cursor() as cursor:
        with cursor.copy("COPY oracle.attempted FROM STDIN") as copy:
            for record in records:
                for row in _events(record, counts):
                    copy.write_row(row)
        with cursor.copy("COPY oracle.put_aside FROM STDIN") as copy:
            for record in records:
                for row in _put_aside(record):
                    copy.write_row(row)
    connection.execute("ANALYZE oracle.attempted")
    return counts


def _events(record: Record, counts: Counts) -> Iterator[tuple[object, ...]]:
    """The rows of `attempted`. What a killed generator attempted last may or may not have been tracked."""
    acked = record.acked() if record.durability == "memory" else None
    attempts = record.attempts()
    following = next(attempts, None)
    while following is not None:
        attempt, following = following, next(attempts, None)
        counts.by_kind[attempt.kind] += 1
        if attempt.kind != EVENT:
            continue
        event_id, user, service, operation, occurred_at, amount = attempt.fields
        returned = following is not None or record.stats is not None
        must = returned if acked is None else event_id in acked
        usd = None if amount == "-" else Decimal(amount) / _PICODOLLARS
        yield event_id, user, service, operation, _time(occurred_at), usd, must


def _put_aside(record: Record) -> Iterator[tuple[object, ...]]:
    for attempt in record.attempts():
        if attempt.kind == POISON:
            yield "\\x" + attempt.fields[0], None, None
        elif attempt.kind in (CONFLICT, REFUSED):
            yield None, attempt.fields[0], _reason(attempt)


def _reason(attempt: Attempt) -> str | None:
    return "id_conflict" if attempt.kind == CONFLICT else None


def _time(microseconds: str) -> str:
    seconds, rest = divmod(int(microseconds), 10**6)
    return f"{_iso(seconds)}.{rest:06d}+00"


def _iso(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")
