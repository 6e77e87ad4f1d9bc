"""One look a second: how far the topics and their consumers are, and the memory of every process."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

import psycopg
from confluent_kafka import Consumer, KafkaException, TopicPartition

if TYPE_CHECKING:
    from tests.fault.harness.cluster import Cluster

LOOK_SECONDS: Final = 1.0
#: A server that is away is not waited for longer: the look has a hole.
ANSWER_SECONDS_MAX: Final = 2.0
_STOP_SECONDS_MAX: Final = 30.0
#: Of the events.
CONSUMERS: Final = ("sink", "stream")
#: The notifier follows the alerts.
FOLLOWERS: Final = (*CONSUMERS, "notifier")

#: By partition.
Offsets = Mapping[int, int]


class Memory(NamedTuple):
    """Of a process: resident bytes, and what is in use of its allocators (None where it did not answer).

    `users` of a stream worker: those whose state it has, its twin's among them while that is dead.
    """

    resident_bytes: int
    python_blocks: int | None = None
    c_bytes: int | None = None
    users: int | None = None


@dataclass(frozen=True, slots=True)
class Look:
    """One look; None where a server was away.

    `lag_seconds` of a consumer: the age of the newest look at its topic whose ends the consumer has since passed in
    every partition. `lag` is in messages, `written` (of the events) and `done` are sums of offsets.
    """

    at_seconds: float
    written: int | None
    done: dict[str, int | None]
    lag: dict[str, int | None]
    lag_seconds: dict[str, float | None]
    memory: dict[str, Memory]


class _Ends:
    """The ends of the topic that one consumer has not passed yet, oldest first."""

    def __init__(self) -> None:
        self._waiting: deque[tuple[float, Offsets]] = deque()
        self._passed_at = 0.0

    def add(self, at_seconds: float, ends: Offsets) -> None:
        self._waiting.append((at_seconds, ends))

    def lag_seconds(self, now_seconds: float, done: Offsets) -> float:
        while self._waiting and all(done.get(one, 0) >= end for one, end in self._waiting[0][1].items()):
            self._passed_at, _ = self._waiting.popleft()
        return now_seconds - self._passed_at


class _Topic:
    """A topic's ends, and how far a group is in it; the group is asked about, and never joined."""

    def __init__(self, bootstrap_servers: str, group: str, topic: str, partitions: int) -> None:
        self._places = [TopicPartition(topic, one) for one in range(partitions)]
        self._consumer = Consumer({"bootstrap.servers": bootstrap_servers, "group.id": group, "log_level": 0})

    def ends(self) -> Offsets | None:
        """None while Kafka is away: that is the harm."""
        ends: dict[int, int] = {}
        try:
            for place in self._places:
                found = self._consumer.get_watermark_offsets(place, timeout=ANSWER_SECONDS_MAX)
                if found is None:
                    return None
                ends[place.partition] = found[1]
        except KafkaException:
            return None
        return ends

    def committed(self) -> Offsets | None:
        """The same."""
        try:
            found = self._consumer.committed(self._places, timeout=ANSWER_SECONDS_MAX)
        except KafkaException:
            return None
        return {place.partition: max(0, place.offset) for place in found}

    def close(self) -> None:
        """Ask no more."""
        self._consumer.close()


class Sampler:
    """Looks from a thread of its own, between `start` and `stop`; past all proxies."""

    def __init__(self, cluster: Cluster, memory: Callable[[], dict[str, Memory]]) -> None:
        self._cluster = cluster
        self._memory = memory
        settings, servers = cluster.settings(), cluster.services.kafka.bootstrap_servers
        topics = settings.topics
        self._topic = topics.events
        self._events = _Topic(servers, settings.stream_app_id, topics.events, cluster.partitions)
        alert_partitions = len(cluster.reader.ends(topics.alerts))
        self._alerts = _Topic(servers, settings.notifier_group, topics.alerts, alert_partitions)
        self._connection: psycopg.Connection | None = None
        self._ends = {name: _Ends() for name in FOLLOWERS}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="soak sampler", daemon=True)
        self._failure: BaseException | None = None
        self._began = time.monotonic()
        self.looks: list[Look] = []

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Look no more; what went wrong with looking itself is raised here."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join(_STOP_SECONDS_MAX)
        self._events.close()
        self._alerts.close()
        if self._connection is not None:
            self._connection.close()
        self.raise_failure()

    def raise_failure(self) -> None:
        """What has ended the thread."""
        if self._failure is not None:
            raise self._failure

    def seconds(self) -> float:
        """The clock of the looks."""
        return time.monotonic() - self._began

    def _run(self) -> None:
        try:
            while not self._stopping.wait(LOOK_SECONDS):
                self.looks.append(self._look())
        except BaseException as error:  # noqa: BLE001 - raised in the test's own thread
            self._failure = error

    def _look(self) -> Look:
        ends_at = self.seconds()
        events, alerts = self._events.ends(), self._alerts.ends()
        ends = {**dict.fromkeys(CONSUMERS, events), "notifier": alerts}
        for name, seen in ends.items():
            if seen is not None:
                self._ends[name].add(ends_at, seen)
        done = {"sink": self._stored(), "stream": self._events.committed(), "notifier": self._alerts.committed()}
        now_seconds = self.seconds()
        lag: dict[str, int | None] = dict.fromkeys(FOLLOWERS)
        lag_seconds: dict[str, float | None] = dict.fromkeys(FOLLOWERS)
        for name, offsets in done.items():
            there = ends[name]
            if there is not None and offsets is not None:
                lag[name] = sum(max(0, end - offsets.get(one, 0)) for one, end in there.items())
                lag_seconds[name] = self._ends[name].lag_seconds(now_seconds, offsets)
        return Look(
            at_seconds=ends_at,
            written=None if events is None else sum(events.values()),
            done={name: None if offsets is None else sum(offsets.values()) for name, offsets in done.items()},
            lag=lag,
            lag_seconds=lag_seconds,
            memory=self._memory(),
        )

    def _stored(self) -> Offsets | None:
        try:
            if self._connection is None:
                url, seconds = self._cluster.database_url, int(ANSWER_SECONDS_MAX)
                self._connection = psycopg.connect(url, autocommit=True, connect_timeout=seconds)
            statement = "SELECT partition, next_offset FROM ledger.sink_offsets WHERE topic = %s"
            return dict(self._connection.execute(statement, (self._topic,)).fetchall())
        except psycopg.OperationalError:
            if self._connection is not None:
                self._connection.close()
            self._connection = None
            return None
