"""Tells of dropped events, to the host's callback each one; to the log, at a bounded rate, of all that goes wrong."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from threading import RLock
from typing import Final

from costledger.producers.errors import EventDropped

OnError = Callable[[EventDropped], None]

_LOGGER: Final = logging.getLogger("costledger.producers")
#: One line per reason in this time: an outage must not fill the host's log.
LOG_INTERVAL_SECONDS: Final = 30.0


class Reporter:
    """Reports drops. A callback that raises is logged, and never reaches the host's own code."""

    def __init__(self, on_error: OnError | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._on_error = on_error
        self._clock = clock
        self._lock = RLock()
        self._logged_at: dict[str, float] = {}
        self._unlogged: dict[str, int] = {}

    def report(self, dropped: EventDropped) -> None:
        """Log (at most once per reason and interval, with a count of what was left out) and call back."""
        unlogged = self._unlogged_before(dropped.reason)
        if unlogged is not None:
            more = f"; {unlogged} more since the last such line" if unlogged else ""
            _LOGGER.error("%s%s", dropped, more)
        if self._on_error is not None:
            try:
                self._on_error(dropped)
            except Exception:
                _LOGGER.exception("on_error failed for %s", dropped.event_id)

    def announce(self, kind: str, explanation: str) -> None:
        """Log what is wrong though no event is dropped, at the same rate for each kind."""
        unlogged = self._unlogged_before(kind)
        if unlogged is not None:
            more = f"; {unlogged} more since the last such line" if unlogged else ""
            _LOGGER.warning("%s%s", explanation, more)

    def _unlogged_before(self, reason: str) -> int | None:
        """How many were left out since the last line, or None where this one is to be left out too."""
        now = self._clock()
        with self._lock:
            logged_at = self._logged_at.get(reason)
            if logged_at is not None and now - logged_at < LOG_INTERVAL_SECONDS:
                self._unlogged[reason] = self._unlogged.get(reason, 0) + 1
                return None
            self._logged_at[reason] = now
            return self._unlogged.pop(reason, 0)
