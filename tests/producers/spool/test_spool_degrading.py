"""A spool that is stalled, slow, full or cannot be written: events go on in memory, and spooling comes back."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.fixtures.fix_kafka import KafkaServer, OwnKafka
from tests.fixtures.wait import wait_until
from tests.producers.spool.spooling import (
    DRAIN_SECONDS,
    FLUSH_SECONDS,
    MEBIBYTE,
    NOBODY,
    ids_in,
    spool_files,
    watched,
)

from costledger.producers import CostTracker, EventDropped
from costledger.producers.spool import spool

ROOT = Path(__file__).parents[3]


def test_a_stalled_file_delays_one_thread_and_is_used_again_at_once(
    kafka: KafkaServer, topic: str, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One event waits for whoever has the file, those after it do not; the first that finds it free ends the stall."""
    monkeypatch.setattr(spool, "_WAIT_SECONDS_MAX", 0.2)
    monkeypatch.setattr(spool, "RETRY_SECONDS", 3600.0)
    with CostTracker(kafka.bootstrap_servers, "t", "spool", directory, topic=topic) as tracker:
        ids = [tracker.track_s3("u", "get", 1)]
        own = tracker._spool._own
        with own.lock, ThreadPoolExecutor(1) as pool:

            def track(events: int) -> float:
                began = time.monotonic()
                ids.extend(tracker.track_s3("u", "get", 1) for _ in range(events))
                return time.monotonic() - began

            assert pool.submit(track, 1).result() >= 0.2
            # A thousand that waited would take 200 s.
            assert pool.submit(track, 1000).result() < FLUSH_SECONDS
        assert tracker.stats()["unspooled"] == 1001

        def is_spooled() -> bool:
            # The serving thread may have the file just now, as at any time.
            before = tracker.stats()["unspooled"]
            track(1)
            return tracker.stats()["unspooled"] == before

        wait_until(is_spooled, FLUSH_SECONDS, "an event is spooled again")
        monkeypatch.setattr(spool, "_WAIT_SECONDS_MAX", FLUSH_SECONDS)
        unspooled = tracker.stats()["unspooled"]
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(track, [100] * 4))
        assert tracker.flush(FLUSH_SECONDS) == 0
        stats = tracker.stats()
        assert (stats["acked"], stats["unspooled"]) == (len(ids), unspooled)
    assert sorted(ids_in(kafka, topic)) == sorted(ids)


