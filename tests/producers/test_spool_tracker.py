"""The mode `spool` in one process: outages, bounds, directories that cannot be used, what is left and resumed."""

from __future__ import annotations

import resource
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import UUID

import pytest
from tests.fixtures.fix_kafka import KafkaServer, OwnKafka
from tests.fixtures.wait import wait_until
from tests.producers.spooling import FLUSH_SECONDS, NOBODY, ids_in, spool_files, watched

from costledger.producers import CostTracker, EventDropped
from costledger.producers.spool import adoption, spool
from costledger.producers.spool.directory import others

ROOT = Path(__file__).parents[2]
DRAIN_SECONDS = 90.0
MEBIBYTE = 2**20


@pytest.fixture
def topic(kafka: KafkaServer) -> str:
    """A topic of this test alone."""
    return kafka.create_topic(kafka.unique("events"))


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A spool directory of this test alone, not made yet."""
    return tmp_path / "spool"


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with much to do may stand still for longer than `put` waits for another thread: no matter of these tests."""
    monkeypatch.setattr(spool, "_WAIT_SECONDS_MAX", FLUSH_SECONDS)


def leave_events(directory: Path, topic: str, events: int) -> list[UUID]:
    """What a tracker without Kafka leaves behind."""
    with CostTracker(NOBODY, "t", "spool", directory, topic=topic, flush_timeout_seconds=0) as tracker:
        ids = [tracker.track_s3(f"user-{number % 10}", "get", 1) for number in range(events)]
    stats = tracker.stats()
    assert (stats["tracked"], stats["spooled"], stats["queued"], stats["dropped"]) == (events, events, 0, 0)
    return ids


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


def outage(own_kafka: OwnKafka, directory: Path, seconds: float, caplog: pytest.LogCaptureFixture) -> None:
    """Track through an outage that outlasts the delivery timeout, with a queue much shorter than the backlog."""
    topic = own_kafka.create_topic("outage")
    errors: list[EventDropped] = []
    address = own_kafka.bootstrap_servers
    ids: list[UUID] = []
    with (
        CostTracker(
            *(address, "t", "spool", directory, 400, errors.append), topic=topic, delivery_timeout_seconds=1
        ) as tracker,
        watched(tracker),
    ):

        def track(events: int) -> None:
            ids.extend(tracker.track_s3(f"user-{number % 50}", "get", 1) for number in range(events))

        track(500)
        assert tracker.flush(FLUSH_SECONDS) == 0
        own_kafka.kill()
        resident_before = resident_bytes()
        until = time.monotonic() + seconds
        # So many at least, however slow the machine is.
        while time.monotonic() < until or len(ids) <= 5_500:
            track(100)
            assert not threading.Event().wait(0.02)
        stats = tracker.stats()
        assert (stats["acked"], stats["queued"], stats["dropped"]) == (500, 0, 0)
        assert stats["spooled"] == len(ids) - 500 > 5000
        assert "stay in the spool and are sent again later" in caplog.text
        assert resident_bytes() - resident_before < 100 * MEBIBYTE
        own_kafka.start()
        track(100)
        assert tracker.flush(DRAIN_SECONDS) == 0
        stats = tracker.stats()
        assert (stats["tracked"], stats["acked"], stats["unspooled"]) == (len(ids), len(ids), 0)
    assert errors == []
    # An event that was given back may have arrived all the same: repeats carry the same id.
    assert set(ids_in(own_kafka, topic)) == set(ids)
    assert list(directory.iterdir()) == []


def resident_bytes() -> int:
    """What this process has in memory now."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


def test_an_outage_longer_than_the_delivery_timeout_loses_nothing(
    own_kafka: OwnKafka, directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Events expire in the client again and again, come back, and arrive when the broker is back."""
    outage(own_kafka, directory, 6, caplog)


