"""Verifying: every block against the block before it and against the entries, on one snapshot of the ledger.

Blocks are read in the order in which they were sealed, in batches whose entries were recorded at about the same time, so
that each part of the ledger is read about once. Then all entries are counted: what is in a sealed range and was in no
block's reach is looked for and named.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Final, NamedTuple
from uuid import UUID

import psycopg

from costledger.sinks.chain.comparing import compare_rows, inserted, merged
from costledger.sinks.chain.coverage import Coverage, Part, parts_of
from costledger.sinks.chain.hashing import FORMAT, Block, SealedRow, block_hash, unpack_fingerprints
from costledger.sinks.chain.heads import Heads
from costledger.sinks.chain.links import ChainKey, Links, of_block
from costledger.sinks.chain.report import ChainReport, Finding, VerifyReport
from costledger.sinks.chain.rows import SORT_MEMORY, Span, as_text, read_rows
from costledger.sinks.database import Connection, silence_allowed
from costledger.sinks.queries import query

#: Of one batch: entries (150 bytes each here) and blocks.
BATCH_ROWS_MAX: Final = 100_000
BATCH_BLOCKS_MAX: Final = 1_000
#: Blocks that differ and are read once more, by their offsets alone; the others' entries are told apart at the end.
_AGAIN_MAX: Final = 50
#: Differing entries of all blocks that are remembered one by one, to be told apart at the end.
_DIFFERING_MAX: Final = 100_000
_MICROSECOND: Final = timedelta(microseconds=1)


class _Stored(NamedTuple):
    block: Block
    hash: bytes
    fingerprints: bytes


def verify(
    connection: Connection,
    *,
    partitions: Sequence[int] = (),
    heads: Heads | None = None,
    progress: Callable[[int, int], None] = lambda _rows, _of: None,
) -> VerifyReport:
    """Check the chains of all topics, or of some partitions of each; `progress` is told rows done and rows in all.

    `heads` are those that were saved at another time: each must still be in its chain. Needs a connection in autocommit
    mode as `costledger_writer`. Raises `psycopg.Error`, `UnreadableRows`.
    """
    with _snapshot(connection) as now:
        verifier = _Verifier(connection, now, list(partitions) or None, heads, progress)
        verifier.check_blocks()
        verifier.check_coverage()
        return verifier.finish()


@contextmanager
def _snapshot(connection: Connection) -> Iterator[datetime]:
    """Inside, one transaction that reads one state of the ledger, for as long as it takes; gives the database's time."""
    # Counting and sorting all entries say nothing before they are done.
    with silence_allowed(connection, None), connection.transaction():
        connection.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        for limit in ("statement_timeout", "idle_in_transaction_session_timeout"):
            connection.execute("SELECT set_config(%s, '0', true)", (limit,))
        connection.execute("SELECT set_config('work_mem', %s, true)", (SORT_MEMORY,))
        row = connection.execute(query("database_time")).fetchone()
        assert row is not None  # noqa: S101 - a SELECT without FROM has one row
        yield row[0]


