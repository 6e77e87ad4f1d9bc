"""What the tests of the sinks share: a migrated database, a topic with events, a sink in a thread."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import confluent_kafka
import psycopg
import pytest
from tests.fixtures.fix_kafka import KafkaServer
from tests.fixtures.fix_postgres import PostgresServer
from tests.fixtures.wait import wait_until

from costledger.schemas.codec import encode_event
from costledger.schemas.events import CostEvent
from costledger.schemas.ids import new_event_id
from costledger.schemas.settings import Settings
from costledger.schemas.times import to_microseconds
from costledger.schemas.topics import EVENTS, TopicNames
from costledger.sinks.migrations import migrate
from costledger.sinks.sink import Sink

PARTITIONS = 4


def make_event(user: str, *, amount: int | None = 1_000_000_000, **other: Any) -> CostEvent:
    """A valid event of a second ago."""
    occurred_at = other.pop("occurred_at", datetime.now(UTC) - timedelta(seconds=1))
    values: dict[str, Any] = {
        "event_id": new_event_id(to_microseconds(occurred_at)),
        "user_id": user,
        "service": "aws-rekognition",
        "operation": "detectLabels",
        "quantity": 1_000_000_000,
        "unit": "image",
        "unit_price": "0.001",
        "price_version": "2026-01",
        "amount": amount,
        "occurred_at": occurred_at,
        "source": "tests",
        "metadata": {"request": "r-1"},
    }
    return CostEvent(**{**values, **other})


def random_events(seed: int, count: int, users: int = 20) -> list[CostEvent]:
    """Valid events of the last 30 days over several users, services and operations; a few unpriced."""
    rng = random.Random(seed)
    now = datetime.now(UTC)
    events = []
    for _ in range(count):
        service, operation = rng.choice([("openai", "input-tokens"), ("openai", "output-tokens"), ("aws-s3", "put")])
        events.append(
            make_event(
                f"user-{rng.randrange(users):03d}",
                service=service,
                operation=operation,
                amount=None if rng.random() < 0.02 else rng.randrange(-(10**9), 10**13),
                quantity=rng.randrange(1, 10**12),
                occurred_at=now - timedelta(seconds=rng.randrange(1, 30 * 86_400)),
                metadata={} if rng.random() < 0.5 else {"model": "m", "n": str(rng.randrange(99))},
            )
        )
    return events


@dataclass
class Topic:
    """A topic of one test, with a producer."""

    name: str
    bootstrap_servers: str
    produced: int = 0
    _producer: confluent_kafka.Producer = field(init=False)

    def __post_init__(self) -> None:
        self._producer = confluent_kafka.Producer(
            {"bootstrap.servers": self.bootstrap_servers, "partitioner": "murmur2_random", "acks": "all"}
        )

    def send(self, events: Iterable[CostEvent]) -> None:
        """Produce events, keyed by user, and wait for the acknowledgement."""
        self.send_raw((event.user_id.encode(), encode_event(event.to_record())) for event in events)

    def send_to(self, partition: int, messages: Iterable[tuple[bytes | None, bytes | None]]) -> None:
        """Produce bytes to a partition."""
        for key, value in messages:
            self._producer.produce(self.name, key=key, value=value, partition=partition)
            self.produced += 1
        assert self._producer.flush(30) == 0

    def send_raw(self, messages: Iterable[tuple[bytes | None, bytes | None]]) -> None:
        """Produce bytes as they are."""
        for key, value in messages:
            self._producer.produce(self.name, key=key, value=value)
            self.produced += 1
            if not self.produced % 10_000:
                self._producer.flush(30)
        assert self._producer.flush(30) == 0


class Ledger:
    """A migrated database, asked through the superuser's connection."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.connection = psycopg.connect(url, autocommit=True)

    def all(self, query: str, *parameters: object) -> list[tuple[Any, ...]]:
        """All rows of a query."""
        return self.connection.execute(query, parameters).fetchall()

    def one(self, query: str, *parameters: object) -> Any:
        """The only value of a query."""
        ((value,),) = self.all(query, *parameters)
        return value

    def consumed(self) -> int:
        """How many offsets the sink has accounted for."""
        return int(self.one("SELECT coalesce(sum(next_offset), 0) FROM ledger.sink_offsets"))

    def counters(self) -> dict[str, int]:
        """The sums of the sink's counters."""
        names = ("consumed", "inserted", "duplicates", "quarantined", "skipped", "unpriced")
        columns = ", ".join(f"coalesce(sum({name}), 0)::bigint" for name in names)
        return dict(zip(names, self.all(f"SELECT {columns} FROM ledger.sink_offsets")[0], strict=True))

    def assert_consistent(self) -> None:
        """Counters add up, and both roll-ups are the GROUP BY of the entries; what takes one back counts against it."""
        counters = self.counters()
        assert counters["consumed"] == sum(
            counters[name] for name in ("inserted", "duplicates", "quarantined", "skipped")
        )
        for table, period in (("hourly_totals", "hour"), ("daily_totals", "day")):
            truncated = f"date_trunc('{period}', occurred_at AT TIME ZONE 'UTC') AT TIME ZONE 'UTC'"
            column = period if period == "hour" else "(day::timestamp AT TIME ZONE 'UTC')"
            count = "(CASE WHEN reverses_event_id IS NULL THEN 1 ELSE -1 END)"
            difference = self.all(f"""
                WITH kept AS (SELECT user_id, service, operation, {column} AS period, events, unpriced, quantity,
                                     amount, max_amount FROM ledger.{table}),
                     told AS (SELECT user_id, service, operation, {truncated} AS period, sum{count} AS events,
                                     sum({count} * (amount IS NULL)::int) AS unpriced, sum(quantity) AS quantity,
                                     coalesce(sum(amount), 0) AS amount,
                                     max(amount) FILTER (WHERE reverses_event_id IS NULL) AS max_amount
                              FROM ledger.entries GROUP BY 1, 2, 3, 4)
                (TABLE kept EXCEPT TABLE told) UNION ALL (TABLE told EXCEPT TABLE kept)""")
            assert difference == []

    def assert_holds(self, events: Iterable[CostEvent]) -> None:
        """The entries are exactly these events, with their amounts."""
        expected = {(event.event_id, event.user_id, event.amount) for event in events}
        found = self.all("SELECT event_id, user_id, (amount * 1000000000000)::numeric(40, 0) FROM ledger.entries")
        assert {(one, user, None if amount is None else int(amount)) for one, user, amount in found} == expected
        assert len(found) == len(expected)


