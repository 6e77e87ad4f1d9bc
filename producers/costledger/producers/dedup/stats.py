"""What became of the lookups of one cache in this process."""

from __future__ import annotations

from threading import RLock
from typing import TypedDict


class CacheStats(TypedDict):
    """Counts since the process began; `hits + misses + bypassed` is the number of finished lookups.

    `similar` is the part of the hits that was not the very same content; `bypassed` was work done without a lookup
    (Redis away, content without a form); `waited_in_vain` the part of the misses that waited for somebody else's
    result; `stored` and `not_stored` what became of the results of misses (those that failed are not stored);
    `saved` is in 1e-12 USD, and `unpriced` the part of the hits whose saving nobody knows. `uncounted` lookups are
    missing from the counts in Redis, not from the events.
    """

    hits: int
    similar: int
    misses: int
    bypassed: int
    waited_in_vain: int
    stored: int
    not_stored: int
    uncounted: int
    unpriced: int
    saved: int


class CacheCounters:
    """Counts; safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = RLock()
        self._counts = CacheStats(
            hits=0,
            similar=0,
            misses=0,
            bypassed=0,
            waited_in_vain=0,
            stored=0,
            not_stored=0,
            uncounted=0,
            unpriced=0,
            saved=0,
        )

    def add(self, *names: str) -> None:
        """One more of each."""
        with self._lock:
            for name in names:
                self._counts[name] += 1  # type: ignore[literal-required]  # the callers name fields of CacheStats

    def save(self, amount: int | None) -> None:
        """A hit has saved so much (1e-12 USD), or nobody knows how much."""
        with self._lock:
            if amount is None:
                self._counts["unpriced"] += 1
            else:
                self._counts["saved"] += amount

    def stats(self) -> CacheStats:
        """All counts at one moment."""
        with self._lock:
            return CacheStats(**self._counts)