def test_a_disk_on_which_every_write_is_slow_delays_one_thread_at_a_time(
    kafka: KafkaServer, topic: str, directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who has waited in vain for a write is not told by its end that there is no need to wait: the next one goes at once."""
    monkeypatch.setattr(spool, "_WAIT_SECONDS_MAX", 0.05)
    monkeypatch.setattr(spool, "RETRY_SECONDS", 3600.0)
    with CostTracker(kafka.bootstrap_servers, "t", "spool", directory, topic=topic) as tracker:
        ids = [tracker.track_s3("u", "get", 1)]
        inner = tracker._spool
        own, begun, may_end = inner._own, threading.Event(), threading.Event()
        insert = own.file.insert

        def slow(*given: object) -> None:
            begun.set()
            assert may_end.wait(FLUSH_SECONDS)
            insert(*given)

        monkeypatch.setattr(own.file, "insert", slow)
        with ThreadPoolExecutor(1) as pool:
            first = pool.submit(tracker.track_s3, "u", "get", 1)
            assert begun.wait(FLUSH_SECONDS)
            ids.append(tracker.track_s3("u", "get", 1))
            stalled_until = inner._stalled_until
            may_end.set()
            ids.append(first.result())
        assert inner._stalled_until == stalled_until > 0
        assert tracker.stats()["unspooled"] == 1

        def is_over() -> bool:
            # The serving thread may have the file just now: then this one does not wait for it.
            ids.append(tracker.track_s3("u", "get", 1))
            return inner._stalled_until == 0

        wait_until(is_over, FLUSH_SECONDS, "an event that found the file free has ended the stall")
        assert tracker.flush(FLUSH_SECONDS) == 0
        assert tracker.stats()["acked"] == len(ids)
    assert sorted(ids_in(kafka, topic)) == sorted(ids)


def test_what_cannot_be_spooled_goes_on_in_memory_and_spooling_comes_back(
    kafka: KafkaServer, topic: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A directory that cannot be made: events are counted as queued and unspooled, arrive, and it is said once."""
    monkeypatch.setattr(spool, "RETRY_SECONDS", 0.2)
    directory = tmp_path / "in the way"
    directory.touch()
    errors: list[EventDropped] = []
    with (
        CostTracker(kafka.bootstrap_servers, "t", "spool", directory, topic=topic, on_error=errors.append) as tracker,
        watched(tracker),
    ):
        ids = [tracker.track_s3("u", "get", 1) for _ in range(50)]
        stats = tracker.stats()
        assert (stats["unspooled"], stats["spooled"], stats["queued"] + stats["acked"]) == (50, 0, 50)
        assert tracker.flush(FLUSH_SECONDS) == 0
        directory.unlink()

        def spooled() -> bool:
            ids.append(tracker.track_s3("u", "get", 1))
            return len(ids) - tracker.stats()["unspooled"] >= 3

        wait_until(spooled, FLUSH_SECONDS, "events are spooled again")
        assert len(spool_files(directory)) == 1
        assert tracker.flush(FLUSH_SECONDS) == 0
    assert errors == []
    assert caplog.text.count("cost events wait in memory alone") == 1
    assert sorted(ids_in(kafka, topic)) == sorted(ids)


READ_ONLY = """
import os, sys
from costledger.producers import CostTracker
bootstrap, topic, directory = sys.argv[1:]
if os.geteuid() == 0:
    os.setuid(65534)  # root may write everywhere; this is nobody's number
with CostTracker(bootstrap, "t", "spool", directory, topic=topic) as tracker:
    tracker.track_s3("u", "get", 1)
    assert tracker.flush(30) == 0
    assert tracker.stats()["unspooled"] == tracker.stats()["acked"] == 1, tracker.stats()
"""


def test_a_read_only_directory_degrades(kafka: KafkaServer, topic: str, directory: Path) -> None:
    """As above, for want of permission."""
    directory.mkdir(mode=0o555)
    arguments = [sys.executable, "-c", READ_ONLY, kafka.bootstrap_servers, topic, str(directory)]
    done = subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert "Permission denied" in done.stderr
    assert list(directory.iterdir()) == []
    assert len(ids_in(kafka, topic)) == 1


def test_a_full_spool_degrades_and_takes_events_again_when_it_has_drained(
    own_kafka: OwnKafka, directory: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """At `spool_bytes_max` events wait in memory; those that expire there are spooled once there is room."""
    monkeypatch.setenv("COSTLEDGER_SPOOL_BYTES_MAX", str(MEBIBYTE))
    monkeypatch.setattr(spool, "RETRY_SECONDS", 0.2)
    topic = own_kafka.create_topic("full")
    errors: list[EventDropped] = []
    address = own_kafka.bootstrap_servers
    with (
        CostTracker(
            *(address, "t", "spool", directory, 4000, errors.append), topic=topic, delivery_timeout_seconds=300
        ) as tracker,
        watched(tracker),
    ):
        ids = [tracker.track_s3("u", "get", 1)]
        assert tracker.flush(FLUSH_SECONDS) == 0
        own_kafka.kill()
        while tracker.stats()["unspooled"] < 500:
            ids.append(tracker.track_s3(f"user-{len(ids) % 50}", "get", 1, metadata={"file": "f" * 500}))
        stats = tracker.stats()
        assert (stats["queued"], stats["dropped"]) == (500, 0)
        assert stats["spooled"] == len(ids) - 501 > 500
        assert sum(path.stat().st_size for path in directory.iterdir()) <= MEBIBYTE
        assert "full" in caplog.text
        own_kafka.start()
        assert tracker.flush(DRAIN_SECONDS) == 0
        unspooled = tracker.stats()["unspooled"]
        assert tracker.stats()["spooled"] == 0

        def spooled_again() -> bool:
            before = tracker.stats()["unspooled"]
            ids.extend(tracker.track_s3("u", "get", 1, metadata={"file": "f" * 500}) for _ in range(200))
            return tracker.stats()["unspooled"] == before >= unspooled

        wait_until(spooled_again, FLUSH_SECONDS, "as many events as before are spooled again")
        assert tracker.flush(DRAIN_SECONDS) == 0
    assert errors == []
    assert set(ids_in(own_kafka, topic)) == set(ids)


def test_an_event_in_memory_that_expires_is_spooled_where_there_is_room_by_then(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not dropped, but goes from queued to spooled."""
    monkeypatch.setattr(spool, "RETRY_SECONDS", 0.1)
    directory.touch()
    errors: list[EventDropped] = []
    with (
        CostTracker(
            *(NOBODY, "t", "spool", directory, 100, errors.append), delivery_timeout_seconds=1, flush_timeout_seconds=0
        ) as tracker,
        watched(tracker),
    ):
        for _ in range(10):
            tracker.track_s3("u", "get", 1)
        assert tracker.stats()["queued"] == 10
        directory.unlink()
        wait_until(lambda: tracker.stats()["spooled"] == 10, FLUSH_SECONDS, "the expired events are on disk")
        assert tracker.stats()["queued"] == 0
    assert errors == []
    assert tracker.stats()["dropped"] == 0
