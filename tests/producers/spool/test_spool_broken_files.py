"""Spool files that are corrupt, damaged or removed: put aside or replaced, said, and the others go on."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from tests.fixtures.fix_kafka import KafkaServer
from tests.fixtures.wait import wait_until
from tests.producers.spool.spooling import FLUSH_SECONDS, NOBODY, ids_in, leave_events, spool_files, watched

from costledger.producers import CostTracker, EventDropped
from costledger.producers.spool import spool
from costledger.producers.spool.directory import others


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
