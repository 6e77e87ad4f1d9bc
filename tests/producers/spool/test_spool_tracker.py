"""The mode `spool` in one process: what arrives and leaves the disk, shared directories, what is left and resumed."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import UUID

import pytest
from tests.fixtures.fix_kafka import KafkaServer
from tests.fixtures.wait import wait_until
from tests.producers.spool.spooling import FLUSH_SECONDS, NOBODY, ids_in, leave_events, spool_files, watched

from costledger.producers import CostTracker, EventDropped
from costledger.producers.spool import adoption
from costledger.producers.spool.directory import others


def test_events_arrive_and_leave_the_disk(kafka: KafkaServer, topic: str, directory: Path) -> None:
    """Eight threads; every event arrives once, is deleted when it is acknowledged, and its file at the end."""
    with CostTracker(kafka.bootstrap_servers, "t", "spool", directory, topic=topic) as tracker, watched(tracker):

        def work(number: int) -> list[UUID]:
            return [tracker.track_transcribe(f"user-{number}", minute) for minute in range(500)]

        with ThreadPoolExecutor(8) as pool:
            ids = [event_id for part in pool.map(work, range(8)) for event_id in part]
        assert len(spool_files(directory)) == 1
        assert tracker.flush(FLUSH_SECONDS) == 0
        stats = tracker.stats()
        assert (stats["tracked"], stats["acked"], stats["unspooled"]) == (4000, 4000, 0)
    assert list(directory.iterdir()) == []
    assert sorted(ids_in(kafka, topic)) == sorted(ids)


def test_a_listener_hears_of_spooled_events_too(kafka: KafkaServer, topic: str, directory: Path) -> None:
    """Those that were resumed from another process's file as well as this one's."""
    left = leave_events(directory, topic, 5)
    heard: list[UUID] = []
    with CostTracker(kafka.bootstrap_servers, "t", "spool", directory, topic=topic) as tracker:
        tracker.subscribe(lambda event_id, _partition, _offset: heard.append(event_id))
        own = tracker.track_s3("u", "get", 1)
        wait_until(lambda: tracker.stats()["resumed"] == 5, FLUSH_SECONDS, "the five are resumed")
        assert tracker.flush(FLUSH_SECONDS) == 0
    assert sorted(heard) == sorted([*left, own])


def test_what_was_left_is_sent_by_a_process_that_tracks_nothing(
    kafka: KafkaServer, topic: str, directory: Path
) -> None:
    """The next start resumes; the events count as tracked, spooled and resumed, then as acknowledged."""
    ids = leave_events(directory, topic, 3000)
    with CostTracker(kafka.bootstrap_servers, "t", "spool", directory, topic=topic) as tracker, watched(tracker):
        wait_until(lambda: tracker.stats()["acked"] == 3000, FLUSH_SECONDS, "all are acknowledged")
        stats = tracker.stats()
        assert (stats["tracked"], stats["resumed"], stats["spooled"]) == (3000, 3000, 0)
        wait_until(
            lambda: others(directory) == [] and spool_files(directory) == [], FLUSH_SECONDS, "the file is deleted"
        )
    assert sorted(ids_in(kafka, topic)) == sorted(ids)


def test_two_trackers_of_one_process_share_a_directory(
    kafka: KafkaServer, topic: str, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither touches the other's file, until one is closed: then the other sends what was left in it."""
    monkeypatch.setattr(adoption, "ADOPT_INTERVAL_SECONDS", 0.1)
    first = CostTracker(NOBODY, "t", "spool", directory, topic=topic, flush_timeout_seconds=0)
    left = [first.track_s3("u", "get", 1) for _ in range(100)]
    with CostTracker(kafka.bootstrap_servers, "t", "spool", directory, topic=topic) as second:
        own = [second.track_s3("u", "get", 1) for _ in range(100)]
        assert second.flush(FLUSH_SECONDS) == 0
        assert second.stats()["resumed"] == 0
        first.close()
        wait_until(lambda: second.stats()["acked"] == 200, FLUSH_SECONDS, "the other's events are acknowledged")
        assert second.stats()["resumed"] == 100
    assert sorted(ids_in(kafka, topic)) == sorted(left + own)


def test_trackers_of_two_topics_share_a_directory(kafka: KafkaServer, topic: str, directory: Path) -> None:
    """What was left for another topic stays for a tracker of that topic."""
    other = kafka.create_topic(kafka.unique("other"))
    left = leave_events(directory, other, 10)
    with CostTracker(kafka.bootstrap_servers, "t", "spool", directory, topic=topic) as tracker:
        own = tracker.track_s3("u", "get", 1)
        assert tracker.flush(FLUSH_SECONDS) == 0
        assert tracker.stats()["resumed"] == 0
    assert ids_in(kafka, topic) == [own]
    with CostTracker(kafka.bootstrap_servers, "t", "spool", directory, topic=other) as tracker:
        wait_until(lambda: tracker.stats()["acked"] == 10, FLUSH_SECONDS, "the other topic's events are acknowledged")
    assert sorted(ids_in(kafka, other)) == sorted(left)


def test_closing_leaves_on_disk_what_kafka_does_not_have(directory: Path) -> None:
    """Within the flush timeout; nothing is dropped. Later events are dropped as `closed`."""
    errors: list[EventDropped] = []
    tracker = CostTracker(NOBODY, "t", "spool", directory, on_error=errors.append, flush_timeout_seconds=0.2)
    with watched(tracker):
        for _ in range(1000):
            tracker.track_s3("u", "get", 1)
        started = time.monotonic()
        tracker.close()
        assert time.monotonic() - started < 3
        assert errors == []
        assert tracker.flush(0) == 1000
        tracker.track_s3("u", "get", 1)
    stats = tracker.stats()
    assert (stats["tracked"], stats["spooled"], stats["dropped"], stats["unspooled"]) == (1001, 1000, 1, 0)
    assert [error.reason for error in errors] == ["closed"]
    assert len(spool_files(directory)) == 1
