"""The mode `spool` on a disk that is full: loud, nothing lost, and back on disk when there is room again."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, cast
from uuid import UUID

import pytest
from confluent_kafka import Message
from tests.fixtures.fix_kafka import KafkaServer
from tests.fixtures.wait import wait_until
from tests.producers.spool.spooling import FLUSH_SECONDS, NOBODY, ids_in, watched

from costledger.producers import CostTracker, EventDropped
from costledger.producers.spool import spool
from costledger.producers.spool.book import Book
from costledger.producers.spool.directory import is_there
from costledger.producers.spool.errors import SpoolCorrupt, SpoolFull
from costledger.producers.spool.file import SpoolFile
from costledger.producers.spool.source import Source

ROOT = Path(__file__).parents[3]
DISK_BYTES = 2**20
#: Nobody looks at it here.
NO_MESSAGE = cast(Message, cast(Any, None))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one MiB; the test is skipped by name where none may be mounted."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(place)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(
            f"a small disk cannot be mounted here ({done.stderr.strip()}); the limit on file sizes is tested below"
        )
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill(disk: Path) -> Path:
    """Take all the room that is left."""
    ballast = disk / "ballast"
    descriptor = os.open(ballast, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    with suppress(OSError):
        while True:
            os.write(descriptor, b"\0" * 4096)
    os.close(descriptor)
    return ballast


def track_until(tracker: CostTracker, ids: list[UUID], name: str, least: int) -> None:
    """Track until so many events of this count are seen."""

    def seen() -> bool:
        ids.extend(tracker.track_s3(f"user-{len(ids) % 20}", "get", 1) for _ in range(50))
        return tracker.stats()[name] >= least  # type: ignore[literal-required,no-any-return]  # a name of a count

    wait_until(seen, FLUSH_SECONDS, f"{least} events are {name}")


def test_a_full_disk_loses_nothing(
    kafka: KafkaServer,
    topic: str,
    small_disk: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Events go on in memory and say so; with room again they are spooled again; the broker gets every one."""
    monkeypatch.setattr(spool, "RETRY_SECONDS", 0.1)
    errors: list[EventDropped] = []
    ids: list[UUID] = []
    with (
        CostTracker(
            kafka.bootstrap_servers, "t", "spool", small_disk / "spool", topic=topic, on_error=errors.append
        ) as tracker,
        watched(tracker),
    ):
        ids.append(tracker.track_s3("u", "get", 1))
        ballast = fill(small_disk)
        track_until(tracker, ids, "unspooled", 500)
        assert "cost events wait in memory alone" in caplog.text
        assert tracker.flush(FLUSH_SECONDS) == 0
        ballast.unlink()

        def spooled() -> bool:
            before = tracker.stats()["unspooled"]
            ids.append(tracker.track_s3("u", "get", 1))
            return tracker.stats()["unspooled"] == before

        wait_until(spooled, FLUSH_SECONDS, "events are spooled again")
        assert tracker.flush(FLUSH_SECONDS) == 0
        stats = tracker.stats()
        assert (stats["acked"], stats["dropped"]) == (len(ids), 0)
    assert errors == []
    assert sorted(ids_in(kafka, topic)) == sorted(ids)
    assert list((small_disk / "spool").iterdir()) == []


