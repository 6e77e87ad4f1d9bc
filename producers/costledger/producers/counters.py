"""The tracker's counts: every event is acknowledged, spooled, queued or dropped, and nothing else."""

from __future__ import annotations

from threading import RLock
from typing import TypedDict


class Stats(TypedDict):
    """One consistent view of the counts, in events since this process began to track.

    `tracked = acked + spooled + queued + dropped` always. `spooled` events are on the local disk, or rows of an
    outbox (those for good: what becomes of them is the relay's matter, and the transaction's); `queued` ones are
    in memory alone. `rejected` (wrong arguments) is the part of `dropped` that a programmer can mend; `unpriced`
    counts events sent without an amount; `resumed` is the part of `tracked` that another process had spooled;
    `unspooled` counts events that were to be spooled and went on in memory.
    """

    tracked: int
    acked: int
    spooled: int
    queued: int
    dropped: int
    rejected: int
    unpriced: int
    resumed: int
    unspooled: int


class Counters:
    """Counts events; safe to use from any thread, and from a signal handler that interrupts one of its methods."""

    def __init__(self) -> None:
        # Reentrant: a signal handler of the host may track while its own thread is in here.
        self._lock = RLock()
        self._tracked = 0
        self._acked = 0
        self._dropped = 0
        self._handed_over = 0
        self._rejected = 0
        self._unpriced = 0
        self._spooled = 0
        self._resumed = 0
        self._unspooled = 0

    def track(self, unpriced: bool) -> None:
        """One more event exists; it is queued until one of the others says more."""
        with self._lock:
            self._tracked += 1
            self._unpriced += unpriced

    def acknowledge(self) -> None:
        """Kafka has a queued event."""
        with self._lock:
            self._acked += 1

    def drop(self) -> None:
        """A queued event is given up."""
        with self._lock:
            self._dropped += 1

    def hand_over(self, unpriced: bool) -> None:
        """One more event exists, and is a row of an outbox: it never was queued, and no more is heard of it here."""
        with self._lock:
            self._tracked += 1
            self._handed_over += 1
            self._unpriced += unpriced

    def reject(self) -> None:
        """An event was refused for its arguments; it never was queued."""
        with self._lock:
            self._tracked += 1
            self._dropped += 1
            self._rejected += 1

    def spool(self, unpriced: bool) -> None:
        """One more event exists, and it is on disk."""
        with self._lock:
            self._tracked += 1
            self._spooled += 1
            self._unpriced += unpriced

    def resume(self, events: int) -> None:
        """So many events were found on disk, where another process had left them."""
        with self._lock:
            self._tracked += events
            self._spooled += events
            self._resumed += events

    def acknowledge_spooled(self, events: int) -> None:
        """Kafka has so many of the events on disk."""
        with self._lock:
            self._acked += events
            self._spooled -= events

    def rescue(self) -> None:
        """A queued event is on disk now."""
        with self._lock:
            self._spooled += 1

    def unspool(self) -> None:
        """An event that was to be spooled goes on in memory."""
        with self._lock:
            self._unspooled += 1

    def lose_spooled(self, events: int) -> None:
        """So many events on disk cannot be read any more."""
        with self._lock:
            self._dropped += events
            self._spooled -= events

    def waiting(self) -> int:
        """Events neither acknowledged nor handed over nor dropped yet."""
        with self._lock:
            return self._tracked - self._acked - self._dropped - self._handed_over

    def stats(self) -> Stats:
        """All counts at one moment."""
        with self._lock:
            return Stats(
                tracked=self._tracked,
                acked=self._acked,
                spooled=self._spooled + self._handed_over,
                queued=self._tracked - self._acked - self._spooled - self._handed_over - self._dropped,
                dropped=self._dropped,
                rejected=self._rejected,
                unpriced=self._unpriced,
                resumed=self._resumed,
                unspooled=self._unspooled,
            )
