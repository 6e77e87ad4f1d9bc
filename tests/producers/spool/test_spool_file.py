"""One spool file, and the directory of them: who owns a file, what survives, what is refused."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from costledger.producers.spool.directory import default_directory, others
from costledger.producers.spool.errors import SpoolBusy, SpoolCorrupt, SpoolForeign, SpoolFull, SpoolUnavailable
from costledger.producers.spool.file import SpoolFile

BYTES_MAX = 2**20
TIMEOUT_SECONDS = 30


def create(directory: Path, topic: str = "t", bytes_max: int = BYTES_MAX) -> SpoolFile:
    """A new file."""
    return SpoolFile.create(directory, topic, bytes_max, "normal")


def adopt(path: Path, topic: str = "t") -> SpoolFile:
    """A file that was left."""
    return SpoolFile.adopt(path, topic, BYTES_MAX, "normal")


def fill(file: SpoolFile, row: int) -> int:
    """Write rows from this one on until there is no room; the row that found none."""
    while True:
        try:
            file.insert(row, b"k", b"v" * 200)
        except SpoolFull:
            return row
        row += 1


def in_another_process(script: str, path: Path) -> subprocess.CompletedProcess[str]:
    """Run a program that opens files in a process of its own."""
    preamble = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom costledger.producers.spool.file import SpoolFile\n"
    )
    return subprocess.run(
        [sys.executable, "-c", preamble + script, str(path)],
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )


def test_what_was_written_is_read_by_the_next_owner(tmp_path: Path) -> None:
    """Rows come back in order, byte for byte; deleted ones do not."""
    file = create(tmp_path)
    for row in range(1, 11):
        file.insert(row, b"key", bytes([row]) * row)
    file.delete([(1, 3), (5, 5)])
    file.close()
    assert others(tmp_path) == [file.path]
    again = adopt(file.path)
    assert again.extent() == (4, 11, 6)
    assert again.read_range(1, 8, 3) == [(row, b"key", bytes([row]) * row) for row in (4, 6, 7)]
    assert [row for row, _, _ in again.read([10, 6])] == [10, 6]
    with pytest.raises(SpoolCorrupt, match="has lost 1 rows"):
        again.read([5, 6])
    again.remove()
    assert list(tmp_path.iterdir()) == []


def test_a_file_belongs_to_one_owner(tmp_path: Path) -> None:
    """Neither another process nor another tracker of this one can have it meanwhile."""
    file = create(tmp_path)
    file.insert(1, b"k", b"v")
    with pytest.raises(SpoolBusy):
        adopt(file.path)
    other = in_another_process("SpoolFile.adopt(Path(sys.argv[1]), 't', 2**20, 'normal')", file.path)
    assert "SpoolBusy" in other.stderr
    file.insert(2, b"k", b"v")
    file.close()
    done = in_another_process("print(SpoolFile.adopt(Path(sys.argv[1]), 't', 2**20, 'normal').extent())", file.path)
    assert done.stdout == "(1, 3, 2)\n", done.stderr


def test_an_owner_that_is_killed_leaves_every_row(tmp_path: Path) -> None:
    """The lock dies with the process; what was inserted is there."""
    script = """
file = SpoolFile.create(Path(sys.argv[1]), "t", 2**20, "normal")
for row in range(1, 501):
    file.insert(row, b"k", b"v" * 100)
os.kill(os.getpid(), signal.SIGKILL)
"""
    assert in_another_process(script, tmp_path).returncode == -signal.SIGKILL
    (path,) = others(tmp_path)
    file = adopt(path)
    assert file.extent() == (1, 501, 500)
    file.remove()


def test_a_new_file_that_is_tidied_away_at_once_gets_another_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever adopts what others have left removes an empty file, also one that its maker has not opened yet."""
    closed: list[Path] = []

    def close_and_tidy(descriptor: int) -> None:
        real_close(descriptor)
        if not closed:
            closed.extend(others(tmp_path))
            closed[0].unlink()

    real_close = os.close
    monkeypatch.setattr("costledger.producers.spool.file.os.close", close_and_tidy)
    file = create(tmp_path)
    file.insert(1, b"k", b"v")
    assert closed
    assert file.path not in closed
    assert file.in_place()
    file.remove()


