"""What the tests of the mode `spool` share: a watcher of the counts, what is left behind, and the ids on a topic."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import UUID

import pytest
from tests.fixtures.fix_kafka import KafkaServer
from tests.producers.reading import read_topic

from costledger.producers import CostTracker
from costledger.producers.spool import spool
from costledger.schemas.codec import decode_cost_event

FLUSH_SECONDS = 30.0
DRAIN_SECONDS = 90.0
MEBIBYTE = 2**20
#: Nobody listens there: the port of the discard protocol, which no test starts.
NOBODY = "127.0.0.1:9"


def be_patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with much to do may stand still for longer than `put` waits for another thread: no matter of these tests."""
    monkeypatch.setattr(spool, "_WAIT_SECONDS_MAX", FLUSH_SECONDS)


@contextmanager
def watched(tracker: CostTracker) -> Iterator[list[object]]:
    """Look at the counts from another thread all the while; at the end it fails if they ever did not add up."""
    wrong: list[object] = []
    done = threading.Event()
    looks = [0]

    def look() -> None:
        while not done.is_set():
            stats = tracker.stats()
            parts = [stats["acked"], stats["spooled"], stats["queued"], stats["dropped"]]
            if stats["tracked"] != sum(parts) or min(parts) < 0:
                wrong.append(stats)
            looks[0] += 1
            done.wait(0.0005)

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield wrong
    finally:
        done.set()
        watcher.join()
    assert looks[0] > 0
    assert wrong == []


def ids_in(kafka: KafkaServer, topic: str) -> list[UUID]:
    """The event ids on a topic, repeats included."""
    return [
        decode_cost_event(message.value() or b"").event_id for message in read_topic(kafka.bootstrap_servers, topic)
    ]


def spool_files(directory: Path) -> list[str]:
    """The names of what is in a spool directory, logs left out."""
    return sorted(path.name for path in directory.iterdir() if not path.name.endswith("-wal"))


def leave_events(directory: Path, topic: str, events: int) -> list[UUID]:
    """What a tracker without Kafka leaves behind."""
    with CostTracker(NOBODY, "t", "spool", directory, topic=topic, flush_timeout_seconds=0) as tracker:
        ids = [tracker.track_s3(f"user-{number % 10}", "get", 1) for number in range(events)]
    stats = tracker.stats()
    assert (stats["tracked"], stats["spooled"], stats["queued"], stats["dropped"]) == (events, events, 0, 0)
    return ids
