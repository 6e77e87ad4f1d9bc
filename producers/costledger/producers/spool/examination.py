"""A look at a file that another process has left, before SQLite gets to it: SQLite mends, silently, by forgetting."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from costledger.producers.spool.directory import WAL_SUFFIX, aside_path
from costledger.producers.spool.errors import SpoolBusy, SpoolUnavailable, spool_error
from costledger.producers.spool.wal import log_damage

# The bytes of the database file by whose locks SQLite's processes know of each other (sqlite.org/fileformat2.html,
# "The Lock-Byte Page"): an owner has them all for writing.
_SHARED_FIRST: Final = 0x4000_0002
_SHARED_BYTES: Final = 510
_COPY_BYTES: Final = 2**20


@dataclass(frozen=True, slots=True)
class Examined:
    """`damage`: what is wrong with the log, and where the pair was copied to; `without_log`: there was nothing in it."""

    damage: str | None
    without_log: bool


def examine(path: Path) -> Examined:
    """Judge a file that is not open in this process; a damaged one is copied first, log and all.

    `SpoolBusy` where another process has it. Never to be called for a file that this process has open: closing any
    descriptor of it lets all locks of the process go.
    """
    try:
        with path.open("r+b", buffering=0) as database:
            _lock(database, path)
            return _judged(database, path)
    except FileNotFoundError as error:
        raise SpoolBusy(f"the spool {path} was worked off by somebody else just now") from error
    except OSError as error:
        raise spool_error(error, path) from error


def _lock(database: BinaryIO, path: Path) -> None:
    """Until the descriptor is closed. The owner has it, if there is one."""
    try:
        fcntl.lockf(database, fcntl.LOCK_EX | fcntl.LOCK_NB, _SHARED_BYTES, _SHARED_FIRST)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN):
            raise SpoolBusy(f"the spool {path} is in use by another process") from error
        raise


def _judged(database: BinaryIO, path: Path) -> Examined:
    try:
        log = path.with_name(path.name + WAL_SUFFIX).open("rb")
    except FileNotFoundError:
        return Examined(None, without_log=True)
    with log:
        log_bytes = os.fstat(log.fileno()).st_size
        if log_bytes and not os.fstat(database.fileno()).st_size:
            # SQLite would delete the log: without a database it belongs to nothing.
            damage: str | None = "it is empty beside its log"
        else:
            damage = log_damage(log)
        if damage is not None:
            damage = f"{damage}; a copy was put aside as {_copy_aside(database, log, path, damage)}"
    return Examined(damage, without_log=not log_bytes)


def _copy_aside(database: BinaryIO, log: BinaryIO, path: Path, damage: str) -> Path:
    """Both files as they are, under the names of corrupt ones, which nothing reads."""
    aside = aside_path(path)
    made: list[Path] = []
    try:
        for source, copy in ((database, aside), (log, aside.with_name(aside.name + WAL_SUFFIX))):
            source.seek(0)
            descriptor = os.open(copy, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
            made.append(copy)
            with os.fdopen(descriptor, "wb") as target:
                shutil.copyfileobj(source, target, _COPY_BYTES)
    except OSError as error:
        for copy in made:
            with suppress(OSError):
                copy.unlink()
        raise SpoolUnavailable(f"the spool {path} is damaged ({damage}) and cannot be copied: {error}") from error
    return aside
