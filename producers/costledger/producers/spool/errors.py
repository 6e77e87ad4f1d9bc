"""What can go wrong with a spool file; every error of SQLite and of the file system becomes one of these."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final

from costledger.schemas.errors import Unavailable

# Primary result codes of SQLite (sqlite.org/rescode.html).
_BUSY_CODES: Final = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})
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
        return SpoolUnavailable(explanation)
    code = getattr(error, "sqlite_errorcode", None)
    primary = code & 0xFF if isinstance(code, int) else None
    if primary == sqlite3.SQLITE_FULL:
        return SpoolFull(explanation)
    if primary in _BUSY_CODES:
        return SpoolBusy(explanation)
    if primary in _CORRUPT_CODES:
        return SpoolCorrupt(explanation)
    return SpoolUnavailable(explanation)
