"""What a cache tells of its lookups: at once to Redis, and in summaries as events.

A summary is of one user and hour; it is told when the interval has passed, when many have come together, and at
the end of the process. So a crash takes at most the lookups of one interval, and no lookup is told twice: what
is being told has already left the books.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from costledger.producers.dedup.complaints import Complaints
from costledger.producers.dedup.store import COST_MAX
from costledger.producers.exits import forget, watch, watch_process
from costledger.producers.savings import record_lookups, record_saving
from costledger.schemas.errors import shown
from costledger.schemas.periods import MICROSECONDS_PER_HOUR
from costledger.schemas.times import from_microseconds

if TYPE_CHECKING:
    from costledger.producers.tracker import CostTracker

logger = logging.getLogger(__name__)

INTERVAL_SECONDS_DEFAULT: Final = 10.0
#: Lookups, and users with lookups, after which is told without waiting for the interval.
LOOKUPS_MAX: Final = 10_000
SUMMARIES_MAX: Final = 500


@dataclass(slots=True)
class Summary:
    """One user's lookups within an hour. `saved` in 1e-12 USD, `last_us` the last one's time (Unix microseconds)."""

    hits: int = 0
    misses: int = 0
    saved: int = 0
    last_us: int = 0


class LookupReports:
    """Gathers one cache's lookups and tells them through a tracker. Safe for threads, and over a fork."""

    def __init__(self, tracker: CostTracker, cache: str, strategy: str, interval_seconds: float) -> None:
        self._tracker = tracker
        self._cache = cache
        self._strategy = strategy
        self._interval_seconds = interval_seconds
        self._complaints = Complaints(logger)
        # Reentrant: a signal handler may close while its own thread is in `add`.
        self._lock = threading.RLock()
        self._summaries: dict[tuple[str, int], Summary] = {}
        self._count = 0
        self._timer: threading.Timer | None = None
        # Before the trackers, which would take nothing any more.
        watch(self, first=True)

    def add(self, user_id: str, *, hit: bool, saved: int, now_us: int | None = None) -> None:
        """Count one lookup; tells when enough have come together."""
        now_us = time.time_ns() // 1000 if now_us is None else now_us
        with self._lock:
            summary = self._summaries.setdefault((user_id, now_us // MICROSECONDS_PER_HOUR), Summary())
            summary.hits += hit
            summary.misses += not hit
            summary.saved += saved
            summary.last_us = max(summary.last_us, now_us)
            self._count += 1
            full = self._count >= LOOKUPS_MAX or len(self._summaries) >= SUMMARIES_MAX or summary.saved > COST_MAX
            if not full and self._timer is None:
                full = not self._start_timer()
        if full:
            self.flush()

    def flush(self) -> None:
        """Tell what has come together. Never raises, never blocks: the tracker does not."""
        with self._lock:
            summaries, self._summaries, self._count = self._summaries, {}, 0
            if self._timer is not None:
                self._timer.cancel()
                self._timer = None
        for (user_id, _hour), summary in summaries.items():
            try:
                self._tell(user_id, summary)
            except Exception as error:  # noqa: BLE001 - a strict tracker raises what it has already counted and reported
                self._complaints.say("telling", f"lookups of {self._cache} were not told: {shown(error)}")

    def close(self) -> None:
        """Tell the rest."""
        forget(self)
        self.flush()

    def start_afresh(self) -> None:
        """In a forked child: what the parent has counted stays the parent's."""
        self._lock = threading.RLock()
        self._complaints = Complaints(logger)
        self._summaries = {}
        self._count = 0
        self._timer = None

    def _start_timer(self) -> bool:
        watch_process()
        timer = threading.Timer(self._interval_seconds, self.flush)
        timer.daemon = True
        try:
            timer.start()
        except RuntimeError:  # no more threads, or the interpreter is ending: told at once instead
            return False
        self._timer = timer
        return True

    def _tell(self, user_id: str, summary: Summary) -> None:
        occurred_at = from_microseconds(summary.last_us)
        record_lookups(self._tracker, user_id, self._cache, summary.hits, summary.misses, occurred_at=occurred_at)
        if summary.saved:
            record_saving(
                self._tracker,
                user_id,
                self._strategy,
                summary.saved,
                metadata={"cache": self._cache},
                occurred_at=occurred_at,
            )
