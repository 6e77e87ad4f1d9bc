"""The directory of spool files: where it is, what its files are called, which of them may be tried."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path
from typing import Final
from uuid import uuid4

#: Owner only: events name users.
_DIRECTORY_MODE: Final = 0o700
_SUFFIX: Final = ".spool.sqlite3"
WAL_SUFFIX: Final = "-wal"
#: Of a file that is worked off: it and its log are only to be deleted, by whoever finds them.
_DONE_SUFFIX: Final = ".done"

#: Files of this process, and those that its ancestors had at a fork: never to be opened a second time here. SQLite
#: holds its locks per process, and a child's copy of its table of locks says for ever that the parent's are taken.
_owned: set[Path] = set()


def default_directory() -> Path:
    """`$XDG_STATE_HOME/costledger/spool`, or `~/.local/state/costledger/spool` (XDG Base Directory specification)."""
    state = os.environ.get("XDG_STATE_HOME", "")
    base = Path(state) if Path(state).is_absolute() else Path.home() / ".local" / "state"
    return base / "costledger" / "spool"


def make_directory(directory: Path) -> None:
    """Create it where it is missing, for its owner alone. `OSError` where that cannot be done."""
    directory.mkdir(mode=_DIRECTORY_MODE, parents=True, exist_ok=True)


def new_path(directory: Path) -> Path:
    """A name that no other file has or had."""
    return directory / f"{time.time_ns() // 1_000_000:x}-{os.getpid()}-{uuid4().hex}{_SUFFIX}"


def is_there(path: Path) -> bool:
    """False where a file is gone for certain; one that cannot be asked about, on a failing disk or behind a right, is not."""
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        pass
    return True


def claim(path: Path) -> bool:
    """Note that this process works with a file; False where it, or an ancestor, does so already."""
    if path in _owned:
        return False
    _owned.add(path)
    return True


def disclaim(path: Path) -> None:
    """This process has nothing open of the file any more."""
    _owned.discard(path)


def others(directory: Path) -> list[Path]:
    """Spool files that this process does not work with, oldest first. `OSError` where the directory cannot be read."""
    try:
        names = sorted(entry.name for entry in os.scandir(directory) if entry.name.endswith(_SUFFIX))
    except FileNotFoundError:
        return []
    return [path for path in (directory / name for name in names) if path not in _owned]


def mark_done(path: Path) -> None:
    """Rename a file that is worked off, so that nobody takes it for one that was left. `OSError` if it fails."""
    path.rename(path.with_name(path.name + _DONE_SUFFIX))


def delete_done(path: Path) -> None:
    """Delete such a file, by its first name, and its log before it: a kill in between leaves what leads to the log."""
    path.with_name(path.name + WAL_SUFFIX).unlink(missing_ok=True)
    path.with_name(path.name + _DONE_SUFFIX).unlink(missing_ok=True)


def sweep(directory: Path) -> None:
    """Delete what processes that were killed while they deleted it have left. `OSError` where that cannot be done."""
    try:
        names = [entry.name for entry in os.scandir(directory) if entry.name.endswith(_SUFFIX + _DONE_SUFFIX)]
    except FileNotFoundError:
        return
    for name in names:
        delete_done(directory / name.removesuffix(_DONE_SUFFIX))


def aside_path(path: Path) -> Path:
    """The name of a corrupt file, or of its copy; its log is beside it under the same name and the log's suffix."""
    return path.with_name(f"{path.name}.corrupt-{time.time_ns()}")


def put_aside(path: Path) -> Path:
    """Rename a file, and the log beside it, so that nothing tries it again; the new name. `OSError` if it fails."""
    aside = aside_path(path)
    path.rename(aside)
    with suppress(FileNotFoundError):
        path.with_name(path.name + WAL_SUFFIX).rename(aside.with_name(aside.name + WAL_SUFFIX))
    return aside
