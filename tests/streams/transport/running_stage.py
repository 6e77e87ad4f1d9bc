"""A stage in the test's own process, with a handler that keeps the last value of each key."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from confluent_kafka import Producer
from tests.streams.transport.transport_cluster import Cluster

from costledger.schemas.errors import Unavailable
from costledger.streams.transport import Batch, Change, Flush, Stage, StageConfig, StateRecord


class LastValue:
    """Keeps the last value of each key; the value `drop` deletes it. Counts the calls it gets."""

    def __init__(self) -> None:
        self.state: dict[int, dict[bytes, bytes | None]] = {}
        self.changed: dict[int, dict[bytes, bytes | None]] = {}
        self.last: dict[int, int] = {}
        self.restored: dict[bytes, tuple[int, bytes]] = {}
        self.calls = {"flushed": 0, "tick": 0, "process": 0}

    def restore(self, partition: int, records: Iterable[StateRecord], _is_ours: Callable[[], bool]) -> None:
        self.state[partition], self.changed[partition], self.last[partition] = {}, {}, -1
        for key, offset, value in records:
            self.state[partition][key] = value
            self.restored[key] = (offset, value)

    def process(self, batch: Batch) -> None:
        self.calls["process"] += 1
        for record in batch.records:
            value = None if record.value == b"drop" else record.value
            self.state[batch.partition][record.key] = self.changed[batch.partition][record.key] = value
        self.last[batch.partition] = batch.records[-1].offset

    def order(self, key: bytes, value: bytes) -> None:
        """By the source offset."""

    def renew(self, partition: int, keys: Iterable[bytes]) -> None:
        self.changed[partition] |= {key: self.state[partition].get(key) for key in keys}

    def acknowledged(self, partition: int) -> None:
        assert partition in self.state

    def pending(self) -> int:
        return sum(map(len, self.changed.values()))

    def flush(self, partition: int) -> Flush | None:
        changed, self.changed[partition] = self.changed[partition], {}
        if not changed:
            return None
        return Flush([], [[Change(key, value)] for key, value in changed.items()], self.last[partition])

    def revoke(self, partition: int) -> None:
        del self.state[partition], self.changed[partition]

    async def flushed(self, partition: int) -> None:
        assert partition in self.state
        self.calls["flushed"] += 1

    async def tick(self) -> None:
        self.calls["tick"] += 1


class Waiting(LastValue):
    """Cannot process anything until it is told that it may; when it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.may = threading.Event()
        self.asked_at: list[float] = []

    def process(self, batch: Batch) -> None:
        self.asked_at.append(time.monotonic())
        if not self.may.is_set():
            raise Unavailable("the schema registry is away")
        super().process(batch)


class Running:
    """A stage in a thread."""

    def __init__(self, cluster: Cluster, handler: LastValue, **given: Any) -> None:
        settings = {
            "app_id": cluster.app_id,
            "bootstrap_servers": cluster.bootstrap_servers,
            "main_topic": cluster.main,
            "table_name": "totals",
            "partitions": cluster.partitions,
            "session_timeout_seconds": 6.0,
            **given,
        }
        self.stage = Stage(StageConfig(**settings), handler)
        self.code: int | None = None
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        self.code = self.stage.run()

    def stop(self) -> int | None:
        self.stage.stop()
        self.thread.join(20)
        assert not self.thread.is_alive()
        return self.code


def send(cluster: Cluster, *pairs: tuple[bytes, bytes]) -> None:
    """Produce (key, value) to the main topic."""
    producer = Producer({"bootstrap.servers": cluster.bootstrap_servers, "partitioner": "murmur2_random"})
    for key, value in pairs:
        producer.produce(cluster.main, key=key, value=value)
    assert producer.flush(20) == 0
