"""Where an export goes: a file that appears complete or not at all, or a stream. Both count and hash what passes."""

from __future__ import annotations

import errno
import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from costledger.schemas.errors import InvalidValue


class Destination:
    """Takes bytes in order; `bytes` and `sha256` are of all that was taken."""

    def __init__(self, target: BinaryIO) -> None:
        self._target = target
        self._hash = hashlib.sha256()
        self.bytes = 0
        self.closed = False

    def write(self, data: bytes) -> int:
        """Write all of it; errors of the target come as `OSError`."""
        self._target.write(data)
        self._hash.update(data)
        self.bytes += len(data)
        return len(data)

    def flush(self) -> None:
        """Hand everything to the operating system."""
        self._target.flush()

    @property
    def sha256(self) -> str:
        """Of what was written so far, in hexadecimal digits."""
        return self._hash.hexdigest()


@contextmanager
def file_output(path: Path) -> Iterator[Destination]:
    """A file that is at `path` only once all of it is on disk; an earlier one is replaced in that moment.

    Until then it has a name of its own beside it, which is removed however this ends, short of SIGKILL. It gets the
    rights of an ordinary new file. `OSError` at once where the directory is absent or cannot be written to.
    """
    if path.is_dir():
        raise InvalidValue("output", str(path), "a file, not a directory")
    # Through a link, so that the link stays; a device or pipe cannot be replaced by a file.
    path = path.resolve()
    if path.exists() and not path.is_file():
        raise InvalidValue("output", str(path), "an ordinary file, or - for stdout")
    if not path.parent.is_dir():  # else the error would name the temporary file
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path.parent))
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(descriptor, 0o666 & ~_umask())
            destination = Destination(file)
            yield destination
            file.flush()
            os.fsync(descriptor)
        os.replace(name, path)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(name)
        raise
    _sync_directory(path.parent)


@contextmanager
def stream_output(stream: BinaryIO) -> Iterator[Destination]:
    """A stream such as stdout, flushed at the end. What was written stays written when the export fails."""
    destination = Destination(stream)
    yield destination
    destination.flush()


def _umask() -> int:
    # Can only be read by setting it.
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
