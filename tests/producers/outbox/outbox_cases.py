"""What the tests of the outbox share: a service's database with a business table, its tracker, and what arrives on the topic."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
from tests.fixtures.fix_kafka import KafkaServer
from tests.fixtures.fix_postgres import PostgresServer
from tests.producers.reading import read_topic

from costledger.producers import CostTracker, EventDropped
from costledger.producers.outbox.relay import Relay, Step
from costledger.producers.outbox.table import OutboxTable
from costledger.schemas.codec import decode_cost_event
from costledger.schemas.settings import Settings, load_settings

#: Nobody listens there: the port of the discard protocol, which no test starts.
NOBODY = "127.0.0.1:9"
TABLE = "costledger_outbox"
#: What a service keeps beside: the ids of the events that belong to its own committed rows.
BUSINESS_TABLE = "CREATE TABLE orders (event_id uuid NOT NULL)"
ORDER = "INSERT INTO orders (event_id) VALUES (%s)"
PROCESS = Path(__file__).with_name("outbox_process.py")


@dataclass(frozen=True)
class Service:
    """A service's database, and the topic that its events are to reach."""

    url: str
    bootstrap_servers: str
    prefix: str

    @property
    def topic(self) -> str:
        """The topic of the events."""
        return f"{self.prefix}cost.events"

    def connect(self, **options: Any) -> psycopg.Connection[Any]:
        """A connection as a service has it."""
        return psycopg.connect(self.url, **options)

    def settings(self, **overrides: Any) -> Settings:
        """The relay's settings."""
        return load_settings(
            **{
                "database_url": self.url,
                "bootstrap_servers": self.bootstrap_servers,
                "topic_prefix": self.prefix,
                **overrides,
            }
        )

    def environment(self, **settings: str) -> dict[str, str]:
        """The same for a process."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("COSTLEDGER_")}
        return {
            **kept,
            "COSTLEDGER_DATABASE_URL": self.url,
            "COSTLEDGER_BOOTSTRAP_SERVERS": self.bootstrap_servers,
            "COSTLEDGER_TOPIC_PREFIX": self.prefix,
            **settings,
        }

    def start(self, seed: int) -> subprocess.Popen[str]:
        """The service in `outbox_process.py`."""
        return self._start([str(PROCESS), str(seed)])

    def start_relay(self, batch_rows: int, variables: Mapping[str, str]) -> subprocess.Popen[str]:
        """`costledger outbox relay`, with more variables."""
        return self._start(["-m", "costledger", "outbox", "relay", "--batch", str(batch_rows)], variables)

    def _start(self, arguments: list[str], variables: Mapping[str, str] | None = None) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, *arguments],
            env=self.environment(**(variables or {})),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def relay_all(self) -> int:
        """Bring all that waits to the topic; how many events that were."""
        relay = Relay(self.settings())
        relay.run_once()
        return relay.relayed

    def waiting(self) -> list[UUID]:
        """The ids of the events in the outbox, in its order."""
        with self.connect() as connection:
            return [row[0] for row in connection.execute(f"SELECT event_id FROM {TABLE} ORDER BY id")]

    def orders(self) -> list[UUID]:
        """The ids that belong to committed business rows."""
        with self.connect() as connection:
            return [row[0] for row in connection.execute("SELECT event_id FROM orders")]

    def on_topic(self) -> Counter[UUID]:
        """How often each event is on the topic."""
        messages = read_topic(self.bootstrap_servers, self.topic)
        return Counter(decode_cost_event(message.value() or b"").event_id for message in messages)


def new_service(url: str, kafka: KafkaServer) -> Service:
    """A service with its tables and its topic."""
    prefix = f"{kafka.unique('outbox')}."
    kafka.create_topic(f"{prefix}cost.events")
    with psycopg.connect(url) as connection:
        connection.execute(BUSINESS_TABLE)
    with OutboxTable(url, TABLE, 30) as table:
        assert table.create()
    return Service(url, kafka.bootstrap_servers, prefix)


def fill(service: Service, events: int, users: int = 7) -> list[UUID]:
    """Track so many events in one transaction, user after user."""
    with CostTracker(NOBODY, "tests", "outbox") as tracker, service.connect() as connection:
        costs = tracker.using(connection)
        return [costs.track_s3(f"user-{number % users}", "get", number + 1) for number in range(events)]


def relay_to_step(service: Service, wanted: Step, action: Any) -> Relay:
    """A relay that does something at a step of each batch."""

    def on_step(step: Step) -> None:
        if step == wanted:
            action()

    return Relay(service.settings(), on_step=on_step)


def identity_holds(tracker: CostTracker) -> bool:
    """tracked = acked + spooled + queued + dropped."""
    stats = tracker.stats()
    return stats["tracked"] == stats["acked"] + stats["spooled"] + stats["queued"] + stats["dropped"]


def bare_database(postgres: PostgresServer) -> str:
    """A service's database with its business table alone."""
    url = postgres.create_database()
    with psycopg.connect(url) as connection:
        connection.execute(BUSINESS_TABLE)
    return url


def outbox_database(postgres: PostgresServer) -> str:
    """The same with the outbox."""
    url = bare_database(postgres)
    with OutboxTable(url, TABLE, 30) as table:
        assert table.create()
    return url


@contextmanager
def checked_tracker(errors: list[EventDropped]) -> Iterator[CostTracker]:
    """A service's tracker, which tells its errors; at the end its counts add up, and nothing waits."""
    with CostTracker(NOBODY, "tests", "outbox", on_error=errors.append) as tracker:
        yield tracker
        assert identity_holds(tracker)
        assert tracker.flush() == 0


def ids_in(url: str, table: str = TABLE) -> list[UUID]:
    """The events in the outbox, as another session sees them."""
    with psycopg.connect(url) as connection:
        return [row[0] for row in connection.execute(f"SELECT event_id FROM {table} ORDER BY id")]


def orders_in(url: str) -> int:
    """The committed orders."""
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT count(*) FROM orders").fetchone()
    assert row is not None
    return int(row[0])
