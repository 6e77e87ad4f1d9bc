"""Logs of spool files that are damaged while nobody has them: told, kept, and what can be read of them is sent."""

from __future__ import annotations

import io
import random
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from tests.fixtures.fix_kafka import KafkaServer
from tests.fixtures.wait import wait_until
from tests.producers.spool.spooling import FLUSH_SECONDS, ids_in, spool_files

from costledger.producers import CostTracker, EventDropped
from costledger.producers.spool.directory import others
from costledger.producers.spool.errors import SpoolUnavailable
from costledger.producers.spool.file import SpoolFile
from costledger.producers.spool.wal import log_damage

ROOT = Path(__file__).parents[3]
EVENTS = 50
HEADER_BYTES = 32
FRAME_BYTES = 24 + 1024
TIMEOUT_SECONDS = 30

KILLED = f"""
import os, signal, sys
from costledger.producers import CostTracker
tracker = CostTracker("127.0.0.1:9", "t", "spool", sys.argv[1], topic=sys.argv[2])
for number in range({EVENTS}):
    tracker.track_s3(f"user-{{number}}", "get", 1)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def left(tmp_path: Path, topic: str) -> tuple[Path, Path]:
    """The file, and its log with all events, of a process that was killed."""
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path / "spool"), topic], cwd=ROOT, timeout=TIMEOUT_SECONDS, check=False
    )
    assert done.returncode == -signal.SIGKILL
    (path,) = others(tmp_path / "spool")
    return path, log_of(path)


def log_of(path: Path) -> Path:
    """The log beside a file."""
    return path.with_name(path.name + "-wal")


def current_frames(log: bytes) -> int:
    """How many whole frames of the current cycle a log begins with."""
    salts, frames = log[16:24], 0
    while log[HEADER_BYTES + frames * FRAME_BYTES :][8:16] == salts:
        frames += 1
    return frames


def flip(path: Path, offset: int, bit: int = 0) -> bytes:
    """Turn one bit of a file over; its new content."""
    content = bytearray(path.read_bytes())
    content[offset] ^= 1 << bit
    path.write_bytes(content)
    return bytes(content)


def resume(kafka: KafkaServer, topic: str, directory: Path, events: int) -> list[EventDropped]:
    """What a tracker tells that adopts what is there, and sends so many events."""
    errors: list[EventDropped] = []
    with CostTracker(kafka.bootstrap_servers, "t", "spool", directory, topic=topic, on_error=errors.append) as tracker:
        wait_until(lambda: others(directory) == [], FLUSH_SECONDS, "the file is adopted")
        wait_until(lambda: tracker.stats()["acked"] == events, FLUSH_SECONDS, f"{events} events are sent")
        assert tracker.stats()["tracked"] == events
    return errors


def assert_told_and_kept(errors: list[EventDropped], directory: Path, database: bytes, log: bytes) -> None:
    """One report with an unknown number, and the pair byte for byte under the name that it gives."""
    assert [error.reason for error in errors] == ["spool_lost"]
    assert "an unknown number of events" in errors[0].explanation
    (name,) = spool_files(directory)
    assert ".corrupt-" in name
    assert str(directory / name) in errors[0].explanation
    assert (directory / name).read_bytes() == database
    assert log_of(directory / name).read_bytes() == log


def test_a_log_whose_header_is_damaged_is_kept(
    kafka: KafkaServer, topic: str, left: tuple[Path, Path], seed: int
) -> None:
    """SQLite would take the log for empty, and with it the file: all events would be gone without a word."""
    path, log = left
    generator = random.Random(seed)
    content = flip(log, generator.randrange(HEADER_BYTES), generator.randrange(8))
    database = path.read_bytes()
    assert_told_and_kept(resume(kafka, topic, path.parent, 0), path.parent, database, content)
    assert ids_in(kafka, topic) == []


def test_of_a_log_that_is_damaged_in_its_midst_the_beginning_is_sent(
    kafka: KafkaServer, topic: str, left: tuple[Path, Path]
) -> None:
    """SQLite reads it up to the damage; that the rest is missing is told, once, and the rest is kept."""
    path, log = left
    content = flip(log, log.stat().st_size // 2)
    database = path.read_bytes()
    errors: list[EventDropped] = []
    with CostTracker(
        kafka.bootstrap_servers, "t", "spool", path.parent, topic=topic, on_error=errors.append
    ) as tracker:
        wait_until(lambda: tracker.stats()["acked"] > 0 and others(path.parent) == [], FLUSH_SECONDS, "some are sent")
        assert tracker.flush(FLUSH_SECONDS) == 0
        readable = tracker.stats()["acked"]
    assert EVENTS // 3 < readable < EVENTS
    assert len(ids_in(kafka, topic)) == readable
    assert_told_and_kept(errors, path.parent, database, content)
    assert resume(kafka, topic, path.parent, 0) == []


def test_a_file_that_is_emptied_beside_its_log_is_kept(kafka: KafkaServer, topic: str, left: tuple[Path, Path]) -> None:
    """SQLite would delete the log, all events in it."""
    path, log = left
    path.write_bytes(b"")
    content = log.read_bytes()
    assert_told_and_kept(resume(kafka, topic, path.parent, 0), path.parent, b"", content)


@pytest.mark.parametrize("how", ["emptied", "removed"])
def test_a_log_that_is_taken_away_is_told(kafka: KafkaServer, topic: str, left: tuple[Path, Path], how: str) -> None:
    """Nobody who closes a file leaves it without events: it is put aside rather than deleted as an empty one."""
    path, log = left
    if how == "emptied":
        log.write_bytes(b"")
    else:
        log.unlink()
    errors = resume(kafka, topic, path.parent, 0)
    assert [error.reason for error in errors] == ["spool_lost"]
    assert "was taken away" in errors[0].explanation
    (name,) = spool_files(path.parent)
    assert ".corrupt-" in name


def test_a_killed_process_that_left_no_event_is_no_damage(kafka: KafkaServer, topic: str, tmp_path: Path) -> None:
    """Its file has tables and a log without events: deleted without a word."""
    script = f"""
