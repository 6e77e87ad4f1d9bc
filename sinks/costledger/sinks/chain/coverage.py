"""Which entries the chains cover: those of each topic of a name, below and beyond the end of its blocks."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NamedTuple

from costledger.sinks.chain.links import ChainKey
from costledger.sinks.chain.rows import as_text
from costledger.sinks.database import Connection
from costledger.sinks.queries import query


@dataclass(frozen=True, slots=True)
class Part:
    """A partition of one topic of a name: its entries were recorded in [recorded_from, recorded_before).

    `since` as in its blocks. `sealed_offset`, `rows`: where these end, and what they hold; `sealed`: whether there are
    any. `open`: more may still be sealed. `current`: it is the topic that the sink is at, with `inserted` counted.
    """

    topic: str
    partition: int
    since: datetime | None
    recorded_from: datetime | None
    recorded_before: datetime | None
    sealed: bool
    sealed_offset: int
    rows: int
    open: bool
    current: bool
    inserted: int | None

    @property
    def key(self) -> ChainKey:
        """The chain that it belongs to."""
        return self.topic, self.partition


class Found(NamedTuple):
    """Entries of a part: all, those below the end of its blocks, and the oldest of the others."""

    rows: int = 0
    sealed: int = 0
    oldest: datetime | None = None

    @property
    def unsealed(self) -> int:
        """Entries beyond the end of the blocks."""
        return self.rows - self.sealed


def parts_of(ends: Iterable[Sequence[Any]], positions: Iterable[Sequence[Any]]) -> list[Part]:
    """The parts of all chains, in order, from what the blocks cover and where the sink stands. Pure.

    `ends`: rows of (topic, partition, since, next offset, rows) in the order of `since`; `positions`: rows of (topic,
    partition, since, inserted).
    """
    blocks: dict[ChainKey, list[tuple[datetime | None, int, int]]] = defaultdict(list)
    for topic, partition, since, next_offset, rows in ends:
        blocks[topic, partition].append((since, next_offset, rows))
    at: dict[ChainKey, tuple[datetime, int]] = {
        (topic, part): (since, count) for topic, part, since, count in positions
    }
    parts = []
    for key in sorted({*blocks, *at}):
        known = blocks.get(key, [])
        # Before the first topic of the name that the chain knows may have been others, and entries of theirs.
        listed: list[tuple[datetime | None, int, int, bool]] = [(*one, True) for one in known]
        if not listed or listed[0][0] is not None:
            listed.insert(0, (None, 0, 0, False))
        if key in at and listed[-1][0] != at[key][0]:
            listed.append((at[key][0], 0, 0, False))
        begun = bool(known) and (key not in at or known[-1][0] == at[key][0])
        for index, (since, sealed_offset, rows, sealed) in enumerate(listed):
            last = index == len(listed) - 1
            current = key in at and last
            parts.append(
                Part(
                    *key,
                    since,
                    since,
                    None if last else listed[index + 1][0],
                    sealed,
                    sealed_offset,
                    rows,
                    # What was there before is sealed right before the chain begins for the topic that is there now.
                    open=last or (not begun and (not known or since == known[-1][0])),
                    current=current,
                    inserted=at[key][1] if current else None,
                )
            )
    return parts


class Coverage:
    """Entries by part, and those that belong to none."""

    def __init__(self) -> None:
        self._found: dict[int, Found] = {}
        self.outside: dict[ChainKey, int] = {}
        self._numbers: dict[Part, int] = {}

    @classmethod
    def read(cls, connection: Connection, parts: Sequence[Part], partitions: Mapping[str, Any]) -> Coverage:
        """Count all entries of the ledger once."""
        coverage = cls()
        coverage._numbers = {part: number for number, part in enumerate(parts, start=1)}
        parameters = {
            **partitions,
            "parts": list(coverage._numbers.values()),
            "topics": [part.topic for part in parts],
            "of_partitions": [part.partition for part in parts],
            "recorded_from": [as_text(part.recorded_from, "-infinity") for part in parts],
            "recorded_before": [as_text(part.recorded_before, "infinity") for part in parts],
            "sealed_offsets": [part.sealed_offset for part in parts],
        }
        for topic, partition, number, *counts in connection.execute(query("chain_coverage"), parameters):
            if number:
                coverage._found[number] = Found(*counts)
            else:
                coverage.outside[topic, partition] = counts[0]
        return coverage

    def of(self, part: Part) -> Found:
        """The entries of a part."""
        return self._found.get(self._numbers[part], Found())