@pytest.fixture
def ledger(postgres: PostgresServer) -> Iterator[Ledger]:
    """A fresh migrated database."""
    url = postgres.create_database()
    migrate(url)
    ledger = Ledger(url)
    yield ledger
    ledger.connection.close()


@pytest.fixture
def names(kafka: KafkaServer) -> TopicNames:
    """Names of topics that no other test has; the events topic is made, with four partitions."""
    names = TopicNames.with_prefix(kafka.unique("sinks") + ".")
    # The broker's clock, as the real topic has it; the embedded broker knows no such setting.
    config = None if kafka.kind == "embedded" else {"message.timestamp.type": "LogAppendTime"}
    kafka.create_topic(names.events, PARTITIONS, config)
    return names


@pytest.fixture
def topic(kafka: KafkaServer, names: TopicNames) -> Topic:
    """The events topic."""
    return Topic(names.events, kafka.bootstrap_servers)


@pytest.fixture
def settings(kafka: KafkaServer, names: TopicNames, ledger: Ledger) -> Settings:
    """Settings for this test's topics and database."""
    return make_settings(kafka, names, ledger.url)


def make_settings(kafka: KafkaServer, names: TopicNames, database_url: str, **other: Any) -> Settings:
    """Settings with groups of their own, and short waits."""
    values: dict[str, Any] = {
        "bootstrap_servers": kafka.bootstrap_servers,
        "database_url": database_url,
        "topic_prefix": names.events.removesuffix(EVENTS),
        "sink_group": kafka.unique("sink"),
        "notifier_group": kafka.unique("notifier"),
        "sink_batch_wait_ms": 50,
        "database_timeout_seconds": 10,
    }
    return Settings(**{**values, **other})


class Running:
    """A sink (or notifier) in a thread."""

    def __init__(self, worker: Any) -> None:
        self.worker = worker
        self.code: int | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        self.code = self.worker.run()

    def stop(self) -> int | None:
        """Stop it in an orderly way; its exit code."""
        self.worker.stop()
        return self.wait(15)

    def wait(self, timeout_seconds: float) -> int | None:
        """Wait until it ends by itself; its exit code."""
        wait_until(lambda: not self._thread.is_alive(), timeout_seconds, "the worker has ended")
        return self.code


@pytest.fixture
def start_sink() -> Iterator[Callable[..., Running]]:
    """Start sinks; stopped at the end."""
    started: list[Running] = []

    def start(settings: Settings, **other: Any) -> Running:
        running = Running(Sink(settings, **other))
        started.append(running)
        return running

    yield start
    for running in started:
        running.stop()


@pytest.fixture
def start_process(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Start sinks as processes of their own, with more variables where given; killed at the end."""
    started: list[subprocess.Popen[bytes]] = []

    def start(settings: Settings, variables: Mapping[str, str] | None = None) -> subprocess.Popen[bytes]:
        changed = settings.model_dump(mode="json", exclude_defaults=True)
        changed["database_url"] = settings.database_url.get_secret_value()
        environment = {f"COSTLEDGER_{name.upper()}": str(value) for name, value in changed.items()}
        path = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        with (tmp_path / f"sink-{len(started)}.log").open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "costledger", "sink"],
                env={**path, **environment, "COSTLEDGER_SINK_METRICS_PORT": "0", **(variables or {})},
                stdout=log,
                stderr=log,
                cwd=tmp_path,
            )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait(10)