import os, signal
from pathlib import Path
from costledger.producers.spool.file import SpoolFile
SpoolFile.create(Path({str(tmp_path)!r}), {topic!r}, 2**20, "normal")
os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, timeout=TIMEOUT_SECONDS, check=False)
    assert len(others(tmp_path)) == 1
    assert resume(kafka, topic, tmp_path, 0) == []
    assert list(tmp_path.iterdir()) == []


def test_the_tables_are_in_the_file_before_the_first_event(tmp_path: Path) -> None:
    """Not in the log alone: whoever loses the log must not take the file for one that never was written to."""
    file = SpoolFile.create(tmp_path / "spool", "t", 2**20, "normal")
    copy = tmp_path / "copy"
    # From another process: closing any handle of the file in this one would let its lock go.
    subprocess.run(["cp", str(file.path), str(copy)], check=True)
    content = copy.read_bytes()
    assert b"CREATE TABLE events" in content
    assert b"CREATE TABLE about" in content
    file.remove()


def test_any_bit_before_the_last_frame_is_seen(left: tuple[Path, Path], seed: int) -> None:
    """And any of the last frame's content; but a log that a kill has cut, at any byte of it, is sound."""
    content = left[1].read_bytes()
    assert log_damage(io.BytesIO(content)) is None
    frames = current_frames(content)
    assert frames > EVENTS
    end = HEADER_BYTES + frames * FRAME_BYTES
    content = content[:end]
    generator = random.Random(seed)
    for offset in [*(generator.randrange(end - FRAME_BYTES) for _ in range(150)), end - 1]:
        damaged = bytearray(content)
        damaged[offset] ^= 1 << generator.randrange(8)
        assert log_damage(io.BytesIO(damaged)) is not None, offset
    for cut in (HEADER_BYTES, end - 1, end - 1024, *(generator.randrange(HEADER_BYTES, end) for _ in range(50))):
        assert log_damage(io.BytesIO(content[:cut])) is None, cut


