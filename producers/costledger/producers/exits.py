"""What happens to trackers when their process forks, ends or is told to end.

- Fork: locks and threads do not survive it, so each tracker starts afresh in the child: new producer, counts
  from zero. What the parent had queued stays the parent's.
- Fork again: what must not be in use at that moment (SQLite, whose own locks a child would inherit) is held by
  locks which the forking thread takes first, and lets go in both processes.
- End of the interpreter (`atexit`) and of a `multiprocessing` worker: trackers are closed, each within its
  flush timeout.
- SIGTERM: a host with a handler of its own is left alone; its way of ending leads to `atexit`. Where nobody
  handles SIGTERM, Python would die at once and lose what is queued: then, and only then, a handler is
  installed that closes the trackers and dies of SIGTERM all the same. A handler that the host installs later
  replaces it.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import signal
import threading
from multiprocessing.util import Finalize
from operator import itemgetter
from types import FrameType
from typing import Final, Protocol
from weakref import WeakKeyDictionary, WeakSet


class Closable(Protocol):
    """What this module does to a tracker."""

    def close(self) -> None:
        """Flush within the tracker's own timeout, and end."""
        ...

    def start_afresh(self) -> None:
        """Forget everything that belongs to the parent process."""
        ...


class Lock(Protocol):
    """A reentrant lock."""

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Take it; False where that was not possible in time."""
        ...

    def release(self) -> None:
        """Let it go; `RuntimeError` where this thread does not have it."""
        ...


#: A fork waits no longer than this for one of the locks.
_FORK_WAIT_SECONDS_MAX: Final = 2.0

_open: WeakSet[Closable] = WeakSet()
_held_at_fork: WeakKeyDictionary[Lock, int] = WeakKeyDictionary()
#: Of that dictionary; held over a fork, too.
_registry = threading.RLock()
#: The locks that a forking thread has taken: each thread lets go its own.
_taken = threading.local()
_finalized_in: set[int] = set()


def watch(tracker: Closable) -> None:
    """Look after a tracker until it is closed or gone. The first one in a main thread may install the SIGTERM handler."""
    _open.add(tracker)
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _close_and_die)


def forget(tracker: Closable) -> None:
    """The tracker is closed."""
    _open.discard(tracker)


def watch_process() -> None:
    """To be called when a tracker begins to send in this process: `multiprocessing` workers end without `atexit`."""
    if multiprocessing.parent_process() is not None and os.getpid() not in _finalized_in:
        _finalized_in.add(os.getpid())
        Finalize(None, close_all, exitpriority=10)


def hold_at_fork(lock: Lock, rank: int = 0) -> None:
    """No fork while another thread has this lock. It is forgotten when nobody else refers to it.

    Locks are taken by ascending rank: who has one of a higher rank must not wait for one of a lower.
    """
    with _registry:
        _held_at_fork[lock] = rank


def close_all() -> None:
    """Close every open tracker of this process."""
    for tracker in list(_open):
        tracker.close()


def _close_and_die(signal_number: int, _frame: FrameType | None) -> None:
    close_all()
    signal.signal(signal_number, signal.SIG_DFL)
    os.kill(os.getpid(), signal_number)


def _start_all_afresh() -> None:
    for tracker in list(_open):
        tracker.start_afresh()


def _take_locks() -> None:
    _registry.acquire()
    by_rank = sorted(_held_at_fork.items(), key=itemgetter(1))
    _taken.locks = [lock for lock, _ in by_rank if lock.acquire(timeout=_FORK_WAIT_SECONDS_MAX)]


def _release_locks() -> None:
    for lock in _taken.locks:
        lock.release()
    _taken.locks = []
    _registry.release()


atexit.register(close_all)
os.register_at_fork(before=_take_locks, after_in_parent=_release_locks, after_in_child=_release_locks)
os.register_at_fork(after_in_child=_start_all_afresh)
