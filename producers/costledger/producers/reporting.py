"""Tells of dropped events, to the host's callback each one; to the log, at a bounded rate, of all that goes wrong."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

from costledger.producers.errors import EventDropped
from costledger.producers.rate_limited_log import LOG_INTERVAL_SECONDS, RateLimitedLog

__all__ = ["LOG_INTERVAL_SECONDS", "OnError", "Reporter"]

OnError = Callable[[EventDropped], None]

_LOGGER: Final = logging.getLogger("costledger.producers")


class Reporter:
    """Reports drops. A callback that raises is logged, and never reaches the host's own code."""

    def __init__(self, on_error: OnError | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._on_error = on_error
        self._log = RateLimitedLog(_LOGGER, clock)

    def report(self, dropped: EventDropped) -> None:
        """Log (at most once per reason and interval, with a count of what was left out) and call back."""
        self._log.say(logging.ERROR, dropped.reason, dropped)
        if self._on_error is not None:
            try:
                self._on_error(dropped)
            except Exception:
                _LOGGER.exception("on_error failed for %s", dropped.event_id)

    def announce(self, kind: str, explanation: str) -> None:
        """Log what is wrong though no event is dropped, at the same rate for each kind."""
        self._log.say(logging.WARNING, kind, explanation)