def test_a_frame_that_a_kill_has_cut_among_older_ones_is_no_damage(left: tuple[Path, Path]) -> None:
    """Its header is written, its page is still an earlier cycle's, and frames of that cycle follow."""
    content = bytearray(left[1].read_bytes())
    frames = current_frames(bytes(content))
    content = content[: HEADER_BYTES + frames * FRAME_BYTES]
    (salt,) = struct.unpack_from(">I", content, 16)
    old = bytearray(FRAME_BYTES)
    struct.pack_into(">6I", old, 0, 2, 3, salt - 1, 7, 8, 9)
    cut = content[-FRAME_BYTES:-1024] + old[24:]
    assert log_damage(io.BytesIO(content + cut + old)) is None
    assert log_damage(io.BytesIO(content + old)) is None


def test_a_transaction_that_was_taken_back_is_no_damage(tmp_path: Path) -> None:
    """Its frames stay in the log behind those of a shorter one, as after a disk that was full."""
    file = SpoolFile.create(tmp_path, "t", 2**20, "normal")
    file.insert(1, b"k", b"v")
    file._execute("PRAGMA cache_size=2")
    file._execute("BEGIN")
    for row in range(2, 30):
        file._execute("INSERT INTO events VALUES (?, ?, ?)", (row, b"k", b"v" * 500))
    file._execute("ROLLBACK")
    file.insert(2, b"k", b"v")
    content = log_of(file.path).read_bytes()
    assert current_frames(content) > 10
    assert log_damage(io.BytesIO(content)) is None
    file.remove()


ADOPTED = """
import os, signal, sys
from pathlib import Path
from costledger.producers.spool.adoption import Adoption
from costledger.producers.counters import Counters
from costledger.producers.reporting import Reporter
from costledger.producers.spool.options import SpoolOptions
path, topic = Path(sys.argv[1]), sys.argv[2]
options = SpoolOptions(path.parent, topic, 2**20, "normal", 100)
tell = lambda dropped: print(dropped.reason, flush=True)
(source,) = Adoption(options, Counters(), Reporter(tell), lambda message: None).adopt(1.0, 0, 0)
source.file.delete([(1, 1)])
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_damage_is_told_once_though_who_adopts_is_killed(left: tuple[Path, Path], topic: str) -> None:
    """With the copy made, the damage is gone from the file: the next one finds a sound log, and makes no copy."""
    path, log = left
    flip(log, log.stat().st_size // 2)
    told = []
    for _ in range(3):
        done = subprocess.run(
            [sys.executable, "-c", ADOPTED, str(path), topic],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
        assert done.returncode == -signal.SIGKILL, done.stderr
        told.append(done.stdout)
    assert told == ["spool_lost\n", "", ""]
    assert len(spool_files(path.parent)) == 2


ROUNDS = """
import sys
from pathlib import Path
from costledger.producers.spool.file import SpoolFile
file = SpoolFile.create(Path(sys.argv[1]), "t", 2**19, "normal")
print("ready", flush=True)
row = 0
while True:
    for _ in range(20):
        row += 1
        file.insert(row, b"k", b"v" * (row * 37 % 3000))
    file.delete([(row - 19, row - 2)] if row % 3 else [(row - 19, row)])
    if row % 60 == 0:
        file.delete([(1, row)])
    if file.checkpoint_due():
        file.checkpoint()