class _Verifier:
    def __init__(
        self,
        connection: Connection,
        now: datetime,
        partitions: list[int] | None,
        heads: Heads | None,
        progress: Callable[[int, int], None],
    ) -> None:
        self._connection = connection
        self._filter = {"partitions": partitions}
        self._progress = progress
        self._links = Links()
        self._heads = {} if heads is None else heads.of_partitions(partitions)
        self._report = VerifyReport(now)
        #: Findings about entries, kept until the end: only all together tell a changed entry from two others.
        self._differing: list[Finding] = []
        #: Entries that were read with the blocks of each part.
        self._seen: dict[tuple[ChainKey, datetime | None], int] = defaultdict(int)
        ends = connection.execute(query("chain_ends"), self._filter).fetchall()
        positions = connection.execute(query("chain_positions"), self._filter).fetchall()
        self._parts = parts_of(ends, positions)
        self._part = {(part.key, part.since): part for part in self._parts}
        self._again_left = _AGAIN_MAX
        self._rows_in_all = sum(part.rows for part in self._parts)
        self._rows_done = 0

    def check_blocks(self) -> None:
        """Every block: its link, its hash, its entries."""
        batch: list[_Stored] = []
        rows = 0
        with psycopg.ServerCursor(self._connection, "chain_blocks") as cursor:
            cursor.itersize = 100
            cursor.execute(query("chain_blocks"), self._filter)
            for *columns, hash_, fingerprints in cursor:
                stored = _Stored(Block(*columns), hash_, fingerprints)
                if batch and (rows + stored.block.rows > BATCH_ROWS_MAX or not _fits(batch, stored.block)):
                    self._check_batch(batch)
                    batch, rows = [], 0
                batch.append(stored)
                rows += stored.block.rows
        self._check_batch(batch)

    def _check_batch(self, batch: Sequence[_Stored]) -> None:
        for stored, rows in self._with_rows(batch):
            block = stored.block
            for finding in self._links.follow(block, stored.hash):
                self._report.add(finding)
            if self._heads.get((block.topic, block.partition, block.number)) == stored.hash.hex():
                self._heads.pop((block.topic, block.partition, block.number))
            seen = len(rows)
            if self._check_rows(stored, rows, self._again_left > 0):
                self._again_left -= 1
                rows_again = self._by_offsets(block)
                self._check_rows(stored, rows_again, look_again=False)
                seen = len(rows_again)
            self._seen[(block.topic, block.partition), block.since] += seen
            self._rows_done += block.rows
        self._progress(self._rows_done, self._rows_in_all)

    def _check_rows(self, stored: _Stored, rows: Sequence[SealedRow], look_again: bool) -> bool:
        """Compare a block with entries; True, and nothing told, where they differ and `look_again`."""
        block = stored.block
        if block.format != FORMAT:
            self._report.add(of_block(block, f"has the format {block.format}, and this release knows {FORMAT} only"))
            return False
        same = _holds(stored, rows)
        try:
            sealed = unpack_fingerprints(block.first_offset, stored.fingerprints)
        except ValueError as error:
            self._report.add(of_block(block, f"was changed: {error}"))
            return False
        differing = compare_rows(block.topic, block.partition, sealed, rows)
        if look_again and (differing or not same):
            return True
        if len(sealed) != block.rows or (same and differing):
            self._report.add(of_block(block, "was changed: its fingerprints are not those of its entries"))
        elif not same and not differing:
            self._report.add(of_block(block, "was changed: its hash is not that of what it says and of its entries"))
        else:
            self._remember(differing)
            # All that it was sealed over is there, and more: then it must still hold over that.
            if all(one.kind == "inserted" for one in differing) and not _holds(stored, _without(rows, differing)):
                self._report.add(
                    of_block(block, "was changed: its hash is not that of what it says and of its entries")
                )
        return False

    def _remember(self, differing: Sequence[Finding]) -> None:
        room = max(0, _DIFFERING_MAX - len(self._differing))
        self._differing += differing[:room]
        for one in differing[room:]:
            self._report.add(one)

    def _by_offsets(self, block: Block) -> list[SealedRow]:
        """All entries in the offsets of a block, whenever they say that they were recorded."""
        part = self._part[(block.topic, block.partition), block.since]
        span = Span(block.partition, block.first_offset, block.next_offset, part.recorded_from, part.recorded_before)
        return list(read_rows(self._connection, block.topic, [span])) if span.first_offset < span.next_offset else []

    def _with_rows(self, batch: Sequence[_Stored]) -> Iterator[tuple[_Stored, list[SealedRow]]]:
        """Each block with the entries that are where its own were."""
        rows: dict[int, list[SealedRow]] = {id(stored): [] for stored in batch}
        ordered: dict[int, list[_Stored]] = defaultdict(list)
        for stored in batch:
            if stored.block.recorded_from is not None:
                ordered[stored.block.partition].append(stored)
        spans = [_span(stored.block) for of_partition in ordered.values() for stored in of_partition]
        begins = {
            partition: [stored.block.first_offset for stored in of_partition]
            for partition, of_partition in ordered.items()
        }
        for row in read_rows(self._connection, batch[0].block.topic, spans) if spans else ():
            at = bisect_right(begins[row.partition], row.offset) - 1
            rows[id(ordered[row.partition][at])].append(row)
        for stored in batch:
            yield stored, rows[id(stored)]

    def check_coverage(self) -> None:
        """Every entry: in a block, or not sealed yet, or where none may be; and as many as the sink has counted."""
        coverage = Coverage.read(self._connection, self._parts, self._filter)
        for part in self._parts:
            found = coverage.of(part)
            report = self._links.reports.setdefault(part.key, ChainReport(*part.key))
            if part.current and part.sealed:
                report.sealed_offset = part.sealed_offset
            if part.open:
                report.unsealed += found.unsealed
                if found.oldest is not None:
                    report.oldest_unsealed_at = min(found.oldest, report.oldest_unsealed_at or found.oldest)
            seen = self._seen[part.key, part.since]
            # A part that is over has nothing left to be sealed.
            strays = found.sealed - seen + (0 if part.open else found.unsealed)
            if strays:
                self._name_strays(part)
            if part.inserted is not None and found.rows != part.inserted:
                text = f"{found.rows} entries of {part.inserted} that the sink has counted"
                self._report.add(Finding("counter", *part.key, text))
        for key, number in coverage.outside.items():
            text = f"{number} entries of a partition that no sink has been at"
            self._report.add(Finding("inserted", *key, text), number)

    def _name_strays(self, part: Part) -> None:
        """Entries in a sealed range that were recorded at another time than any of its block's."""
        of_part = {"topic": part.topic, "partition": part.partition, "since": part.since}
        ranges = self._connection.execute(query("chain_ranges"), of_part).fetchall()
        begins = [first for first, *_ in ranges]
        times = {
            "recorded_from": as_text(part.recorded_from, "-infinity"),
            "recorded_before": as_text(part.recorded_before, "infinity"),
        }
        uncovered, lowest, highest = 0, 0, 0
        with psycopg.ServerCursor(self._connection, "chain_strays") as cursor:
            cursor.execute(query("chain_places"), {**of_part, **times})
            for offset, recorded_at, event_id in cursor:
                # Of several blocks that begin at one offset the last one is the one that has offsets at all.
                at = bisect_right(begins, offset) - 1
                first, end, since, until = ranges[at] if at >= 0 else (0, 0, None, None)
                if first <= offset < end:
                    if since is not None and since <= recorded_at <= until:
                        continue
                elif offset < part.sealed_offset:
                    # The entries come in the order of their offsets.
                    uncovered, lowest, highest = uncovered + 1, lowest if uncovered else offset, offset
                    continue
                elif part.open:
                    continue
                self._remember([inserted(part.topic, part.partition, offset, event_id)])
        if uncovered:
            text = f"{uncovered} entries from offset {lowest} to {highest} are in no block"
            self._report.add(Finding("block", part.topic, part.partition, text, lowest))

    def finish(self) -> VerifyReport:
        """The report, with all findings in order."""
        for finding in merged(self._differing):
            self._report.add(finding)
        for (topic, partition, number), hash_ in self._heads.items():
            text = f"block {number} with the hash {hash_[:16]}… was saved as a head, and is not in the chain"
            self._report.add(Finding("head", topic, partition, text))
        self._report.chains = [self._links.reports[key] for key in sorted(self._links.reports)]
        return self._report


def _holds(stored: _Stored, rows: Sequence[SealedRow]) -> bool:
    """Whether these rows, and what the block says of itself, are what was hashed."""
    return len(rows) == stored.block.rows and block_hash(stored.block, (row.digest for row in rows)) == stored.hash


def _without(rows: Sequence[SealedRow], findings: Sequence[Finding]) -> list[SealedRow]:
    """The rows that no finding names."""
    named = {(one.offset, one.event_id) for one in findings}
    return [row for row in rows if (row.offset, str(UUID(bytes=row.event_id))) not in named]


def _fits(batch: Sequence[_Stored], block: Block) -> bool:
    """Whether a block may be read with these: of the same topic, and of no partition that was made anew meanwhile."""
    if len(batch) >= BATCH_BLOCKS_MAX or block.topic != batch[0].block.topic:
        return False
    before = next((one.block for one in reversed(batch) if one.block.partition == block.partition), None)
    return before is None or (before.since == block.since and before.next_offset <= block.first_offset)


def _span(block: Block) -> Span:
    until = block.recorded_until
    before = None if until is None else until + _MICROSECOND
    return Span(block.partition, block.first_offset, block.next_offset, block.recorded_from, before)
