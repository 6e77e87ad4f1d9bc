"""`sink`: from Kafka into the ledger with roll-ups, exactly once, against loads that do nothing but insert.

All write into the same table, in databases migrated afresh, and commit every 50,000 rows. The rows of the two loads
are prepared before the clock starts; ours are read from Kafka, decoded and checked while it runs. After each run the
number of entries and their sum are compared to the workload's. Connectors from Kafka: tests/bench/peers.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from functools import cache, cached_property, partial
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any, TypeVar

from psycopg import sql
from psycopg.types.json import Jsonb
from tests.bench.kafka import PARTITIONS
from tests.bench.ledgers import (
    Connection,
    check_entries,
    check_totals,
    consumed,
    fresh_ledger,
    log_bytes_since,
    log_position,
    sealing_rate,
)
from tests.bench.processes import running
from tests.bench.rates import Commit, Contender, committed_rate, watch
from tests.bench.stage import SinkStage
from tests.bench.workload import Workload

from costledger.schemas.events import EventRecord
from costledger.schemas.money import from_nanounits, to_usd
from costledger.schemas.times import from_microseconds
from costledger.sinks.packing import COPY_COLUMNS, COPY_HEADER, COPY_TRAILER, pack_event

#: The sink's own default.
BATCH_ROWS = 50_000
STATEMENT_ROWS = 100
#: Multi-row inserts are several times slower: so many rows are enough to see their rate.
MULTI_ROW_EVENTS_MAX = 100_000
_RUN_SECONDS_MAX = 600.0
_COLUMNS = sql.SQL(", ").join(map(sql.Identifier, COPY_COLUMNS))
_COPY = sql.SQL("COPY ledger.entries ({}) FROM STDIN (FORMAT BINARY)").format(_COLUMNS)
Item = TypeVar("Item")


class SinkBench:
    """The contenders for writing the events of one topic into a ledger."""

    def __init__(self, services: Mapping[str, str], folder: Path, workload: Workload, topic: str) -> None:
        self._services = services
        self._folder = folder
        self._workload = workload
        self._topic = topic
        #: Of each run of ours: bytes of the server's log an event, and entries sealed a second afterwards.
        self._log_bytes: list[float] = []
        self._sealed: list[float] = []

    def fields(self) -> dict[str, Any]:
        """What else our runs have shown, medians."""
        return {
            "log_bytes_per_event": round(median(self._log_bytes), 1),
            "sealed_per_second": round(median(self._sealed)),
        }

    def contenders(self, peers: Mapping[str, Callable[[SinkStage], float]]) -> dict[str, Contender]:
        """Ours first, `peers` last; each returns rows per second of one run."""
        stage = SinkStage(self._services["COSTLEDGER_BOOTSTRAP_SERVERS"], self._workload, self._folder, self._ledger)
        others = {name: partial(run, stage) for name, run in peers.items()}
        return {"sink": self._ours, "raw_copy": self._copy, "multi_row_insert": self._multi_row, **others}

    def _ours(self) -> float:
        total = self._workload.events
        arguments = ["-m", "costledger", "sink", "--supervisor", str(os.getpid())]
        with self._ledger() as (url, connection):
            position = log_position(connection)
            variables = {
                **self._services,
                "COSTLEDGER_DATABASE_URL": url,
                "COSTLEDGER_SINK_GROUP": f"bench-sink-{uuid.uuid4().hex[:8]}",
                "COSTLEDGER_SINK_BATCH_ROWS_MAX": str(BATCH_ROWS),
                "COSTLEDGER_SINK_METRICS_PORT": "0",
            }
            with running("sink", arguments, self._folder, variables) as sink:

                def written() -> int:
                    sink.check()
                    return consumed(connection)

                commits = watch(written, total, _RUN_SECONDS_MAX)
                self._log_bytes.append(log_bytes_since(connection, position) / total)
                sink.stop()
            check_entries(connection, total, self._workload.amount)
            check_totals(connection, total, self._workload.amount)
            self._sealed.append(sealing_rate(connection, self._topic, total))
        return committed_rate(commits)

    def _copy(self) -> float:
        """Binary COPY of packed rows: the most that the table takes from one connection."""
        with self._ledger() as (_, connection):
            commits, rows = [], 0
            for count, batch in self._packed:
                with connection.transaction(), connection.cursor() as cursor, cursor.copy(_COPY) as copy:
                    copy.write(batch)
                rows += count
                commits.append(Commit(time.monotonic(), rows))
            check_entries(connection, rows, self._workload.amount)
        return committed_rate(commits)

    def _multi_row(self) -> float:
        """INSERT with 100 rows a statement, all values as parameters."""
        with self._ledger() as (_, connection):
            commits, rows = [], 0
            for batch in self._parameters:
                with connection.transaction():
                    rows += insert(connection, batch)
                commits.append(Commit(time.monotonic(), rows))
            check_entries(connection, rows, self._workload.amount_of(rows))
        return committed_rate(commits)

    def _ledger(self) -> AbstractContextManager[tuple[str, Connection]]:
        days = (from_microseconds(self._workload.start_us).date(), from_microseconds(self._workload.end_us).date())
        return fresh_ledger(self._services["COSTLEDGER_DATABASE_URL"], *days)

    @cached_property
    def _packed(self) -> list[tuple[int, bytes]]:
        """Batches: the number of rows and a whole COPY stream."""
        rows = (
            pack_event(self._topic, number % PARTITIONS, number // PARTITIONS, record["occurred_at"], record)
            for number, record in enumerate(self._workload.records())
        )
        return [(len(batch), b"".join((COPY_HEADER, *batch, COPY_TRAILER))) for batch in batches(rows, BATCH_ROWS)]

    @cached_property
    def _parameters(self) -> list[list[list[Any]]]:
        """Batches of statements: the values of all their rows, one after the other."""
        records = self._workload.records(min(self._workload.events, MULTI_ROW_EVENTS_MAX))
        rows = (values(self._topic, number, record) for number, record in enumerate(records))
        statements = ([value for row in some for value in row] for some in batches(rows, STATEMENT_ROWS))
        return list(batches(statements, BATCH_ROWS // STATEMENT_ROWS))


def insert(connection: Connection, statements: Iterable[list[Any]]) -> int:
    """Insert the rows of some statements; how many there were."""
    inserted = 0
    for parameters in statements:
        count = len(parameters) // len(COPY_COLUMNS)
        connection.execute(insert_statement(count), parameters)
        inserted += count
    return inserted


@cache
def insert_statement(rows: int) -> bytes:
    """INSERT of so many rows, as text, so that composing it is no part of the measurement."""
    row = sql.SQL("({})").format(sql.SQL(", ").join([sql.Placeholder()] * len(COPY_COLUMNS)))
    all_rows = sql.SQL(", ").join([row] * rows)
    return sql.SQL("INSERT INTO ledger.entries ({}) VALUES {}").format(_COLUMNS, all_rows).as_bytes()


def values(topic: str, number: int, record: EventRecord) -> list[Any]:
    """The values of a row in the order of `COPY_COLUMNS`, as a program would hand them to psycopg."""
    occurred_at = from_microseconds(record["occurred_at"])
    converted = {
        **record,
        "occurred_at": occurred_at,
        "received_at": occurred_at,
        "kafka_topic": topic,
        "kafka_partition": number % PARTITIONS,
        "kafka_offset": number // PARTITIONS,
        "quantity": from_nanounits(record["quantity"]),
        "amount": to_usd(record["amount"] or 0),
        "metadata": Jsonb(record["metadata"]),
    }
    return [converted[column] for column in COPY_COLUMNS]


def batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    """Lists of `size` items; the last one may be shorter."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