"""


def test_no_kill_looks_like_damage(tmp_path: Path, seed: int) -> None:
    """Logs that begin anew again and again, killed at any moment."""
    generator = random.Random(seed)
    cycles: list[int] = []
    for number in range(25):
        directory = tmp_path / str(number)
        process = subprocess.Popen(
            [sys.executable, "-c", ROUNDS, str(directory)], cwd=ROOT, stdout=subprocess.PIPE, text=True
        )
        with process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            # The moment is the point: whatever it writes then is cut.
            wanted_bytes = generator.randrange(2**16)
            wait_until(lambda: log_bytes(directory) >= wanted_bytes, TIMEOUT_SECONDS, "it has written")  # noqa: B023
            process.kill()
        (path,) = others(directory)
        content = log_of(path).read_bytes()
        assert log_damage(io.BytesIO(content)) is None, path
        cycles.append(struct.unpack_from(">I", content, 12)[0])
    assert max(cycles) > 1


def log_bytes(directory: Path) -> int:
    """How long the log of the one file there is."""
    return max((path.stat().st_size for path in directory.glob("*-wal")), default=0)


FULL = """
import resource, signal, sys
from pathlib import Path
from costledger.producers.spool.errors import SpoolUnavailable
from costledger.producers.spool.file import SpoolFile
resource.setrlimit(resource.RLIMIT_FSIZE, (2**14, resource.RLIM_INFINITY))
try:
    SpoolFile.adopt(Path(sys.argv[1]), sys.argv[2], 2**20, "normal", print)
except SpoolUnavailable as error:
    print("refused:", error)
"""


def test_what_cannot_be_copied_is_left_alone(left: tuple[Path, Path], topic: str) -> None:
    """On a full disk, here a limit on the size of files: neither file is touched, and half a copy is removed."""
    path, log = left
    content, database = flip(log, log.stat().st_size // 2), path.read_bytes()
    done = subprocess.run(
        [sys.executable, "-c", FULL, str(path), topic],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
    assert done.stdout.startswith("refused:"), done
    assert "cannot be copied" in done.stdout
    assert (path.read_bytes(), log.read_bytes()) == (database, content)
    assert sorted(path.parent.iterdir()) == [path, log]


FORBIDDEN = """
import os, sys
from pathlib import Path
from costledger.producers.spool.errors import SpoolUnavailable
from costledger.producers.spool.file import SpoolFile
if os.geteuid() == 0:
    os.setuid(65534)  # root may write everywhere; this is nobody's number
try:
    SpoolFile.adopt(Path(sys.argv[1]), "t", 2**20, "normal")
except SpoolUnavailable as error:
    print(error)
"""


@pytest.mark.parametrize("what", ["file", "directory"])
def test_a_file_of_somebody_else_says_what_to_do(what: str) -> None:
    """Permission is named, also where SQLite says no more than that it cannot open something."""
    # Not in `tmp_path`, which others cannot look into.
    directory = Path(tempfile.mkdtemp())
    file = SpoolFile.create(directory, "t", 2**20, "normal")
    try:
        file.insert(1, b"k", b"v")
        file.close()
        directory.chmod(0o555 if what == "directory" else 0o777)
        file.path.chmod(0o666 if what == "directory" else 0o444)
        done = subprocess.run(
            [sys.executable, "-c", FORBIDDEN, str(file.path)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
    finally:
        directory.chmod(0o700)
        shutil.rmtree(directory)
    assert "permission: " in done.stdout, done
    assert "readable and writable for the user" in done.stdout
    assert "COSTLEDGER_SPOOL_DIR" in done.stdout


def test_a_file_in_the_place_of_the_directory_says_what_to_do(tmp_path: Path) -> None:
    """Rather than that the file exists."""
    (tmp_path / "file").touch()
    for directory in (tmp_path / "file", tmp_path / "file" / "spool"):
        with pytest.raises(SpoolUnavailable, match="is a file: COSTLEDGER_SPOOL_DIR has to name a directory"):
            SpoolFile.create(directory, "t", 2**20, "normal")
