"""What happens to trackers when their process forks, ends or is told to end.

- Fork: locks and threads do not survive it, so each tracker starts afresh in the child: new producer, counts
  from zero. What the parent had queued stays the parent's.
- Fork again: what must not be in use at that moment (SQLite, whose own locks a child would inherit) is held by
  locks which the forking thread takes first, and lets go in both processes.
- End of the interpreter (`atexit`) and of a `multiprocessing` worker: trackers are closed, each within its
  flush timeout; one that cannot be closed is logged, and the others are closed all the same. Before them what
  speaks through a tracker, after them what listens to one.
- SIGTERM: a host with a handler of its own is left alone; its way of ending leads to `atexit`. Where nobody
  handles SIGTERM, Python would die at once and lose what is queued: then, and only then, a handler is
  installed that closes the trackers and dies of SIGTERM all the same. A handler that the host installs later
  replaces it.
"""

from __future__ import annotations

import atexit
import logging
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

logger = logging.getLogger(__name__)

_open: WeakSet[Closable] = WeakSet()
#: Those among them that still have something to tell through a tracker, and so are closed before any.
_first: WeakSet[Closable] = WeakSet()
#: Those that are to hear what a tracker has to tell while it closes, and so are closed after all.
_last: WeakSet[Closable] = WeakSet()
#: Of this module's own sets. Reentrant: a signal handler may close what its own thread is about to open.
_watching: Final = threading.RLock()
_held_at_fork: WeakKeyDictionary[Lock, int] = WeakKeyDictionary()
#: Of that dictionary; held over a fork, too.
_registry = threading.RLock()
#: The locks that a forking thread has taken: each thread lets go its own.
_taken = threading.local()
_finalized_in: set[int] = set()


def watch(tracker: Closable, *, first: bool = False, last: bool = False) -> None:
    """Look after a tracker until it is closed or gone. The first one in a main thread may install the SIGTERM handler.

    `first`: to be closed before the others, since it speaks through one of them. `last`: after them, since it
    listens to one.
    """
    with _watching:
        _open.add(tracker)
        if first:
            _first.add(tracker)
        if last:
            _last.add(tracker)
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _close_and_die)


def forget(tracker: Closable) -> None:
    """The tracker is closed."""
    with _watching:
        for group in (_open, _first, _last):
            group.discard(tracker)


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
    """Close every open tracker of this process, each once; what one of them raises is logged."""
    with _watching:
        others = [tracker for tracker in _open if tracker not in _first and tracker not in _last]
        in_order = [*_first, *others, *_last]
    for tracker in in_order:
        try:
            tracker.close()
        except Exception:
            # The others have something to lose too, and a process that was told to end must end.
            logger.exception("%s could not be closed", type(tracker).__name__)


def _close_and_die(signal_number: int, _frame: FrameType | None) -> None:
    try:
        close_all()
    finally:
        signal.signal(signal_number, signal.SIG_DFL)
        os.kill(os.getpid(), signal_number)


def _start_all_afresh() -> None:
    for tracker in list(_open):
        try:
            tracker.start_afresh()
        except Exception:
            # The others must not go on with what is the parent's.
            logger.exception("%s could not start afresh in the forked process", type(tracker).__name__)


def _take_locks() -> None:
    # Held over the fork: no lock is registered, and used, that is not taken here.
    _registry.acquire()
    by_rank = sorted(_held_at_fork.items(), key=itemgetter(1))
    _taken.locks = [lock for lock, _ in by_rank if lock.acquire(timeout=_FORK_WAIT_SECONDS_MAX)]
    # The last one, and briefly: nobody who has it waits for another.
    _watching.acquire()
    _taken.locks.append(_watching)


def _release_locks() -> None:
    for lock in _taken.locks:
        lock.release()
    _taken.locks = []
    _registry.release()


atexit.register(close_all)
os.register_at_fork(before=_take_locks, after_in_parent=_release_locks, after_in_child=_release_locks)
os.register_at_fork(after_in_child=_start_all_afresh)
