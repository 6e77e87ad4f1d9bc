"""Sealing: entries below the sink's position become blocks of their partition's chain.

A turn looks what is there, and seals it in rounds of one transaction each: killed at any moment, it leaves whole blocks.
One process seals at a time (an advisory lock; the primary key of the blocks stands behind it). The sink knows nothing
of it: only entries that are committed are read, and nothing is locked that it writes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from operator import attrgetter
from typing import Any, Final, Literal

from costledger.schemas.times import from_microseconds, to_microseconds
from costledger.sinks.chain.hashing import (
    BLOCK_ROWS_MAX,
    FORMAT,
    Block,
    SealedRow,
    block_hash,
    cut,
    pack_fingerprints,
)
from costledger.sinks.chain.pending import Position, Tail, count, find_pending, read_positions
from costledger.sinks.chain.rows import SORT_MEMORY, Span, read_rows
from costledger.sinks.database import Connection, silence_allowed
from costledger.sinks.locks import AdvisoryLock
from costledger.sinks.queries import query

#: Offsets of each partition in one round, in blocks: with 12 partitions up to 240,000 entries in a transaction.
WINDOW_BLOCKS_MAX: Final = 2
#: Rounds in a turn of the scheduler; what is left is the next turn's.
TURN_ROUNDS_MAX: Final = 8
#: The first turn over a ledger that is there already may have to read all of it.
_STATEMENT_SECONDS_MAX: Final = 600
_OFFSET_END: Final = 2**63 - 1
#: As in the queries: 0001-01-02 and 9999-12-30.
_EARLIEST_US: Final = to_microseconds(datetime(1, 1, 2, tzinfo=UTC))
_LATEST_US: Final = to_microseconds(datetime(9999, 12, 30, tzinfo=UTC))

#: The moments of a round; a test can stop the process at each of them.
Step = Literal["before_blocks", "before_commit", "after_commit"]


@dataclass(slots=True)
class _Work:
    """Entries of one partition that are to be sealed: offsets from `at` to before `target`.

    `whole`: also those that fill no block.
    """

    partition: int
    tail: Tail
    at: int
    target: int
    recorded_from: datetime | None
    recorded_before: datetime | None = None
    whole: bool = True


def seal(
    connection: Connection,
    topic: str,
    *,
    after_seconds: float = 0.0,
    rounds_max: int | None = None,
    block_rows_max: int = BLOCK_ROWS_MAX,
    wait: bool = True,
    on_step: Callable[[Step], None] = lambda _step: None,
    progress: Callable[[int], None] = lambda _rows: None,
) -> int:
    """Seal what the sink has committed of a topic; returns how many entries.

    Blocks are sealed when they are full (`block_rows_max` entries), and those that are not when their oldest entry was
    recorded `after_seconds` ago. In autocommit mode, as `costledger_writer`. Where another process is
    sealing, waits for it within the connection's lock timeout, or without `wait` returns 0. After `rounds_max` rounds the
    rest is left to the next call. Raises `psycopg.Error`.
    """
    with silence_allowed(connection, _STATEMENT_SECONDS_MAX), _alone(connection, wait) as allowed:
        if not allowed:
            return 0
        sealer = _Sealer(connection, topic, on_step, progress, rounds_max, block_rows_max)
        sealer.begin_chains()
        sealer.seal_pending(after_seconds)
        return sealer.rows


@contextmanager
def _alone(connection: Connection, wait: bool) -> Iterator[bool]:
    key = (AdvisoryLock.SEALING.value,)
    if wait:
        connection.execute("SELECT pg_advisory_lock(%s)", key)
    else:
        row = connection.execute("SELECT pg_try_advisory_lock(%s)", key).fetchone()
        if row is None or not row[0]:
            yield False
            return
    try:
        yield True
    finally:
        if not connection.closed:
            connection.execute("SELECT pg_advisory_unlock(%s)", key)


class _Sealer:
    """One turn."""

    def __init__(
        self,
        connection: Connection,
        topic: str,
        on_step: Callable[[Step], None],
        progress: Callable[[int], None],
        rounds_max: int | None,
        block_rows_max: int,
    ) -> None:
        self._connection = connection
        self._topic = topic
        self._on_step = on_step
        self._progress = progress
        self._rounds_left = rounds_max
        self._block_rows_max = block_rows_max
        self.rows = 0

    def begin_chains(self) -> None:
        """Begin a chain for each partition, and anew for each topic that was made anew.

        What an earlier topic of this name has left is sealed first; an empty block with the new `since` follows.
        """
        with self._snapshot():
            new = [one for one in read_positions(self._connection, self._topic) if not one.begun]
            left = count(self._connection, self._topic, map(_former, new))
        works = [
            _Work(
                one.partition,
                one.tail,
                max(one.tail.next_offset, left[one.partition].least_offset),
                left[one.partition].greatest_offset + 1,
                one.tail.since,
                one.since,
            )
            for one in new
            if one.partition in left
        ]
        if not self._rounds(works):
            return
        with self._round() as now:
            for one in new:
                one.tail.begin(one.since, one.first_offset)
                self._append(one.partition, one.tail, now, one.first_offset, ())

    def seal_pending(self, after_seconds: float) -> None:
        """Seal what is due."""
        with self._snapshot() as now:
            positions = [one for one in read_positions(self._connection, self._topic) if one.begun]
            found = find_pending(self._connection, self._topic, positions, now, after_seconds)
        works, uncounted = [], []
        for one in positions:
            rows = found[one.partition].rows if one.partition in found else 0
            if rows != one.expected:
                uncounted.append((one, one.expected - rows))
            if not rows:
                continue
            pending = found[one.partition]
            old = (now - pending.oldest).total_seconds() >= after_seconds
            if old or rows != one.expected or rows >= self._block_rows_max:
                at = max(one.tail.next_offset, pending.least_offset)
                whole = old or rows != one.expected
                works.append(_Work(one.partition, one.tail, at, one.next_offset, pending.recorded_from, whole=whole))
        if self._rounds(works) and uncounted:
            self._tell_missing(uncounted)

    def _tell_missing(self, uncounted: Sequence[tuple[Position, int]]) -> None:
        """Blocks without entries that say how many the sink has counted more than there are."""
        with self._round() as now:
            for one, missing in uncounted:
                one.tail.missing += missing
                self._append(one.partition, one.tail, now, one.tail.next_offset, ())

    def _rounds(self, works: Sequence[_Work]) -> bool:
        """Seal in rounds of a transaction each; False where the rounds of this turn did not suffice."""
        while active := [work for work in works if work.at < work.target]:
            if self._rounds_left is not None:
                if not self._rounds_left:
                    return False
                self._rounds_left -= 1
            ends = {
                work.partition: min(work.at + WINDOW_BLOCKS_MAX * self._block_rows_max, work.target) for work in active
            }
            spans = [
                Span(work.partition, work.at, ends[work.partition], work.recorded_from, work.recorded_before)
                for work in active
            ]
            with self._round() as now:
                rows = {
                    partition: list(group)
                    for partition, group in groupby(
                        read_rows(self._connection, self._topic, spans), key=attrgetter("partition")
                    )
                }
                self._on_step("before_blocks")
                for work in active:
                    self._seal_window(work, now, ends[work.partition], rows.get(work.partition, []))
                self._on_step("before_commit")
            self._on_step("after_commit")
            self._progress(self.rows)
            self._pass_over([work for work in active if work.partition not in rows and work.at < work.target])
        return True

    def _pass_over(self, works: Sequence[_Work]) -> None:
        """Go on at the next entry of each: the places between may be more than can be looked at window by window."""
        if not works:
            return
        spans = [Span(one.partition, one.at, one.target, one.recorded_from, one.recorded_before) for one in works]
        with self._snapshot():
            found = count(self._connection, self._topic, spans)
        for one in works:
            one.at = found[one.partition].least_offset if one.partition in found else one.target

    def _seal_window(self, work: _Work, now: datetime, end: int, rows: Sequence[SealedRow]) -> None:
        pieces = cut(rows, self._block_rows_max)
        if end == work.target and not work.whole and pieces and len(pieces[-1]) < self._block_rows_max:
            pieces.pop()
        work.at = end
        for number, piece in enumerate(pieces, start=1):
            last = number == len(pieces) and work.whole and end == work.target
            next_offset = end if last else piece[-1].offset + 1
            self._append(work.partition, work.tail, now, next_offset, piece)

    def _append(
        self,
        partition: int,
        tail: Tail,
        now: datetime,
        next_offset: int,
        rows: Sequence[SealedRow],
    ) -> None:
        """Add a block to the end of a chain, in the transaction that is open."""
        recorded = [row.recorded_us for row in rows]
        block = Block(
            topic=self._topic,
            partition=partition,
            number=tail.number + 1,
            format=FORMAT,
            since=tail.since,
            first_offset=tail.next_offset,
            next_offset=next_offset,
            rows=len(rows),
            rows_total=tail.rows_total + len(rows),
            missing=tail.missing,
            recorded_from=_instant(min(recorded)) if recorded else None,
            recorded_until=_instant(max(recorded)) if recorded else None,
            sealed_at=now,
            previous_hash=tail.hash,
        )
        hash_ = block_hash(block, (row.digest for row in rows))
        values: dict[str, Any] = {name: getattr(block, name) for name in Block.__slots__}
        values |= {"hash": hash_, "fingerprints": pack_fingerprints(tail.next_offset, rows)}
        self._connection.execute(query("insert_chain_block"), values)
        tail.number, tail.next_offset = block.number, next_offset
        tail.rows_total, tail.hash, tail.sealed_at = block.rows_total, hash_, now
        self.rows += len(rows)

    @contextmanager
    def _snapshot(self) -> Iterator[datetime]:
        """A transaction that reads one state of the ledger; gives the database's time."""
        with self._connection.transaction():
            self._connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
            yield self._begun()

    @contextmanager
    def _round(self) -> Iterator[datetime]:
        with self._connection.transaction():
            yield self._begun()

    def _begun(self) -> datetime:
        timeout = str(_STATEMENT_SECONDS_MAX * 1000)
        row = self._connection.execute(
            "SELECT now(), set_config('statement_timeout', %s, true), "
            "set_config('idle_in_transaction_session_timeout', %s, true), set_config('work_mem', %s, true)",
            (timeout, timeout, SORT_MEMORY),
        ).fetchone()
        assert row is not None  # noqa: S101 - a SELECT without FROM has one row
        now: datetime = row[0]
        return now


def _instant(recorded_us: int) -> datetime:
    """When an entry was recorded; somebody who may change one may have put it outside the times that there are."""
    return from_microseconds(max(_EARLIEST_US, min(recorded_us, _LATEST_US)))


def _former(position: Position) -> Span:
    """What an earlier topic of this name may have left unsealed."""
    tail = position.tail
    return Span(position.partition, tail.next_offset, _OFFSET_END, tail.since, position.since)
