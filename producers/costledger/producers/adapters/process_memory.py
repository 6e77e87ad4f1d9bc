"""The memory of this process, and how pieces of work that go on at the same time share it."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from threading import RLock
from typing import Final

from costledger.schemas.errors import InvalidValue

_STATM: Final = Path("/proc/self/statm")
#: getrusage counts kibibytes, but on macOS bytes.
_BYTES_PER_MAXRSS: Final = 1 if sys.platform == "darwin" else 1024


class SharedMemory:
    """The memory of the process, shared equally at every moment by the pieces of work that are going on.

    Keeps the integral of (resident size / pieces of work) over time: what a piece is charged is the
    difference between its end and its beginning, however many others came and went in between.
    """

    def __init__(
        self,
        resident_bytes: Callable[[], int],
        clock_ns: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._resident_bytes = resident_bytes
        self._clock_ns = clock_ns
        self._lock = RLock()
        self._working = 0
        self._integral_byte_ns = 0
        self._at_ns = 0
        self._bytes = 0

    def join(self) -> int:
        """A piece of work begins; returns its mark."""
        with self._lock:
            self._advance()
            self._working += 1
            return self._integral_byte_ns

    def leave(self, mark: int) -> int:
        """It ends; returns its share in bytes x nanoseconds."""
        with self._lock:
            self._advance()
            self._working = max(0, self._working - 1)
            return self._integral_byte_ns - mark

    def _advance(self) -> None:
        now_ns, resident = self._clock_ns(), self._resident_bytes()
        if self._working:
            # The mean of the resident size at both ends of the stretch.
            area = (self._bytes + resident) * max(0, now_ns - self._at_ns)
            self._integral_byte_ns += area // (2 * self._working)
        self._at_ns, self._bytes = now_ns, resident


def resident_bytes() -> int:
    """The resident size of this process; where the system has no /proc, its largest so far."""
    try:
        return int(_STATM.read_bytes().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError, ValueError):
        return _largest_resident_bytes()


def _largest_resident_bytes() -> int:
    try:
        import resource
    except ImportError:  # Windows
        raise InvalidValue("platform", sys.platform, "one that tells the resident size of a process") from None
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * _BYTES_PER_MAXRSS


class ProcessMemory:
    """The shared memory of the process that asks: a forked child has its own, and none of its parent's work."""

    def __init__(self) -> None:
        self.start_afresh()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self.start_afresh)

    def start_afresh(self) -> None:
        """Begin with no work going on."""
        self._shared = SharedMemory(resident_bytes)

    def join(self) -> int:
        """As `SharedMemory.join`."""
        return self._shared.join()

    def leave(self, mark: int) -> int:
        """As `SharedMemory.leave`."""
        return self._shared.leave(mark)


MEMORY: Final = ProcessMemory()
