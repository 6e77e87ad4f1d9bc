"""What is there to be sealed: where the sink stands with each partition, against the newest block of its chain."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from costledger.sinks.chain.hashing import NO_HASH
from costledger.sinks.chain.rows import Span, parameters
from costledger.sinks.database import Connection
from costledger.sinks.queries import query

#: How much older than its sealing an entry may be and still be looked for first: a transaction, a missed minute.
_SLACK: Final = timedelta(minutes=5)


@dataclass(slots=True)
class Tail:
    """The newest block of a chain: what the next one follows on. `number` 0: there is none."""

    number: int = 0
    since: datetime | None = None
    next_offset: int = 0
    rows_total: int = 0
    missing: int = 0
    hash: bytes = NO_HASH
    sealed_at: datetime | None = None

    def begin(self, since: datetime, first_offset: int) -> None:
        """What follows is about another topic: the count begins anew, the chain goes on."""
        self.since, self.next_offset, self.rows_total, self.missing = since, first_offset, 0, 0


@dataclass(slots=True)
class Position:
    """Where the sink stands with a partition, and its chain."""

    partition: int
    first_offset: int
    next_offset: int
    since: datetime
    inserted: int
    tail: Tail

    @property
    def begun(self) -> bool:
        """Whether the chain is about this topic, and not about an earlier one of its name (or empty)."""
        return self.tail.number > 0 and self.tail.since == self.since

    @property
    def expected(self) -> int:
        """How many entries are to be sealed, by the sink's own count."""
        return self.inserted - self.tail.rows_total - self.tail.missing


class Found(NamedTuple):
    """Entries that are not sealed yet. `recorded_from` is the bound by which they were found: none is older."""

    rows: int
    oldest: datetime
    least_offset: int
    greatest_offset: int
    recorded_from: datetime | None


def read_positions(connection: Connection, topic: str) -> list[Position]:
    """The partitions of a topic that the sink has been at, in order."""
    rows = connection.execute(query("chain_tails"), {"topic": topic})
    return [
        Position(partition, first, next_offset, since, inserted, Tail() if tail[0] is None else Tail(*tail))
        for partition, first, next_offset, since, inserted, *tail in rows
    ]


def find_pending(
    connection: Connection, topic: str, positions: Sequence[Position], now: datetime, after_seconds: float
) -> dict[int, Found]:
    """The entries of each partition that are to be sealed; on one snapshot with the positions.

    They are looked for where they should be: among those recorded lately, then since the last block, then everywhere.
    The sink's count says whether all were found, so that a clock that was set back hides none.
    """
    found: dict[int, Found] = {}
    left = [one for one in positions if one.begun and one.expected != 0]
    lately = now - 2 * timedelta(seconds=after_seconds) - _SLACK
    for level in range(3):
        spans = []
        for one in left:
            sealed_at = one.tail.sealed_at or one.since
            bounds = (lately, sealed_at - timedelta(seconds=after_seconds) - _SLACK, one.since)
            # Entries from before the position was made are another topic's.
            bound = max(bounds[level], one.since)
            spans.append(Span(one.partition, one.tail.next_offset, one.next_offset, bound, None))
        found |= count(connection, topic, spans)
        left = [one for one in left if one.partition not in found or found[one.partition].rows != one.expected]
    return found


def count(connection: Connection, topic: str, spans: Iterable[Span]) -> dict[int, Found]:
    """The entries in spans, at most one for each partition; none where there are none."""
    by_partition = {span.partition: span for span in spans if span.first_offset < span.next_offset}
    if not by_partition:
        return {}
    rows = connection.execute(query("chain_pending"), parameters(topic, list(by_partition.values())))
    return {
        partition: Found(number, oldest, least, greatest, by_partition[partition].recorded_from)
        for partition, number, oldest, least, greatest in rows
    }