def test_a_file_of_another_topic_is_left_alone(tmp_path: Path) -> None:
    """One directory can serve trackers of several topics."""
    file = create(tmp_path, "theirs")
    file.insert(1, b"k", b"v")
    file.close()
    with pytest.raises(SpoolForeign, match="theirs"):
        adopt(file.path, "ours")
    assert adopt(file.path, "theirs").extent() == (1, 2, 1)


def test_a_file_of_a_later_format_is_left_alone(tmp_path: Path) -> None:
    """A newer release may share the directory; its files are neither read nor put aside as corrupt."""
    file = create(tmp_path)
    file.close()
    with sqlite3.connect(file.path) as connection:
        connection.execute("UPDATE about SET format = 2")
    connection.close()
    with pytest.raises(SpoolForeign):
        adopt(file.path)


@pytest.mark.parametrize("content", [b"no database at all" * 100, b"SQLite format 3\x00" + b"\xff" * 5000])
def test_what_is_no_spool_file_is_corrupt(tmp_path: Path, content: bytes) -> None:
    """It is told from a busy or an unreadable one, since only it is put aside."""
    path = tmp_path / "a.spool.sqlite3"
    path.write_bytes(content)
    with pytest.raises(SpoolCorrupt):
        adopt(path)


def test_a_file_whose_maker_died_at_once_is_empty(tmp_path: Path) -> None:
    """Between the creation of a file and its first table there is nothing in it to lose."""
    path = tmp_path / "a.spool.sqlite3"
    path.touch()
    file = adopt(path)
    assert file.extent() == (1, 1, 0)
    file.remove()


def test_an_event_written_within_a_delete_is_durable_at_once(tmp_path: Path) -> None:
    """A signal handler may track while its thread deletes: no transaction is open between two statements."""
    file = SpoolFile.create(tmp_path, "t", 2**20, "normal")
    for row in range(1, 8):
        file.insert(row, b"k", b"v")
    open_between: list[bool] = []
    file._connection.set_trace_callback(lambda _statement: open_between.append(file._connection.in_transaction))
    file.delete([(1, 2), (4, 5), (7, 7)])
    file._connection.set_trace_callback(None)
    assert len(open_between) >= 3
    assert not any(open_between)
    assert [row for row, *_ in file.read_range(1, 10, 10)] == [3, 6]
    assert [row for row, *_ in file.read_range(1, 6, 10)] == [3]
    file.remove()


def test_a_file_has_a_bound_and_room_comes_back(tmp_path: Path) -> None:
    """Log and all, it takes no more than its bytes; after deletes it takes as many rows again."""
    file = create(tmp_path)
    end = fill(file, 1)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= BYTES_MAX
    assert end > BYTES_MAX / 2 / 300
    file.delete([(1, end)])
    again = fill(file, end)
    assert again - end > 0.9 * end
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= BYTES_MAX
    file.remove()


def test_a_full_file_is_free_as_soon_as_it_is_closed(tmp_path: Path) -> None:
    """A write that failed holds nothing back: another process, and this one, can have the file, and no log is left."""
    file = create(tmp_path, bytes_max=2**16)
    end = fill(file, 1)
    file.close()
    assert list(tmp_path.iterdir()) == [file.path]
    print_extent = "file = SpoolFile.adopt(Path(sys.argv[1]), 't', 2**20, 'normal'); print(file.extent()); file.close()"
    other = in_another_process(print_extent, file.path)
    assert other.stdout == f"{(1, end, end - 1)}\n", other.stderr
    again = adopt(file.path)
    assert again.extent() == (1, end, end - 1)
    again.remove()


def test_checkpoints_keep_the_log_short(tmp_path: Path) -> None:
    """The log is moved into the file when it is told to, and all rows stay."""
    file = create(tmp_path, bytes_max=4 * BYTES_MAX)
    row = 1
    while not file.checkpoint_due():
        file.insert(row, b"k", b"v" * 200)
        row += 1
    file.sync_log()
    file.checkpoint()
    assert not file.checkpoint_due()
    assert file.extent() == (1, row, row - 1)
    file.remove()


