"""One spool file: a SQLite database in WAL mode that one process owns.

`locking_mode=EXCLUSIVE` from the first access on: no shared memory, no lock calls per transaction, and the operating
system's lock, which dies with the process, says who owns the file (sqlite.org/wal.html, "Use of WAL Without
Shared-Memory"). Every statement is a transaction of its own; a written event is in the page cache of the operating
system when `insert` returns, and on the disk itself with `synchronous=full`.
"""

from __future__ import annotations

import ctypes
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import RLock
from typing import Final, Literal, Self
from urllib.parse import quote

from costledger.producers.exits import hold_at_fork
from costledger.producers.spool.directory import (
    WAL_SUFFIX,
    claim,
    delete_done,
    disclaim,
    is_there,
    make_directory,
    mark_done,
    new_path,
    put_aside,
)
from costledger.producers.spool.errors import SpoolBusy, SpoolCorrupt, SpoolForeign, SpoolUnavailable, spool_error
from costledger.producers.spool.examination import Examined, examine
from costledger.schemas.fail_points import reach

Synchronous = Literal["normal", "full"]
Row = tuple[int, bytes, bytes]

_FORMAT: Final = 1
#: Small pages: each event writes at least one whole page to the log. Measured with events of 170 bytes: 1024 costs the
#: least CPU, and writes two fifths of the bytes of 4096.
_PAGE_BYTES: Final = 1024
#: What the log may take of the file's bound. Half of it is moved into the file at a time: with less, pages that are
#: written again and again are moved more often.
_WAL_BYTES_MAX: Final = 32 * 2**20
_WAL_SHARE: Final = 4
#: Frames that one event adds to the log, about: its page, and now and then the pages above it.
_FRAMES_PER_EVENT: Final = 2
_CACHE_KIBIBYTES: Final = 2048
_NEW_FILE_ATTEMPTS_MAX: Final = 5

_CREATE: Final = (
    "CREATE TABLE about (format INTEGER NOT NULL, topic TEXT NOT NULL)",
    "CREATE TABLE events (id INTEGER PRIMARY KEY, key BLOB NOT NULL, value BLOB NOT NULL)",
)
_INSERT: Final = "INSERT INTO events VALUES (?, ?, ?)"
_DELETE: Final = "DELETE FROM events WHERE id BETWEEN ? AND ?"
_READ_RANGE: Final = "SELECT id, key, value FROM events WHERE id >= ? AND id < ? ORDER BY id LIMIT ?"
_READ_ONE: Final = "SELECT id, key, value FROM events WHERE id = ?"

#: Held while SQLite opens or closes something, so that no fork happens within.
_opening = RLock()
hold_at_fork(_opening, rank=1)


def _open_afresh() -> None:
    """In a forked child: nobody is opening anything, even if the fork could not wait for a thread that was."""
    global _opening  # noqa: PLW0603 - one lock for the process
    _opening = RLock()
    hold_at_fork(_opening, rank=1)


os.register_at_fork(after_in_child=_open_afresh)


