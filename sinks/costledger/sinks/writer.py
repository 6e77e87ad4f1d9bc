"""Writes batches into the ledger, each in one transaction, and tries again for as long as it takes.

All calls come from one thread at a time; `stop` and `trouble` may be used from any.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from operator import attrgetter
from typing import Final, Literal

import psycopg

from costledger.schemas.fail_points import reach_step_of
from costledger.sinks import positions
from costledger.sinks.bad_share import BadShare
from costledger.sinks.batch import SINK_ONLY_REASONS, Batch, Rejected
from costledger.sinks.database import Connection
from costledger.sinks.loading import Loaded, load_carefully, load_fast
from costledger.sinks.patience import PatientConnection
from costledger.sinks.positions import AlreadyWritten, Counts
from costledger.sinks.put_aside import put_aside
from costledger.sinks.queries import query
from costledger.sinks.rows import Row
from costledger.sinks.totals import Totals, add_hourly, as_arrays, daily

logger = logging.getLogger(__name__)

#: The moments of one write, in order; each is a fail point, `sink.` and its name.
Step = Literal[
    "before_begin",
    "before_load",
    "after_load",
    "after_totals",
    "after_quarantine",
    "before_commit",
    "after_commit",
    "before_reply",
]

#: After a repeat was met, so many batches go the careful way at once: repeats come in runs.
_CAREFUL_BATCHES: Final = 8
#: Where a packed row has the high 32 bits of the milliseconds of its event id: after the number of fields and the id's
#: length. They tell a minute apart from the next, and are the same for most rows of a batch.
_ID_MINUTE: Final = slice(6, 10)
_MINUTE_MILLISECONDS: Final = 1 << 16
_MILLISECONDS_PER_DAY: Final = 86_400_000
_EPOCH: Final = date(1970, 1, 1)

reach_step: Final[Callable[[Step], None]] = reach_step_of("sink")


@dataclass(slots=True)
class Outcome:
    """What a committed batch came to."""

    events: int
    counts: Counts
    reasons: Counter[str]
    seconds: float


class Writer:
    """Writes batches of one topic; `on_step` is called at each `Step` of a write."""

    def __init__(
        self,
        connect: Callable[[], Connection],
        topic: str,
        bad_share: BadShare,
        on_retry: Callable[[str], None] = lambda _state: None,
        on_step: Callable[[Step], None] = reach_step,
    ) -> None:
        self._patient = PatientConnection(connect, on_retry)
        self._topic = topic
        self._bad_share = bad_share
        self._on_step = on_step
        self._careful_batches_left = 0
        self._days_with_partition: set[int] = set()

    @property
    def trouble(self) -> str | None:
        """Why PostgreSQL cannot be used at the moment, or None."""
        return self._patient.trouble

    def stop(self) -> None:
        """Stop trying again: what does not succeed now raises `Abandoned`."""
        self._patient.stop()

    def close(self) -> None:
        """Close the connection."""
        self._patient.close()

    def claim(self, partitions: Iterable[int]) -> dict[int, tuple[int, int]]:
        """Take partitions over: {partition: (next offset, epoch)}."""
        return self._patient.do(lambda connection: positions.claim(connection, self._topic, partitions))

    def write(self, batch: Batch) -> Outcome:
        """Write a batch, once. Returns after the commit.

        Raises `Fenced` where a partition is another process's, `TooManyBad`, `Abandoned`, or the `psycopg.Error`
        that trying again cannot mend.
        """
        started = time.monotonic()
        counts, reasons = Counts(), Counter[str]()

        def attempt(connection: Connection) -> None:
            nonlocal counts, reasons
            self._on_step("before_begin")
            self._ensure_partitions(connection, batch.rows)
            counts, reasons = self._transact(connection, batch)
            self._on_step("after_commit")

        try:
            self._patient.do(attempt)
        except AlreadyWritten as error:
            logger.warning("the reply to a commit was lost, but it took place: %s", error)
        self._bad_share.add(batch.events, sum(reasons.values()))
        self._on_step("before_reply")
        return Outcome(batch.events, counts, reasons, time.monotonic() - started)

    def _transact(self, connection: Connection, batch: Batch) -> tuple[Counts, Counter[str]]:
        with connection.transaction():
            self._on_step("before_load")
            by_hour: Totals = {}
            loaded = self._load(connection, batch.rows, by_hour)
            self._on_step("after_load")
            if by_hour:
                connection.execute(query("upsert_hourly"), as_arrays(by_hour))
                connection.execute(query("upsert_daily"), as_arrays(daily(by_hour)))
            self._on_step("after_totals")
            bad = sorted([*batch.rejected, *loaded.refused], key=attrgetter("partition", "offset"))
            self._bad_share.check(batch.events, len(bad))
            put_aside(connection, self._topic, bad, SINK_ONLY_REASONS)
            self._on_step("after_quarantine")
            counts = _count(loaded, bad)
            positions.advance(connection, self._topic, batch, counts)
            self._on_step("before_commit")
        return counts, Counter(one.reason for one in bad)

    def _load(self, connection: Connection, rows: Sequence[Row], totals: Totals) -> Loaded:
        """Put the rows into the ledger, and add to the totals what was inserted: repeats are not in them."""
        if not rows:
            return Loaded()
        if self._careful_batches_left:
            self._careful_batches_left -= 1
        elif (loaded := load_fast(connection, rows, lambda part: _add(totals, part))) is not None:
            return loaded
        # Those of the way that failed.
        totals.clear()
        loaded = load_carefully(connection, rows)
        _add(totals, loaded.inserted)
        if len(loaded.inserted) < len(rows):
            self._careful_batches_left = _CAREFUL_BATCHES
        return loaded

    def _ensure_partitions(self, connection: Connection, rows: Sequence[Row]) -> None:
        """Make the table's partitions for the months of the rows' ids, outside the batch's transaction."""
        minutes = {int.from_bytes(minute) for minute in {row.packed[_ID_MINUTE] for row in rows}}
        # Of its first and its last millisecond: a minute may be of two days.
        days = {
            milliseconds // _MILLISECONDS_PER_DAY
            for minute in minutes
            for milliseconds in (minute * _MINUTE_MILLISECONDS, (minute + 1) * _MINUTE_MILLISECONDS - 1)
        } - self._days_with_partition
        for month in sorted({(_EPOCH + timedelta(days=day)).replace(day=1) for day in days}):
            try:
                left = connection.execute("SELECT ledger.ensure_partitions(%s, %s)", (month, month)).fetchall()
            except psycopg.errors.LockNotAvailable:
                # Not waited for: that might be hours, and with the first of its entries there the month stays where it is.
                logger.error("entries of %s go to the DEFAULT partition: somebody reads it", month)  # noqa: TRY400
                continue
            if left:
                logger.error("entries of %s go to the DEFAULT partition, which holds some of them already", month)
        self._days_with_partition |= days


def _add(totals: Totals, rows: Sequence[Row]) -> None:
    add_hourly(totals, [row.event for row in rows])


def _count(loaded: Loaded, bad: Iterable[Rejected]) -> Counts:
    return Counts(
        inserted=Counter([row.partition for row in loaded.inserted]),
        duplicates=Counter(row.partition for row in loaded.duplicates),
        quarantined=Counter(one.partition for one in bad),
        unpriced=Counter([row.partition for row in loaded.inserted if row.event[5] is None]),
    )
