"""Memory: what is in use, and what a burst has left behind and goes back to the system.

A catch-up or a takeover needs for a moment many times what a worker holds at other times. The C library keeps what was
freed for the next burst, and the next one, which does not quite fit, takes more: without this the resident memory of
a worker climbs by a step with each of them.

Python's own allocator gives a mebibyte back when nothing in it is in use any more. Whatever a burst makes that stays,
such as a new connection, keeps one of those of the burst, so that resident memory still goes up and down by steps,
between what is in use and the most that a burst has taken. Whether there is a leak is seen by what is in use.

And there is what nobody can reach any more, but refers to itself: an exception whose frames hold it, a connection that was
closed. Only Python's collector frees that, and sink and stream have it come seldom (`collect_seldom`).
"""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Callable
from typing import Final


def _trimmer() -> Callable[[int], int] | None:
    """glibc's `malloc_trim`; other C libraries have none, and need none that is known."""
    try:
        found = ctypes.CDLL(None).malloc_trim
    except (AttributeError, OSError, TypeError):
        return None
    found.argtypes, found.restype = (ctypes.c_size_t,), ctypes.c_int
    return found


#: Its fields, in their order.
_COUNTED: Final = (
    "arena",
    "ordblks",
    "smblks",
    "hblks",
    "hblkhd",
    "usmblks",
    "fsmblks",
    "uordblks",
    "fordblks",
    "keepcost",
)


class _Mallinfo2(ctypes.Structure):
    """glibc's, summed over all its arenas; sizes in bytes."""

    _fields_ = [(name, ctypes.c_size_t) for name in _COUNTED]


def _counter() -> Callable[[], _Mallinfo2] | None:
    """glibc's `mallinfo2`, since 2.33."""
    try:
        found = ctypes.CDLL(None).mallinfo2
    except (AttributeError, OSError, TypeError):
        return None
    found.argtypes, found.restype = (), _Mallinfo2
    return found


#: New objects before the young ones are walked, such walks before the older ones are, and of those before all are.
_THRESHOLDS: Final = (100_000, 50, 1_000)
#: A process that has said `collect_seldom` calls `collect` about as often. Measured in a stream worker of 12 partitions and
#: a sink under load: 0.06 to 0.2 s each, most of it for what `collect_seldom` now leaves out.
COLLECT_SECONDS: Final = 60.0

_TRIM: Final = _trimmer()
_COUNT: Final = _counter()


def give_back() -> None:
    """Return whole free pages to the system, where the C library can.

    Took 0.2 to 18 ms in stream workers of 100 to 250 MiB. Other threads go on, but for those that ask the C library for memory.
    """
    if _TRIM is not None:
        _TRIM(0)


def collect_seldom() -> None:
    """Have the process's collector hardly ever come by itself, and then pass over what is there now.

    For a process of which most is state that lives for weeks, or batches of tens of thousands of objects that die together: at
    every 700 new objects, as Python has it, they would be walked again and again. What must be freed `collect` frees.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_THRESHOLDS)


def collect() -> None:
    """Free what nobody can reach and only the collector finds. The whole process waits meanwhile.

    A stop of PostgreSQL left 800 to 3,000 such objects in a sink.
    """
    gc.collect()


def python_blocks() -> int:
    """Blocks in use of Python's own allocator: one for each small object, and for what belongs to one."""
    return sys.getallocatedblocks()


def c_bytes() -> int | None:
    """Bytes in use of the C library's allocator, which has everything else; None where it does not say."""
    if _COUNT is None:
        return None
    counted = _COUNT()
    return int(counted.uordblks) + int(counted.hblkhd)
