"""A whole system under hostile messages: its processes, what they use of memory, and what became of each message."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence

import confluent_kafka
import psutil
import pytest
from tests.e2e.conftest import System
from tests.fault.harness import wire

from costledger.schemas.codec import encode_event
from costledger.schemas.events import CostEvent

SAMPLE_SECONDS = 0.02


class Memory:
    """The largest resident memory (bytes) of some processes, each by itself, sampled while it is asked for."""

    def __init__(self, processes: Sequence[psutil.Process]) -> None:
        self.peaks = {process.pid: 0 for process in processes}
        self._processes = processes
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Memory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(SAMPLE_SECONDS):
            for process in self._processes:
                try:
                    self.peaks[process.pid] = max(self.peaks[process.pid], process.memory_info().rss)
                except psutil.NoSuchProcess:
                    continue


class HostileSystem(System):
    """A system, and messages of any kind for its topics."""

    @property
    def events_topic(self) -> str:
        return f"{self.topic_prefix}cost.events"

    @property
    def bootstrap_servers(self) -> str:
        return self.environment["COSTLEDGER_BOOTSTRAP_SERVERS"]

    def send(self, events: Sequence[CostEvent]) -> None:
        """Good events, keyed by their users."""
        self.send_raw([(event.user_id.encode(), encode_event(event.to_record())) for event in events])

    def send_raw(self, messages: Sequence[tuple[bytes | None, bytes | None]], topic: str = "cost.events") -> None:
        """Bytes as they are, where their keys belong."""
        producer = confluent_kafka.Producer(
            {
                "bootstrap.servers": self.bootstrap_servers,
                "partitioner": "murmur2_random",
                "message.max.bytes": 64 * 2**20,
            }
        )
        failed: list[object] = []
        for key, value in messages:
            producer.produce(
                self.topic_prefix + topic,
                key=key,
                value=value,
                on_delivery=lambda error, _: error and failed.append(error),
            )
            producer.poll(0)
        assert producer.flush(60) == 0
        assert failed == []

    def send_batches(self, partition: int, batches: Sequence[wire.RawBatch], topic: str = "cost.events") -> None:
        """Record batches as they are."""
        wire.send(self.bootstrap_servers, self.topic_prefix + topic, partition, batches)

    def quarantined(self, topic: str = "cost.events") -> list[tuple]:
        """(partition, offset, reason) of every message of a topic in quarantine."""
        columns = 'partition, "offset", reason'
        where = "WHERE topic = %s ORDER BY 1, 2"
        return self.sql(f"SELECT {columns} FROM ledger.quarantine {where}", self.topic_prefix + topic)

    def ends(self, topic: str = "cost.events") -> dict[int, int]:
        """The end of each partition of a topic."""
        consumer = confluent_kafka.Consumer(
            {"bootstrap.servers": self.bootstrap_servers, "group.id": f"{self.topic_prefix}look"}
        )
        name = self.topic_prefix + topic
        partitions = consumer.list_topics(name, timeout=10).topics[name].partitions
        try:
            places = [confluent_kafka.TopicPartition(name, partition) for partition in partitions]
            return {place.partition: consumer.get_watermark_offsets(place, timeout=10)[1] for place in places}
        finally:
            consumer.close()

    def await_read(self, timeout_seconds: float = 60) -> None:
        """Wait until sink and stream have dealt with every message of the topic."""
        ends = {partition: end for partition, end in self.ends().items() if end}

        def all_read() -> bool:
            sink = dict(self.sql("SELECT partition, next_offset FROM ledger.sink_offsets"))
            return all(sink.get(partition, 0) >= end for partition, end in ends.items()) and all(
                self.committed("stream", ends).get(partition, 0) >= end for partition, end in ends.items()
            )

        self.wait_until(all_read, timeout_seconds, f"sink and stream at {ends}")

    def committed(
        self, group: str, partitions: Sequence[int] | dict[int, int], topic: str = "cost.events"
    ) -> dict[int, int]:
        """The offsets that Kafka keeps for a group."""
        consumer = confluent_kafka.Consumer(
            {"bootstrap.servers": self.bootstrap_servers, "group.id": f"{self.topic_prefix}{group}"}
        )
        try:
            name = self.topic_prefix + topic
            places = [confluent_kafka.TopicPartition(name, partition) for partition in partitions]
            return {place.partition: place.offset for place in consumer.committed(places, timeout=10)}
        finally:
            consumer.close()

    def dead_letters(self) -> list[confluent_kafka.Message]:
        """Every message of the dead-letter topic."""
        name = f"{self.topic_prefix}cost.events.dlq"
        ends = self.ends("cost.events.dlq")
        consumer = confluent_kafka.Consumer(
            {
                "bootstrap.servers": self.bootstrap_servers,
                "group.id": f"{self.topic_prefix}look",
                "enable.partition.eof": True,
            }
        )
        consumer.assign([confluent_kafka.TopicPartition(name, partition, 0) for partition in ends])
        found: list[confluent_kafka.Message] = []
        try:
            while len(found) < sum(ends.values()):
                found += [message for message in consumer.consume(1000, 1.0) if message.error() is None]
        finally:
            consumer.close()
        return found

    def log_of(self, worker: str) -> str:
        """What a worker has written."""
        return "".join(path.read_text(errors="replace") for path in sorted(self._folder.glob(f"{worker}-*.log")))


@pytest.fixture
def hostile(kafka, postgres, redis_url, tmp_path, wait_until: Callable) -> Iterator[HostileSystem]:
    """A migrated system with its topics and no workers yet."""
    if kafka.kind == "embedded":
        pytest.skip("hostile record batches need Apache Kafka")
    made = HostileSystem(kafka, postgres.create_database(), redis_url, tmp_path, wait_until)
    yield made
    made.close()