FORKS = """
import threading, time
from costledger.producers.spool.directory import others
directory, forks = Path(sys.argv[1]), 100
files = [SpoolFile.create(directory, "t", 2**30, "normal") for _ in range(4)]
written = [0] * len(files)
stop = threading.Event()
def work(number):
    file = files[number]
    while not stop.is_set():
        with file.lock:
            written[number] += 1
            file.insert(written[number], b"k", b"v" * 100)
        time.sleep(0.0001)
threads = [threading.Thread(target=work, args=(number,), daemon=True) for number in range(len(files))]
for thread in threads: thread.start()
logs = {path: path.stat().st_ino for path in directory.glob("*-wal")}
assert len(logs) == len(files)
for number in range(forks):
    pid = os.fork()
    if pid == 0:
        for file in files: file.abandon()
        own = SpoolFile.create(directory, "t", 2**20, "normal")
        own.insert(1, b"k", b"v")
        assert own.extent() == (1, 2, 1)
        own.remove()
        assert others(directory) == []
        # Now and then the end of the interpreter, so that whatever it would close is closed.
        sys.exit() if number % 10 == 0 else os._exit(0)
    deadline = time.monotonic() + 10
    while not (ended := os.waitpid(pid, os.WNOHANG))[0]:
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            print("a child is stuck", file=sys.stderr, flush=True)
            os._exit(3)
        time.sleep(0.002)
    assert ended[1] == 0, ended
stop.set()
for thread in threads: thread.join()
assert logs == {path: path.stat().st_ino for path in directory.glob("*-wal")}
print(written, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_forked_children_never_harm_their_parents_files(tmp_path: Path) -> None:
    """Forked in the midst of writing threads: no child is stuck in SQLite's locks or touches what the parent has open.

    The parent is killed at the end: what it wrote, also after the children's end, is there.
    """
    done = in_another_process(FORKS, tmp_path)
    assert done.returncode == -signal.SIGKILL, done.stderr
    paths = others(tmp_path)
    left = sorted(adopt(path).extent()[2] for path in paths)
    assert left == sorted(json.loads(done.stdout))
    assert min(left) > 100


LOCKS = """
import threading, time
from costledger.producers.exits import hold_at_fork
stop = threading.Event()
kept = [threading.RLock() for _ in range(5000)]
for lock in kept: hold_at_fork(lock)
def work():
    while not stop.is_set():
        lock = threading.RLock()
        hold_at_fork(lock)
threads = [threading.Thread(target=work, daemon=True) for _ in range(3)]
for thread in threads: thread.start()
held = threading.RLock()
hold_at_fork(held)
for _ in range(30):
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
stop.set()
"""


def test_a_fork_holds_the_locks_while_other_threads_make_new_ones(tmp_path: Path) -> None:
    """Files are opened and closed in the midst of forks."""
    done = in_another_process(LOCKS, tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


def test_only_the_owner_of_the_account_can_read(tmp_path: Path) -> None:
    """Events name users: the directory that is made has mode 0700, files have 0600."""
    directory = tmp_path / "state" / "spool"
    file = create(directory)
    file.insert(1, b"k", b"v")
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()} == {0o600}
    file.remove()


def test_a_directory_that_cannot_be_made_is_an_error_of_the_spool(tmp_path: Path) -> None:
    """Not one of the file system: callers know one family of errors."""
    (tmp_path / "file").touch()
    with pytest.raises(SpoolUnavailable, match="file/spool"):
        create(tmp_path / "file" / "spool")


def test_the_default_directory_follows_xdg(monkeypatch: pytest.MonkeyPatch) -> None:
    """`$XDG_STATE_HOME` where it is an absolute path, else `~/.local/state`."""
    monkeypatch.setenv("XDG_STATE_HOME", os.sep + "state")
    assert default_directory() == Path(os.sep, "state", "costledger", "spool")
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    monkeypatch.setenv("HOME", os.sep + "somebody")
    assert default_directory() == Path(os.sep, "somebody", ".local", "state", "costledger", "spool")
