"""Log lines at a bounded rate: an outage of Redis must not fill the host's log."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from threading import RLock
from typing import Final

#: One line of each kind in this time, with the number of those left out.
INTERVAL_SECONDS: Final = 30.0


class Complaints:
    """Logs the first of each kind, then at most one in `INTERVAL_SECONDS`."""

    def __init__(self, logger: logging.Logger, clock: Callable[[], float] = time.monotonic) -> None:
        self._logger = logger
        self._clock = clock
        # Reentrant: a signal handler may close, and complain, while its own thread is in here.
        self._lock = RLock()
        self._logged_at: dict[str, float] = {}
        self._left_out: dict[str, int] = {}

    def say(self, kind: str, text: str) -> None:
        """Log a warning, or count it as left out. `kind` is one of a few fixed words."""
        now = self._clock()
        with self._lock:
            logged_at = self._logged_at.get(kind)
            if logged_at is not None and now - logged_at < INTERVAL_SECONDS:
                self._left_out[kind] = self._left_out.get(kind, 0) + 1
                return
            self._logged_at[kind] = now
            more = self._left_out.pop(kind, 0)
        self._logger.warning("%s%s", text, f"; {more} more such lines left out" if more else "")
