"""Entries as the sink writes them, by its own parts and without Kafka; and what an owner of the database may do to them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import closing
from decimal import Decimal

from tests.sinks.conftest import Ledger, make_event
from tests.sinks.delivered import Delivered

from costledger.schemas.codec import encode_event
from costledger.schemas.events import CostEvent
from costledger.schemas.topics import EVENTS
from costledger.sinks.bad_share import BadShare
from costledger.sinks.batch import Gatherer
from costledger.sinks.chain import VerifyReport, seal, verify
from costledger.sinks.chain.heads import Heads
from costledger.sinks.database import Connection, connect
from costledger.sinks.writer import Writer

TOPIC = f"chain.{EVENTS}"


def open_ledger(ledger: Ledger) -> Connection:
    """A connection as sealers and verifiers have it."""
    return connect(ledger.url, "tests", 20)


def write(ledger: Ledger, partition: int, start: int, payloads: Iterable[bytes], batch_rows: int = 10) -> None:
    """Have the sink's writer take the partition over and write messages from offset `start` on."""
    share = BadShare(10_000, Decimal("0.5"))
    with closing(Writer(lambda: connect(ledger.url, "sink", 20), TOPIC, share)) as writer:
        ((position, epoch),) = writer.claim([partition]).values()
        gatherer = Gatherer(TOPIC, batch_rows, 10**9)
        gatherer.claim(partition, position, epoch)
        gatherer.doubt()
        gatherer.sought(partition)
        for number, payload in enumerate(payloads):
            gatherer.add(Delivered(partition, start + number, payload))
            if gatherer.full:
                writer.write(gatherer.seal())
        if not gatherer.empty:
            writer.write(gatherer.seal())


def encoded(events: Iterable[CostEvent]) -> list[bytes]:
    """Events as they are on the topic."""
    return [encode_event(event.to_record()) for event in events]


def some_events(count: int, user: str = "u") -> list[bytes]:
    """So many different events, encoded."""
    return encoded(make_event(user, amount=1_000 + number) for number in range(count))


def sealed(ledger: Ledger, rows: int = 10, **other: object) -> int:
    """Seal all that is committed, in blocks of so many rows."""
    with closing(open_ledger(ledger)) as connection:
        return seal(connection, TOPIC, block_rows_max=rows, **other)  # type: ignore[arg-type]  # passed on


def verified(ledger: Ledger, partitions: Sequence[int] = (), heads: Heads | None = None) -> VerifyReport:
    """What `verify` finds."""
    with closing(open_ledger(ledger)) as connection:
        return verify(connection, partitions=partitions, heads=heads)


def tamper(ledger: Ledger, *statements: str) -> None:
    """What the owner of the tables can do: triggers off, a change, triggers on again."""
    tables = [
        name
        for (name,) in ledger.all(
            "SELECT relid::regclass::text FROM pg_partition_tree('ledger.entries') UNION ALL SELECT 'ledger.chain_blocks'"
        )
    ]
    ledger.connection.execute("SET ROLE costledger_owner")
    for table in tables:
        ledger.connection.execute(f"ALTER TABLE {table} DISABLE TRIGGER USER".encode())
    for statement in statements:
        assert ledger.connection.execute(statement.encode()).rowcount > 0, statement
    for table in tables:
        ledger.connection.execute(f"ALTER TABLE {table} ENABLE TRIGGER USER".encode())
    ledger.connection.execute("RESET ROLE")


def event_at(ledger: Ledger, partition: int, offset: int) -> str:
    """The id of the entry at a place."""
    return str(
        ledger.one(
            "SELECT event_id FROM ledger.entries WHERE kafka_partition = %s AND kafka_offset = %s", partition, offset
        )
    )


def kinds(report: VerifyReport) -> dict[str, int]:
    """How many findings of each kind."""
    return dict(report.counts)
