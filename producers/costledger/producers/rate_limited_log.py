"""Log lines at a bounded rate: an outage must not fill the host's log."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from threading import RLock
from typing import Final

#: One line of each kind in this time.
LOG_INTERVAL_SECONDS: Final = 30.0


class RateLimitedLog:
    """Logs the first line of each kind, then at most one per `LOG_INTERVAL_SECONDS`, with the number left out.

    Safe to use from any thread, from a signal handler that interrupts one of its methods, and after a fork if the
    child makes a new one.
    """

    def __init__(self, logger: logging.Logger, clock: Callable[[], float] = time.monotonic) -> None:
        self._logger = logger
        self._clock = clock
        # Reentrant: a signal handler of the host may track, or close, while its own thread is in here.
        self._lock = RLock()
        self._logged_at: dict[str, float] = {}
        self._left_out: dict[str, int] = {}

    def say(self, level: int, kind: str, text: object) -> None:
        """Log a line (`text` is made to text only then), or count it as left out. `kind` is one of a few fixed words."""
        now = self._clock()
        with self._lock:
            logged_at = self._logged_at.get(kind)
            if logged_at is not None and now - logged_at < LOG_INTERVAL_SECONDS:
                self._left_out[kind] = self._left_out.get(kind, 0) + 1
                return
            self._logged_at[kind] = now
            left_out = self._left_out.pop(kind, 0)
        more = f"; {left_out} more since the last such line" if left_out else ""
        self._logger.log(level, "%s%s", text, more)

    def over(self, kind: str) -> int | None:
        """What this kind is about has ended, and the next line of it is logged at once.

        The number of lines left out since the last one; None where none was logged.
        """
        if kind not in self._logged_at:
            return None
        with self._lock:
            if self._logged_at.pop(kind, None) is None:
                return None
            return self._left_out.pop(kind, 0)
