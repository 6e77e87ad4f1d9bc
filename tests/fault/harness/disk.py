"""A small disk of its own, which a scenario fills and gives room again."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_BLOCK = b"\0" * 4096


class SmallDisk:
    """A file system of a few MiB in memory, at a place that every account can reach."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._ballast = path / "ballast"

    def fill(self) -> None:
        """Take all the room that is left."""
        descriptor = os.open(self._ballast, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        with suppress(OSError):
            while True:
                os.write(descriptor, _BLOCK)
        os.close(descriptor)

    def clear(self) -> None:
        """Give the room back."""
        self._ballast.unlink(missing_ok=True)


class NoDisk(Exception):
    """A file system cannot be mounted here; the message has the reason."""


@contextmanager
def small_disk(size_mib: int) -> Iterator[SmallDisk]:
    """Mount one; `NoDisk` where that is not allowed."""
    path = Path(tempfile.mkdtemp(prefix="costledger-disk-"))
    command = ["mount", "-t", "tmpfs", "-o", f"size={size_mib}m,mode=755", "tmpfs", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        path.rmdir()
        raise NoDisk(done.stderr.strip())
    path.chmod(0o755)
    try:
        yield SmallDisk(path)
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)
        path.rmdir()