class SpoolFile:
    """An open file that this process owns. All methods raise `SpoolUnavailable` or one of its kinds.

    `lock` is to be held around everything but `remove_leftovers`.
    """

    def __init__(
        self,
        path: Path,
        topic: str,
        bytes_max: int,
        synchronous: Synchronous,
        *,
        new: bool,
        on_damage: Callable[[str], None] | None = None,
    ) -> None:
        self.path = path
        self.lock = RLock()
        hold_at_fork(self.lock)
        self._wal_path = path.with_name(path.name + WAL_SUFFIX)
        self._wal_bytes_max = min(_WAL_BYTES_MAX, bytes_max // _WAL_SHARE)
        self._wal_bytes = 0
        with _opening:
            if not claim(path):
                raise SpoolBusy(f"the spool {path} is in use by this process")
        try:
            # Without the lock: a long log takes its time, and who makes a new file meanwhile must not wait for it.
            examined = Examined(None, without_log=True) if new else examine(path)
            if examined.damage is not None and on_damage is not None:
                on_damage(f"the spool {path} is damaged: {examined.damage}; what can be read of it is sent")
            with _opening, _translated(path):
                written = self._connect(bytes_max, synchronous, topic, new)
        except BaseException:
            with _opening:
                disclaim(path)
            raise
        #: Its log was damaged when the file was found; a copy of both was put aside, and `on_damage` told.
        self.damaged = examined.damage is not None
        #: The file has its tables, and has no log: only who has closed it leaves it so, and none closes an empty one.
        self.without_log = examined.without_log and written

    @classmethod
    def create(cls, directory: Path, topic: str, bytes_max: int, synchronous: Synchronous) -> Self:
        """A new file under a new name, in a directory that is made where it is missing."""
        for _ in range(_NEW_FILE_ATTEMPTS_MAX):
            path = new_path(directory)
            try:
                make_directory(directory)
                os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            except OSError as error:
                raise spool_error(error, directory) from error
            reach("spool.before_create")
            try:
                file = cls(path, topic, bytes_max, synchronous, new=True)
            except SpoolUnavailable as error:
                # Somebody who looks for files that others have left has this one, or has removed it as an empty one.
                if isinstance(error, SpoolBusy) or not path.exists():
                    continue
                path.unlink(missing_ok=True)
                raise
            if path.exists():
                reach("spool.after_create")
                return file
            # It was taken for one that somebody left, and removed, before it was ours.
            file.close()
        raise SpoolUnavailable(f"{_NEW_FILE_ATTEMPTS_MAX} new files in {directory} were taken by others")

    @classmethod
    def adopt(
        cls,
        path: Path,
        topic: str,
        bytes_max: int,
        synchronous: Synchronous,
        on_damage: Callable[[str], None] | None = None,
    ) -> Self:
        """A file that another process has left; `SpoolBusy` where it is in use, `SpoolForeign` for another topic's.

        `on_damage` is told where its log holds more than SQLite can read, whatever comes of the file then.
        """
        return cls(path, topic, bytes_max, synchronous, new=False, on_damage=on_damage)

    def insert(self, row: int, key: bytes, value: bytes) -> None:
        """Write an event; it outlives this process when this returns. `SpoolFull` where there is no room."""
        try:
            self._execute(_INSERT, (row, key, value))
        except sqlite3.Error as error:
            raise spool_error(error, self.path) from error
        self._wal_bytes += len(value) + _FRAMES_PER_EVENT * _PAGE_BYTES

    def extent(self) -> tuple[int, int, int]:
        """The first id, the id after the last, and the number of rows."""
        with _translated(self.path):
            first, last, rows = self._read("SELECT min(id), max(id), count(*) FROM events").fetchone()
        return (first, last + 1, rows) if rows else (1, 1, 0)

    def read_range(self, first: int, end: int, rows_max: int) -> list[Row]:
        """The first rows of [first, end), in order."""
        with _translated(self.path):
            return self._read(_READ_RANGE, (first, end, rows_max)).fetchall()

    def read(self, rows: Sequence[int]) -> list[Row]:
        """These rows; `SpoolCorrupt` where one is missing."""
        with _translated(self.path):
            found = [row for wanted in rows for row in self._read(_READ_ONE, (wanted,)).fetchall()]
        if len(found) != len(rows):
            raise SpoolCorrupt(f"the spool {self.path} has lost {len(rows) - len(found)} rows")
        return found

    def delete(self, ranges: Sequence[tuple[int, int]]) -> None:
        """Delete ranges of ids, both ends included; after an error some of them may be gone, and all may be tried again.

        Each is a transaction of its own: within one of several statements a signal handler could write an event that
        would be durable only when the handler has long said so.
        """
        reach("spool.before_delete")
        with _translated(self.path):
            self._connection.executemany(_DELETE, ranges)
        self._wal_bytes += len(ranges) * _FRAMES_PER_EVENT * _PAGE_BYTES

    def checkpoint_due(self) -> bool:
        """Whether the log has become long."""
        return self._wal_bytes >= self._wal_bytes_max // 2

    def sync_log(self) -> None:
        """Have the log written to the disk, without the lock: so that `checkpoint`, which waits for that, is short."""
        with suppress(OSError):
            descriptor = os.open(self._wal_path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)

    def checkpoint(self) -> None:
        """Move the log into the database, so that the log begins anew."""
        with _translated(self.path):
            self._read("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        self._wal_bytes = 0

    def forget_damage(self) -> None:
        """Empty the log, of which a copy was made: the next one to find the file shall not find the damage again."""
        with _translated(self.path):
            self._execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def in_place(self) -> bool:
        """Whether the file is still where it was made."""
        return is_there(self.path)

    def close(self) -> None:
        """Let the file go: whoever finds it may adopt it. Idempotent."""
        with _opening:
            self._disconnect()
            disclaim(self.path)

    def remove(self) -> None:
        """Delete the file and let it go. Renamed first: nobody can adopt it in between."""
        try:
            mark_done(self.path)
        except OSError:
            # Gone already; or the disk is full, and has no room for another name.
            with suppress(OSError):
                self.path.unlink(missing_ok=True)
        reach("spool.removing")
        self.close()
        with suppress(OSError):
            delete_done(self.path)

    def put_aside(self) -> Path:
        """Rename the file, so that nobody tries it again, and let it go; its new name."""
        with _translated(self.path):
            aside = put_aside(self.path)
        self.close()
        return aside

    def abandon(self) -> None:
        """In a forked child: never touch, close or free the parent's connection. Closing it would write to the file."""
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._connection))
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._cursor))

    def _connect(self, bytes_max: int, synchronous: Synchronous, topic: str, new: bool) -> bool:
        """Whether the tables were there already."""
        # rw: never create what somebody else has just removed. No waiting: who has the file keeps it.
        self._connection = sqlite3.connect(
            f"file:{quote(str(self.path))}?mode=rw", uri=True, timeout=0, isolation_level=None, check_same_thread=False
        )
        self._cursor = self._connection.cursor()
        self._execute = self._cursor.execute
        # A cursor for each: a signal handler that tracks must not take away what its thread is about to fetch.
        self._read = self._connection.execute
        try:
            if new:
                self._execute(f"PRAGMA page_size={_PAGE_BYTES}")
            self._execute("PRAGMA locking_mode=EXCLUSIVE")
            (mode,) = self._execute("PRAGMA journal_mode=WAL").fetchone()
            if mode != "wal":
                raise SpoolUnavailable(f"the spool {self.path} cannot have a write-ahead log there, only {mode!r}")
            self._execute(f"PRAGMA synchronous={synchronous}")
            # Some distributions have SQLite overwrite what is deleted, and log that.
            self._execute("PRAGMA secure_delete=OFF")
            self._execute(f"PRAGMA cache_size=-{_CACHE_KIBIBYTES}")
            # Checkpoints are the serving thread's work; this is for when it does not come to it.
            self._execute(f"PRAGMA wal_autocheckpoint={self._wal_bytes_max * 3 // 4 // _PAGE_BYTES}")
            self._execute(f"PRAGMA journal_size_limit={self._wal_bytes_max}")
            self._execute(f"PRAGMA max_page_count={(bytes_max - self._wal_bytes_max) // _PAGE_BYTES}")
            if new or not (tables := self._tables()):
                # Not new: its maker died before it had written anything, since the tables come before the first event.
                self._create_tables(topic)
                return False
            self._check(tables, topic)
        except BaseException:
            self._disconnect()
            raise
        return True

    def _disconnect(self) -> None:
        # A statement that has failed stays with its cursor, and SQLite keeps its locks as long as there is one.
        for opened in (self._cursor, self._connection):
            with suppress(sqlite3.Error):
                opened.close()

    def _create_tables(self, topic: str) -> None:
        """In the file itself, not in its log alone: a file without tables has never had an event, log or no log."""
        self._execute("BEGIN EXCLUSIVE")
        for statement in _CREATE:
            self._execute(statement)
        self._execute("INSERT INTO about VALUES (?, ?)", (_FORMAT, topic))
        self._execute("COMMIT")
        # Passive: the log keeps its frames, so that an empty log is never that of a process that was killed.
        self._execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    def _tables(self) -> set[str]:
        return {name for (name,) in self._execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()}

    def _check(self, tables: set[str], topic: str) -> None:
        if "about" not in tables or "events" not in tables:
            raise SpoolCorrupt(f"the spool {self.path} has the tables {sorted(tables)}")
        about = self._execute("SELECT format, topic FROM about").fetchall()
        if about != [(_FORMAT, topic)]:
            wanted = (_FORMAT, topic)
            raise SpoolForeign(f"the spool {self.path} is of (format, topic) {about}; this tracker's are {wanted}")


@contextmanager
def _translated(path: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        raise spool_error(error, path) from error
