"""Which rows of one spool file are where: pure bookkeeping, no file and no Kafka.

A row is *unread* (on disk alone), *in flight* (given to the Kafka client), *returned* (the client gave it back; it
waits for its next attempt), *parked* (Kafka will not have it as it is), *left* (the same, beyond the number of rows
that are parked) or *acknowledged* (to be deleted). Kafka refuses whole batches for the sake of one message, so parked
rows are tried one at a time: first soon, then rarely. Unread rows are a range of ids, so that a backlog of any
length takes no memory; the others are bounded, if the caller keeps to what it is told.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from typing import Final

#: The wait before a row's second attempt, and the longest before a later one; it doubles from attempt to attempt.
RETRY_SECONDS: Final = 0.5
RETRY_SECONDS_MAX: Final = 30.0
#: The wait of a parked row that Kafka has refused once more when it was tried by itself.
PARK_SECONDS: Final = 600.0
#: So many rows are parked; what Kafka refuses beyond that is left on disk for the next process.
PARKED_ROWS_MAX: Final = 10_000
#: So many acknowledged rows may wait to be deleted together; more take the place of rows in flight.
DELETE_ROWS: Final = 2000

Range = tuple[int, int]


class Book:
    """The rows of one file; ids ascend. Times are seconds of any monotonic clock. Not safe between threads."""

    def __init__(self, first: int = 1, end: int = 1) -> None:
        """The rows from `first` up to, and without, `end` are there and unread; some ids may be missing."""
        self._unread = first
        self._end = end
        self._in_flight: dict[int, int] = {}
        self._returned: list[tuple[float, int, int]] = []
        self._acknowledged: list[int] = []
        self._parked: list[tuple[float, int]] = []
        self._alone: int | None = None
        self._left = 0

    @property
    def parked(self) -> int:
        """Rows that Kafka has refused and that wait, in memory or on disk alone, for an attempt that may never help."""
        return len(self._parked) + self._left

    @property
    def held(self) -> int:
        """What the caller bounds: rows in flight and returned ones, and acknowledged ones that are too many."""
        return len(self._in_flight) + len(self._returned) + max(0, len(self._acknowledged) - DELETE_ROWS)

    @property
    def in_flight(self) -> int:
        """Rows that the Kafka client has."""
        return len(self._in_flight)

    @property
    def acknowledged(self) -> int:
        """Rows that may be deleted."""
        return len(self._acknowledged)

    @property
    def unread(self) -> Range:
        """The first unread id, and the id after the last."""
        return self._unread, self._end

    def reserve(self) -> int:
        """The id of the next row to be written. An id that is never written is a gap and does no harm."""
        row = self._end
        self._end = row + 1
        return row

    def written(self, row: int, held_max: int) -> bool:
        """A reserved row is on disk. True: it is in flight from now on, and the caller sends it; else it waits unread."""
        unread = self._unread
        if unread == row and self.held < held_max:
            self._unread = row + 1
            self._in_flight[row] = 0
            return True
        if unread > row:
            # Read past before it was written: only the other way leads to it now.
            heapq.heappush(self._returned, (0.0, row, 0))
        return False

    def read(self, rows: Iterable[int], end: int) -> None:
        """Unread rows are in flight from now on; what is before `end` and not among them does not exist."""
        self._in_flight.update(dict.fromkeys(rows, 0))
        self._unread = max(self._unread, end)

    def due(self, now: float, rows_max: int) -> list[int]:
        """Returned rows whose next attempt is due: they are in flight from now on. In the order of their ids."""
        rows: list[int] = []
        while self._returned and len(rows) < rows_max and self._returned[0][0] <= now:
            _, row, attempts = heapq.heappop(self._returned)
            self._in_flight[row] = attempts
            rows.append(row)
        if self._alone is None and self._parked and len(rows) < rows_max and self._parked[0][0] <= now:
            _, self._alone = heapq.heappop(self._parked)
            self._in_flight[self._alone] = 0
            rows.append(self._alone)
        rows.sort()
        return rows

    def give_back(self, rows: Iterable[int], due: float) -> None:
        """There was no room for these rows: try again then. Not an attempt."""
        for row in rows:
            heapq.heappush(self._returned, (due, row, self._in_flight.pop(row)))
            self._no_longer_alone(row)

    def fail(self, rows: Iterable[int], now: float) -> None:
        """The client gave these rows back: another attempt later, and the later the more attempts there were."""
        for row in rows:
            attempts = self._in_flight.pop(row) + 1
            heapq.heappush(self._returned, (now + retry_seconds(attempts), row, attempts))
            self._no_longer_alone(row)

    def park(self, rows: Iterable[int], now: float) -> None:
        """Kafka refuses these rows as they are: they no longer take the place of others."""
        for row in rows:
            del self._in_flight[row]
            wait_seconds = PARK_SECONDS if row == self._alone else RETRY_SECONDS
            self._no_longer_alone(row)
            if len(self._parked) < PARKED_ROWS_MAX:
                heapq.heappush(self._parked, (now + wait_seconds, row))
            else:
                self._left += 1

    def acknowledge(self, rows: Iterable[int]) -> int:
        """Kafka has these rows; how many of them were in flight. One that was sent twice is told twice, and counts once."""
        known = 0
        for row in rows:
            if self._in_flight.pop(row, None) is not None:
                known += 1
                self._no_longer_alone(row)
                self._acknowledged.append(row)
        return known

    def _no_longer_alone(self, row: int) -> None:
        if row == self._alone:
            self._alone = None

    def deletable(self) -> list[Range]:
        """The acknowledged rows as ranges, both ends included."""
        return ranges(sorted(self._acknowledged))

    def deleted(self) -> None:
        """What `deletable` gave is gone."""
        self._acknowledged.clear()


def retry_seconds(attempts: int) -> float:
    """How long a row waits after so many failed attempts."""
    return min(RETRY_SECONDS * 2.0 ** min(attempts - 1, 30), RETRY_SECONDS_MAX)


def ranges(rows: Sequence[int]) -> list[Range]:
    """Ascending ids as ranges of neighbours, both ends included."""
    if rows and rows[-1] - rows[0] == len(rows) - 1:
        return [(rows[0], rows[-1])]
    found: list[Range] = []
    for row in rows:
        if found and found[-1][1] == row - 1:
            found[-1] = (found[-1][0], row)
        else:
            found.append((row, row))
    return found