def test_a_disk_that_fills_without_a_broker_keeps_what_it_has(
    kafka: KafkaServer, topic: str, small_disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """What was spooled before is there for the next process; what came after is counted as queued, then as dropped."""
    errors: list[EventDropped] = []
    tracker = CostTracker(
        NOBODY, "t", "spool", small_disk / "spool", topic=topic, on_error=errors.append, flush_timeout_seconds=0
    )
    ids: list[UUID] = []
    with watched(tracker):
        track_until(tracker, ids, "unspooled", 100)
        stats = tracker.stats()
        assert stats["spooled"] + stats["queued"] == len(ids)
        assert stats["spooled"] > 500
        fill(small_disk)
        tracker.close()
    stats = tracker.stats()
    # What was in memory alone cannot be kept when the process ends: each one is told.
    assert len(errors) == stats["dropped"] == len(ids) - stats["spooled"]
    with CostTracker(kafka.bootstrap_servers, "t", "spool", small_disk / "spool", topic=topic) as next_one:
        wait_until(lambda: next_one.stats()["acked"] == stats["spooled"], FLUSH_SECONDS, "what was spooled has arrived")
    assert set(ids_in(kafka, topic)) == set(ids) - {error.event_id for error in errors}


def test_a_full_disk_refuses_deletes_but_is_read_on(small_disk: Path) -> None:
    """A backlog goes on to Kafka though what has arrived cannot be deleted now."""
    file = SpoolFile.create(small_disk / "spool", "t", 2**26, "normal")
    source = Source(file, Book(), 0, lambda _message: None)
    rows = 0
    with suppress(SpoolFull):
        while True:
            source.write(b"user", b"0" * 170, 0)
            rows += 1
    fill(small_disk)
    half = source.take(1.0, rows // 2, rows)
    for row, _, _ in half:
        source.delivered(row, None, NO_MESSAGE)
    assert source.settle(1.0) == (rows // 2, [], None)
    with pytest.raises(SpoolFull):
        source.delete(1.0)
    rest = source.take(1.0, rows, rows)
    assert len(half) + len(rest) == rows > 500
    file.remove()


def test_what_the_client_gives_back_of_a_broken_file_is_lost(tmp_path: Path) -> None:
    """Also where it only had no room: there is no file to read it from once more, and nobody would ever count it."""
    file = SpoolFile.create(tmp_path, "t", 2**26, "normal")
    source = Source(file, Book(), 0, lambda _message: None)
    for _ in range(3):
        source.write(b"user", b"value", 3)
    waits, _ = source.write(b"user", b"value", 3)
    assert waits == 4
    broken = SpoolCorrupt("broken")
    # The one that waits is lost at once; the others are still on their way.
    assert source.give_up(broken) == 1
    source.refused(1, BufferError("full"))
    source.give_back([(2, b"user", b"value")], 0.0)
    source.delivered(3, None, NO_MESSAGE)
    acknowledged, errors, why = source.settle(1.0)
    assert (acknowledged, len(errors), why) == (1, 2, broken)
    source.delete(1.0)
    assert source.finished()
    file.remove()


LIMITED = """
import resource, signal, sys
from costledger.producers import CostTracker
bootstrap, topic, directory, limit = sys.argv[1:]
errors = []
with CostTracker(bootstrap, "t", "spool", directory, topic=topic, on_error=errors.append) as tracker:
    print(tracker.track_s3("u", "get", 1))
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), resource.RLIM_INFINITY))
    while tracker.stats()["unspooled"] < 100:
        print(tracker.track_s3("u", "get", 1))
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    before = -1
    while before != tracker.stats()["unspooled"]:
        before = tracker.stats()["unspooled"]
        print(tracker.track_s3("u", "get", 1))
    assert tracker.flush(30) == 0
    stats = tracker.stats()
assert stats["acked"] == stats["tracked"] and not errors, (stats, errors)
"""


@pytest.mark.skipif(
    resource.getrlimit(resource.RLIMIT_FSIZE)[1] != resource.RLIM_INFINITY, reason="a limit is in force"
)
def test_a_limit_on_file_sizes_loses_nothing(kafka: KafkaServer, topic: str, tmp_path: Path) -> None:
    """Writing fails as on a full disk, in a process of its own; no privilege is needed for this one."""
    arguments = [kafka.bootstrap_servers, topic, str(tmp_path / "spool"), "200000"]
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=90, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "cost events wait in memory alone" in done.stderr
    assert sorted(ids_in(kafka, topic)) == sorted(UUID(line) for line in done.stdout.split())


def test_a_file_that_cannot_be_asked_about_is_not_taken_for_gone(tmp_path: Path) -> None:
    """Nor does the question raise: it is put by a thread of the host's."""
    file, loop = tmp_path / "file", tmp_path / "loop"
    file.touch()
    loop.symlink_to(loop)
    assert is_there(file)
    assert is_there(loop)
    assert not is_there(tmp_path / "gone")
    assert not is_there(file / "below-a-file")
