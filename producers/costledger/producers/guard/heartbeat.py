"""The thread that keeps Redis informed: one in each process, begun when there is something to tell."""

from __future__ import annotations

import logging
import threading
import time
import weakref
from queue import Empty, SimpleQueue
from typing import Final, Protocol

from costledger.producers.exits import watch_process

_LOGGER: Final = logging.getLogger("costledger.producers")
#: What comes within this time is told in one go.
_GATHER_SECONDS: Final = 0.02
_JOIN_SECONDS_MAX: Final = 5.0


class Beating(Protocol):
    """Whoever has something to tell."""

    def beat(self, *, everything: bool) -> None:
        """Tell what is new, or everything."""
        ...


class Heartbeat:
    """Calls `beat` every `interval_seconds` for everything, and soon after `wake` for what is new.

    It ends with `close`, or when the one it works for is gone. Nothing here has a lock that is not reentrant: a
    signal handler may wake or close it while its own thread is about to.
    """

    def __init__(self, target: Beating, interval_seconds: float) -> None:
        self._target = weakref.ref(target)
        self._interval_seconds = interval_seconds
        self._lock = threading.RLock()
        #: Has one entry, or a few, when there is something new; unlike an event's, its `put` is reentrant.
        self._woken: SimpleQueue[None] = SimpleQueue()
        self._ended = False
        self._everything = False
        self._thread: threading.Thread | None = None

    @property
    def has_ended(self) -> bool:
        """True once it was closed: waking it leads to nothing then."""
        return self._ended

    def wake(self, *, everything: bool = False) -> None:
        """There is something new."""
        self._everything |= everything
        self._rouse()
        self.begin()

    def begin(self) -> None:
        """Begin the thread, if it has not begun."""
        if self._thread is None and not self._ended:
            with self._lock:
                if self._thread is None:
                    watch_process()
                    thread = threading.Thread(target=self._run, name="costledger-guard", daemon=True)
                    # A signal handler that comes in between must not begin another one.
                    self._thread = thread
                    try:
                        thread.start()
                    except RuntimeError as error:  # no more threads, or the interpreter is ending
                        self._thread = None
                        _LOGGER.error("the budget guard has no thread now, and tries again: %s", error)  # noqa: TRY400

    def close(self) -> None:
        """End the thread. Idempotent."""
        self._ended = True
        self._rouse()
        thread = self._thread
        if thread is not None and thread is not threading.current_thread() and thread.is_alive():
            thread.join(_JOIN_SECONDS_MAX)

    def _rouse(self) -> None:
        if self._woken.empty():
            self._woken.put(None)

    def _run(self) -> None:
        due = time.monotonic() + self._interval_seconds
        while not self._ended:
            if self._is_woken(max(0.0, due - time.monotonic())):
                time.sleep(_GATHER_SECONDS)
                while not self._woken.empty():
                    self._is_woken(0.0)
            if self._ended:
                return
            everything, self._everything = self._everything or time.monotonic() >= due, False
            if not self._beat(everything):
                return
            if everything:
                due = time.monotonic() + self._interval_seconds

    def _is_woken(self, seconds: float) -> bool:
        try:
            self._woken.get(timeout=seconds)
        except Empty:
            return False
        return True

    def _beat(self, everything: bool) -> bool:
        target = self._target()
        if target is None:
            return False
        try:
            target.beat(everything=everything)
        except Exception:
            # A defect must not end the thread: holds would no longer be renewed.
            _LOGGER.exception("the budget guard could not tell Redis of its reservations")
        return True
