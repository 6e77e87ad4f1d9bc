"""Says loudly, but at a bounded rate, that decisions are not taken on the figures."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from threading import RLock
from typing import Final

from costledger.producers.reporting import LOG_INTERVAL_SECONDS

_LOGGER: Final = logging.getLogger("costledger.producers")


class Loud:
    """One line per cause in `LOG_INTERVAL_SECONDS`, with the number left out, and one when it is over."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        # Reentrant: a signal handler that closes the tracker comes in here, while its own thread may be inside.
        self._lock = RLock()
        self._logged_at: dict[str, float] = {}
        self._left_out: dict[str, int] = {}

    def tell(self, code: str, message: str) -> None:
        """Log an error of this cause (a stable code), unless one was logged a moment ago."""
        now = self._clock()
        with self._lock:
            logged_at = self._logged_at.get(code)
            if logged_at is not None and now - logged_at < LOG_INTERVAL_SECONDS:
                self._left_out[code] = self._left_out.get(code, 0) + 1
                return
            self._logged_at[code] = now
            left_out = self._left_out.pop(code, 0)
        more = f"; {left_out} more since the last such line" if left_out else ""
        _LOGGER.error("budget guard, %s: %s%s", code, message, more)

    def over(self, code: str) -> None:
        """The cause is gone: say so once, and how often it was met unsaid."""
        if code not in self._logged_at:
            return
        with self._lock:
            if self._logged_at.pop(code, None) is None:
                return
            left_out = self._left_out.pop(code, 0)
        _LOGGER.warning("budget guard: %s is over (%d more since the last such line)", code, left_out)
