"""A whole system under hostile messages: its processes, what they use of memory, and what became of each message."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property

import confluent_kafka
import psutil
import pytest
from tests.e2e.conftest import System
from tests.fault.harness import wire
from tests.fault.harness.topics import TopicReader, committed

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
        assert all(self.peaks.values()), f"nobody looked at these processes: {self.peaks}"

    def _watch(self) -> None:
        while not self._done.wait(SAMPLE_SECONDS):
            for process in self._processes:
                try:
                    self.peaks[process.pid] = max(self.peaks[process.pid], process.memory_info().rss)
                except psutil.Error:  # it ends, or has
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

    @cached_property
    def reader(self) -> TopicReader:
        """Reads topics as a whole."""
        return TopicReader(self.bootstrap_servers)

    def close(self) -> None:
        """End all processes and connections."""
        self.reader.close()
        super().close()

    def ends(self, topic: str = "cost.events") -> dict[int, int]:
        """The end of each partition of a topic."""
        return self.reader.ends(self.topic_prefix + topic)

    def await_read(self, timeout_seconds: float = 60) -> None:
        """Wait until sink and stream have dealt with every message of the topic."""
        ends = {partition: end for partition, end in self.ends().items() if end}

        def all_read() -> bool:
            sink = dict(self.sql("SELECT partition, next_offset FROM ledger.sink_offsets"))
            stream = self.committed("stream")
            return all(min(sink.get(partition, 0), stream[partition]) >= end for partition, end in ends.items())

        self.wait_until(all_read, timeout_seconds, f"sink and stream at {ends}")

    def committed(self, group: str, topic: str = "cost.events") -> dict[int, int]:
        """The offsets that Kafka keeps for a group, of every partition; 0 where none."""
        name = self.topic_prefix + topic
        return committed(self.bootstrap_servers, f"{self.topic_prefix}{group}", name, len(self.ends(topic)))

    def dead_letters(self) -> list[confluent_kafka.Message]:
        """Every message of the dead-letter topic."""
        return list(self.reader.read(f"{self.topic_prefix}cost.events.dlq"))

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
