"""The same sinks on a real PostgreSQL: the statements that guard the positions, not a model of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from itertools import count
from typing import Any

import psycopg
import pytest
from tests.fault.simulation.profiles import TIMEOUT_SECONDS, Bounds, simulate
from tests.fault.simulation.sink_world import Away, Fate
from tests.fault.simulation.test_simulation_sink import EVENTS_MAX, SinkMachine, registry
from tests.fixtures.fix_postgres import PostgresServer

from costledger.sinks.bad_share import BadShare
from costledger.sinks.batch import Batch
from costledger.sinks.database import Connection, connect
from costledger.sinks.migrations import migrate
from costledger.sinks.patience import Abandoned
from costledger.sinks.writer import Step, Writer

pytestmark = [
    pytest.mark.fault,
    pytest.mark.timeout(TIMEOUT_SECONDS),
    pytest.mark.usefixtures(registry.__name__),
]

COUNTERS = ("consumed", "inserted", "duplicates", "quarantined", "skipped")
#: The ledger cannot be emptied: each run has a topic and events of its own.
RUNS = count()


class SqlTable:
    """The tables of a database, written by the sink's own writer; one attempt each time."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        run = next(RUNS)
        self.topic = f"run-{run}"
        self.first_event = run * EVENTS_MAX

    def claim(self, partitions: list[int]) -> dict[int, tuple[int, int]]:
        """Take partitions over."""
        return self._writer(lambda _step: None).claim(partitions)

    def write(self, batch: Batch, fate: Fate) -> None:
        """One attempt, whose failure is an error of the connection where a sink would meet it."""

        def act(step: Step) -> None:
            if (fate, step) in (("lost", "after_commit"), ("failed", "before_commit")):
                raise psycopg.OperationalError("server closed the connection unexpectedly")

        try:
            self._writer(act).write(batch)
        except Abandoned as error:
            raise Away from error
        # Also where it was settled that an earlier attempt had written it: what is still ours is at its end.
        for partition, next_offset, epoch in self._all(
            "SELECT partition, next_offset, epoch FROM ledger.sink_offsets WHERE topic = %s"
        ):
            span = batch.spans.get(partition)
            assert span is None or epoch != span.epoch or next_offset == span.next_offset

    def counters(self) -> dict[int, Counter[str]]:
        """As `ledger.sink_offsets` has them."""
        rows = self._all(
            f"SELECT partition, next_offset, {', '.join(COUNTERS)} FROM ledger.sink_offsets WHERE topic = %s"
        )
        for _, next_offset, consumed, *_ in rows:
            assert next_offset == consumed
        return {partition: Counter(dict(zip(COUNTERS, counts, strict=True))) for partition, _, *counts in rows}

    def entries(self) -> Counter[tuple[int, int]]:
        """Places of the entries."""
        return Counter(self._all("SELECT kafka_partition, kafka_offset FROM ledger.entries WHERE kafka_topic = %s"))

    def quarantined(self) -> Counter[tuple[int, int]]:
        """Places of what was put aside."""
        return Counter(self._all('SELECT partition, "offset" FROM ledger.quarantine WHERE topic = %s'))

    def _all(self, query: str) -> list[Any]:
        return self._connection.execute(query, (self.topic,)).fetchall()

    def _writer(self, on_step: Callable[[Step], None]) -> Writer:
        writer = Writer(lambda: self._connection, self.topic, BadShare(10**6, Decimal(1)), on_step=on_step)
        # It waits for nothing: what fails is tried again by a later step of the simulation.
        writer.stop()
        return writer


def test_sinks_on_postgres_account_for_every_offset_once(postgres: PostgresServer, seed: int) -> None:
    """A fenced epoch writes nothing, a lost reply is settled, and counters are those of the topic."""
    url = postgres.create_database()
    migrate(url)
    with connect(url, "costledger simulation", 10.0) as connection:
        machine = type("SqlSinkMachine", (SinkMachine,), {"make_table": staticmethod(lambda: SqlTable(connection))})
        simulate(machine, seed, quick=Bounds(25, 30), full=Bounds(80, 50))
