"""What can go wrong with a spool file; every error of SQLite and of the file system becomes one of these."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Final

from costledger.schemas.errors import Unavailable

# Primary result codes of SQLite (sqlite.org/rescode.html).
_BUSY_CODES: Final = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
_ACCESS_CODES: Final = frozenset({sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM, sqlite3.SQLITE_READONLY})
_CORRUPT_CODES: Final = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT})


class SpoolUnavailable(Unavailable):
    """A spool file cannot be read or written now: no permission, no directory, a failing disk."""


class SpoolFull(SpoolUnavailable):
    """The disk is full, or the file has reached its bound."""


class SpoolBusy(SpoolUnavailable):
    """Another process, or another tracker of this one, owns the file."""


class SpoolForeign(SpoolUnavailable):
    """The file is for another topic."""


class SpoolCorrupt(SpoolUnavailable):
    """The file is not what this SDK has written."""


def spool_error(error: sqlite3.Error | OSError, path: Path) -> SpoolUnavailable:
    """The error of this file in our terms."""
    explanation = f"the spool {path}: {error}"
    if isinstance(error, OSError):
        return SpoolUnavailable(explanation + _advice(error, path))
    code = getattr(error, "sqlite_errorcode", None)
    primary = code & 0xFF if isinstance(code, int) else None
    if primary == sqlite3.SQLITE_FULL:
        return SpoolFull(explanation)
    if primary in _BUSY_CODES:
        return SpoolBusy(explanation)
    if primary in _CORRUPT_CODES:
        return SpoolCorrupt(explanation)
    if primary in _ACCESS_CODES:
        explanation += _access_advice(path)
    return SpoolUnavailable(explanation)


def _advice(error: OSError, path: Path) -> str:
    if isinstance(error, PermissionError):
        return _access_advice(path)
    if isinstance(error, FileExistsError | NotADirectoryError):
        return "; it, or what it is to be in, is a file: COSTLEDGER_SPOOL_DIR has to name a directory, or nothing yet"
    return ""


def _access_advice(path: Path) -> str:
    """SQLite does not say what it may not open: the file, its log, or the directory where the log is to be made."""
    return (
        f"; if it is for want of permission: {path} and what is beside it must be readable and writable for the user "
        f"{os.geteuid()}, who runs this process; COSTLEDGER_SPOOL_DIR can name a directory of their own"
    )
