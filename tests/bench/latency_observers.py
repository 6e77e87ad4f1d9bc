"""Who looks whether events are visible: in Redis, on the topic of alerts, in the ledger; each as any reader would.

Each is a loop for a thread of its own, asks seldom enough to be no load, and notes what it saw in timelines. The time
is taken when the answer is there: latencies are too long by up to a poll, never too short.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from threading import Event
from typing import Protocol

import psycopg
import redis
from confluent_kafka import Consumer, KafkaException, TopicPartition
from tests.bench.latencies import Timeline
from tests.bench.latency_load import PROBE_AMOUNT

from costledger.schemas.periods import PeriodKind
from costledger.schemas.redis_keys import totals_key

#: Between two questions to Redis, and two to PostgreSQL.
POLL_SECONDS = 0.01
#: How soon the reader of alerts notices that it should stop; an alert ends its wait at once.
_ALERT_WAIT_SECONDS = 0.1
_STOP_SECONDS_MAX = 10.0


class Observer(Protocol):
    """Looks until it is told to stop; its timelines may be read meanwhile, and have all their series from the start."""

    timelines: Mapping[str, Timeline]

    def run(self, stopping: Event) -> None:
        """Look until `stopping` is set. What the service's client raises passes through."""


class RedisObserver:
    """By user: how many of the user's events, which cost `PROBE_AMOUNT` each, are in the user's months in Redis."""

    def __init__(self, url: str, users: Sequence[str], months: Sequence[str]) -> None:
        self._url = url
        self._users = users
        self._keys = [totals_key(user, PeriodKind.MONTH, month) for user in users for month in months]
        self._months = len(months)
        self.timelines: Mapping[str, Timeline] = {user: Timeline() for user in users}

    def run(self, stopping: Event) -> None:
        """One round trip for all users."""
        with redis.Redis.from_url(self._url, decode_responses=True) as client:
            while not stopping.wait(POLL_SECONDS):
                pipeline = client.pipeline(transaction=False)
                for key in self._keys:
                    pipeline.hget(key, "total")
                totals = [int(value or 0) for value in pipeline.execute()]
                seen_ns = time.monotonic_ns()
                for number, user in enumerate(self._users):
                    total = sum(totals[number * self._months : (number + 1) * self._months])
                    self.timelines[user].note(seen_ns, total // PROBE_AMOUNT)


class LedgerObserver:
    """By partition: the next offset in `ledger.sink_offsets`. It moves in the transaction that writes the entries.

    So whoever sees it there sees the entries below it, and asking costs a read of a dozen rows.
    """

    def __init__(self, url: str, topic: str, partitions: int) -> None:
        self._url = url
        self._topic = topic
        self.timelines: Mapping[str, Timeline] = {str(partition): Timeline() for partition in range(partitions)}

    @property
    def consumed(self) -> int:
        """How many offsets are accounted for, of all partitions."""
        return sum(timeline.level for timeline in self.timelines.values())

    def run(self, stopping: Event) -> None:
        """Each question is a transaction of its own, and sees what was committed before it."""
        query = "SELECT partition, next_offset FROM ledger.sink_offsets WHERE topic = %s"
        with psycopg.connect(self._url, autocommit=True) as connection:
            while not stopping.wait(POLL_SECONDS):
                rows = connection.execute(query, (self._topic,)).fetchall()
                seen_ns = time.monotonic_ns()
                for partition, next_offset in rows:
                    self.timelines[str(partition)].note(seen_ns, next_offset)


class AlertObserver:
    """By user: 1 once an alert is on the topic, which has this user as its key."""

    def __init__(self, bootstrap: str, topic: str, partitions: int, users: Sequence[str]) -> None:
        self._bootstrap = bootstrap
        self._places = [TopicPartition(topic, partition, 0) for partition in range(partitions)]
        self.timelines: Mapping[str, Timeline] = {user: Timeline() for user in users}

    def run(self, stopping: Event) -> None:
        """Reads the topic from its beginning, in no group."""
        config: dict[str, str | int | bool] = {"bootstrap.servers": self._bootstrap, "group.id": "bench-latency"}
        consumer = Consumer({**config, "enable.auto.commit": False, "log_level": 3})
        try:
            consumer.assign(self._places)
            while not stopping.is_set():
                message = consumer.poll(_ALERT_WAIT_SECONDS)
                seen_ns = time.monotonic_ns()
                if message is None:
                    continue
                if message.error() is not None:
                    raise KafkaException(message.error())
                key = message.key()
                assert isinstance(key, bytes)
                timeline = self.timelines.get(key.decode())
                if timeline is not None:
                    timeline.note(seen_ns, 1)
        finally:
            consumer.close()


class Watching:
    """The observers at work; `check` raises what one of them has raised."""

    def __init__(self, looking: Sequence[Future[None]]) -> None:
        self._looking = looking

    def check(self) -> None:
        """None has ended."""
        for one in self._looking:
            if one.done():
                one.result()


@contextmanager
def watching(observers: Sequence[Observer]) -> Iterator[Watching]:
    """Have all of them look; at the end they stop, and what one has raised is raised."""
    stopping = Event()
    with ThreadPoolExecutor(len(observers), thread_name_prefix="observer") as pool:
        looking = [pool.submit(observer.run, stopping) for observer in observers]
        try:
            yield Watching(looking)
        finally:
            stopping.set()
        for one in looking:
            one.result(_STOP_SECONDS_MAX)
