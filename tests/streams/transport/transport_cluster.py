"""What the transport tests share: topics filled with a known truth, workers as processes, the checks."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from tests.fixtures.wait import wait_until

from costledger.streams.transport import changelog_topic
from costledger.streams.transport.table import RecoveredPartition

WORKER = Path(__file__).with_name("counting_worker.py")
STEP = 1000
STARTED_SECONDS_MAX = 30.0
COORDINATOR_MOVING = {
    KafkaError.NOT_COORDINATOR,
    KafkaError.COORDINATOR_NOT_AVAILABLE,
    KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
}
"""What a broker answers about a group while it starts."""


class Record:
    """A changelog record as the table reads it."""

    def __init__(self, message: Any) -> None:
        self.topic, self.partition, self.offset = message.topic(), message.partition(), message.offset()
        self.key, self.value = message.key(), message.value()
        self.headers = message.headers() or []


class Cluster:
    """Topics of one test and the truth about what was produced to them."""

    def __init__(
        self,
        kafka: Any,
        directory: Path,
        partitions: int = 4,
        limits: bool = False,
        changelog: dict[str, str] | None = None,
        without_changelog: bool = False,
    ) -> None:
        self.bootstrap_servers = kafka.bootstrap_servers
        self.directory = directory
        self.partitions = partitions
        name = f"t{random.randrange(10**9)}"
        self.app_id, self.main, self.outputs, self.limits = f"{name}-app", name, f"{name}-out", f"{name}-limits"
        self.prerequisites = (self.limits,) if limits else ()
        for topic in (self.main, self.outputs, self.limits):
            kafka.create_topic(topic, partitions, {})
        # The embedded broker knows no settings, and needs no compaction for what it keeps.
        compacted = {} if kafka.kind == "embedded" else {"cleanup.policy": "compact"}
        if not without_changelog:
            kafka.create_topic(
                changelog_topic(self.app_id, "totals"),
                partitions,
                {**compacted, **(changelog or {})},
            )
        self.truth: dict[bytes, list[int]] = {}
        self.workers: list[Worker] = []
        self._random = random.Random(name)

    def produce(self, count: int, keys: int = 200, topic: str | None = None) -> None:
        """Produce `count` records of random amounts to the main topic, or one limit for each key."""
        producer = Producer(
            {"bootstrap.servers": self.bootstrap_servers, "partitioner": "murmur2_random", "linger.ms": 5}
        )
        for number in range(count):
            key = b"user-%d" % (number if topic else self._random.randrange(keys))
            amount = self._random.randrange(1, 50)
            if topic is None:
                total = self.truth.setdefault(key, [0, 0])
                total[0] += amount
                total[1] += 1
            while True:
                try:
                    producer.produce(topic or self.main, key=key, value=b"%d" % amount)
                    break
                except BufferError:
                    producer.poll(0.1)
        assert producer.flush(30) == 0

    def worker(self, **given: Any) -> Worker:
        """Start a worker process; `options` go to the handler, the rest to the stage."""
        worker = Worker(self, len(self.workers), given)
        self.workers.append(worker)
        return worker

    def read(self, topic: str) -> list[Any]:
        """All records of a topic."""
        consumer = Consumer(
            {
                "bootstrap.servers": self.bootstrap_servers,
                "group.id": "reader",
                "enable.auto.commit": False,
                "enable.partition.eof": False,
            }
        )
        try:
            messages = []
            for partition in range(self.partitions):
                place = TopicPartition(topic, partition)
                low, high = consumer.get_watermark_offsets(place, timeout=10)
                place.offset = position = low
                consumer.assign([place])
                while position < high:
                    for message in consumer.consume(1000, timeout=0.1):
                        assert message.error() is None, message.error()
                        messages.append(message)
                        position = message.offset() + 1
            return messages
        finally:
            consumer.close()

    def ends(self, topic: str) -> dict[int, int]:
        """The high-water marks of a topic."""
        consumer = Consumer({"bootstrap.servers": self.bootstrap_servers, "group.id": "reader"})
        try:
            return {
                partition: consumer.get_watermark_offsets(TopicPartition(topic, partition), timeout=10)[1]
                for partition in range(self.partitions)
            }
        finally:
            consumer.close()

    def committed(self, topic: str) -> dict[int, int]:
        """The group's committed offsets of a topic; negative where there is none."""
        places = [TopicPartition(topic, partition) for partition in range(self.partitions)]
        consumer = Consumer({"bootstrap.servers": self.bootstrap_servers, "group.id": self.app_id})

        def answer() -> dict[int, int]:
            try:
                return {place.partition: place.offset for place in consumer.committed(places, timeout=10)}
            except KafkaException as exc:
                if exc.args[0].code() not in COORDINATOR_MOVING:
                    raise
                return {}

        try:
            return wait_until(answer, 30, f"the coordinator of {self.app_id}")
        finally:
            consumer.close()

    def all_committed(self) -> bool:
        """True when the group has committed the whole main topic."""
        ends = self.ends(self.main)
        committed = self.committed(self.main)
        return all(committed[partition] == end for partition, end in ends.items() if end)

    def recovered(self) -> dict[int, RecoveredPartition]:
        """The changelog by partition, read as recovery does."""
        recovered: dict[int, RecoveredPartition] = {}
        for message in self.read(changelog_topic(self.app_id, "totals")):
            recovered.setdefault(message.partition(), RecoveredPartition()).apply([Record(message)])
        return recovered

    def state(self) -> dict[bytes, bytes]:
        """The changelog's state."""
        return {row.key: row.value for partition in self.recovered().values() for row in partition.state()}

    def check(self, repeats_allowed: bool) -> None:
        """The state equals the truth and the outputs are complete."""
        state = self.state()
        wrong = {
            key: (total, state.get(b"sum:" + key), state.get(b"count:" + key))
            for key, total in self.truth.items()
            if state.get(b"sum:" + key) != b"%d" % total[0] or state.get(b"count:" + key) != b"%d" % total[1]
        }
        assert not wrong, f"{len(wrong)} of {len(self.truth)} keys differ, such as {list(wrong.items())[:3]}"
        ids = Counter(message.value() for message in self.read(self.outputs))
        wanted = {
            key + b"/%d" % multiple for key, total in self.truth.items() for multiple in range(1, total[0] // STEP + 1)
        }
        assert set(ids) == wanted
        if not repeats_allowed:
            assert max(ids.values(), default=1) == 1

    def stop(self) -> None:
        """Kill what still runs."""
        for worker in self.workers:
            worker.kill()


class Worker:
    """A worker process."""

    def __init__(self, cluster: Cluster, number: int, given: dict[str, Any]) -> None:
        self.report_path = cluster.directory / f"report-{number}.json"
        self.log_path = cluster.directory / f"worker-{number}.log"
        config = cluster.directory / f"worker-{number}.json"
        stage = {
            "app_id": cluster.app_id,
            "bootstrap_servers": cluster.bootstrap_servers,
            "main_topic": cluster.main,
            "prerequisite_topics": cluster.prerequisites,
            "table_name": "totals",
            "partitions": cluster.partitions,
            "poll_records_max": 2000,
            "session_timeout_seconds": 6.0,
            **{name: value for name, value in given.items() if name != "options"},
        }
        config.write_text(
            json.dumps(
                {
                    "stage": stage,
                    "output_topic": cluster.outputs,
                    "step": STEP,
                    "options": given.get("options", {}),
                    "report": str(self.report_path),
                }
            )
        )
        with self.log_path.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(WORKER), str(config)],
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )

    def said(self, text: str) -> bool:
        """True when the log holds the text; fails when the worker has ended without."""
        if text in self.log_path.read_text():
            return True
        assert self.process.poll() is None, self.log_path.read_text()[-3000:]
        return False

    def terminate(self, timeout_seconds: float = 15) -> int:
        """SIGTERM, and the exit code. One that has only just been started does not handle signals yet, and is waited for."""
        wait_until(lambda: self.said("Starting..."), STARTED_SECONDS_MAX, "the worker handles signals")
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout_seconds)

    def kill(self) -> None:
        """SIGKILL."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(10)

    def report(self) -> dict[str, Any]:
        """What the worker wrote at its end."""
        content: dict[str, Any] = json.loads(self.report_path.read_text())
        return content