@pytest.mark.slow
@pytest.mark.fault
@pytest.mark.long
def test_a_minute_without_a_broker_loses_nothing(
    own_kafka: OwnKafka, directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The same for 60 seconds."""
    outage(own_kafka, directory, 60, caplog)


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


def test_a_corrupt_file_of_another_process_is_put_aside(
    kafka: KafkaServer, topic: str, directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Loudly, never deleted, byte for byte; the others beside it are resumed."""
    left = leave_events(directory, topic, 10)
    broken = directory / "0.spool.sqlite3"
    content = b"this is no database" * 100
    broken.write_bytes(content)
    with CostTracker(kafka.bootstrap_servers, "t", "spool", directory, topic=topic) as tracker:
        wait_until(lambda: tracker.stats()["acked"] == 10, FLUSH_SECONDS, "the sound file is resumed")
    (aside,) = directory.iterdir()
    assert aside.name.startswith("0.spool.sqlite3.corrupt-")
    assert aside.read_bytes() == content
    assert "put aside as" in caplog.text
    assert sorted(ids_in(kafka, topic)) == sorted(left)


def test_a_damaged_file_of_another_process_is_put_aside(
    kafka: KafkaServer, topic: str, directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Damage in the midst of a file is seen before anything of it is counted or sent."""
    leave_events(directory, topic, 3000)
    (path,) = others(directory)
    damage(path)
    with CostTracker(kafka.bootstrap_servers, "t", "spool", directory, topic=topic) as tracker:
        own = tracker.track_s3("u", "get", 1)
        assert tracker.flush(FLUSH_SECONDS) == 0
        wait_until(lambda: path.exists() is False, FLUSH_SECONDS, "the file is put aside")
        assert tracker.stats()["tracked"] == 1
    (aside,) = spool_files(directory)
    assert aside.startswith(f"{path.name}.corrupt-")
    assert "malformed; put aside as" in caplog.text
    assert ids_in(kafka, topic) == [own]


def test_a_file_that_is_damaged_while_it_is_in_use_is_put_aside(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot be read any more is counted as dropped and told with its number; new events go to a new file."""
    monkeypatch.setattr(spool, "RETRY_SECONDS", 0.1)
    errors: list[EventDropped] = []
    with (
        CostTracker(
            *(NOBODY, "t", "spool", directory, 100, errors.append), delivery_timeout_seconds=1, flush_timeout_seconds=0
        ) as tracker,
        watched(tracker),
    ):
        for number in range(20_000):
            tracker.track_s3(f"user-{number % 10}", "get", 1)
        (name,) = spool_files(directory)
        # From another process: closing any handle of the file in this one would let its lock go.
        subprocess.run(
            ["dd", "if=/dev/urandom", f"of={directory / name}", "bs=1024", "seek=2", "count=3000", "conv=notrunc"],
            check=True,
            capture_output=True,
        )
        wait_until(lambda: errors, FLUSH_SECONDS, "the damage is noticed")
        tracker.track_s3("u", "get", 1)
        stats = tracker.stats()
        names = spool_files(directory)
    assert {error.reason for error in errors} == {"spool_lost"}
    assert "put aside as" in errors[0].explanation
    assert stats["dropped"] > 19_000
    assert len(names) == 2
    assert sum(".corrupt-" in each for each in names) == 1


def damage(path: Path) -> None:
    """Write over a part of a spool file that nobody has open."""
    size = path.stat().st_size
    with path.open("r+b") as handle:
        handle.seek(size * 2 // 3 // 1024 * 1024)
        handle.write(b"\xff" * (size // 4))


def test_a_file_that_somebody_removes_is_replaced(
    kafka: KafkaServer, topic: str, directory: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is noticed and said; its events are still sent, and new ones go to a new file."""
    with CostTracker(kafka.bootstrap_servers, "t", "spool", directory, topic=topic) as tracker, watched(tracker):
        ids = [tracker.track_s3("u", "get", 1)]
        (name,) = spool_files(directory)
        for path in directory.iterdir():
            path.unlink()

        def replaced() -> bool:
            ids.append(tracker.track_s3("u", "get", 1))
            return bool(spool_files(directory))

        wait_until(replaced, FLUSH_SECONDS, "there is a new file")
        assert spool_files(directory) != [name]
        assert tracker.flush(FLUSH_SECONDS) == 0
        assert tracker.stats()["dropped"] == 0
    assert "was removed" in caplog.text
    assert sorted(ids_in(kafka, topic)) == sorted(ids)
