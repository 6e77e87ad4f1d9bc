"""The books of offsets: what was handed out, what is flushed, what is committed; where the changelog ends. Pure.

Three marks per source partition, each *next to read*: `next` (all below was processed), `flushed` (the
effects of all below are acknowledged) and `committed`; committed <= flushed <= next always holds.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Any

from faust.types import TP

_offset = attrgetter("offset")


class Progress:
    """The marks of the current assignment. A new assignment starts a new epoch: acknowledgements and
    commits that belong to an older one are ignored."""

    def __init__(self) -> None:
        self.epoch = 0
        self._next: dict[TP, int] = {}
        self._flushed: dict[TP, int] = {}
        self._committed: dict[TP, int | None] = {}

    def assign(self, starts: Mapping[TP, int], committed: Mapping[TP, int | None]) -> None:
        """Start an epoch: `starts` is where each partition is read from, `committed` what the group
        has on record (None: nothing yet)."""
        self.epoch += 1
        self._next = dict(starts)
        self._flushed = dict(starts)
        self._committed = {tp: committed.get(tp) for tp in starts}

    def clear(self) -> None:
        """Start an epoch without partitions."""
        self.assign({}, {})

    def __contains__(self, tp: TP) -> bool:
        return tp in self._next

    def partitions(self) -> list[TP]:
        """All partitions of the epoch, sorted."""
        return sorted(self._next)

    def fresh(self, tp: TP, records: Sequence[Any]) -> Sequence[Any]:
        """The records not processed yet in this epoch: a position that moved back delivers nothing twice."""
        first = self._next[tp]
        if records[0].offset >= first:
            return records
        return records[bisect_left(records, first, key=_offset) :]

    def processed(self, tp: TP, offset: int) -> None:
        """All records up to and including `offset` are processed."""
        if offset < self._next[tp]:
            raise ValueError(f"{tp}: offset {offset} was processed before, next is {self._next[tp]}")
        self._next[tp] = offset + 1

    def position(self, tp: TP) -> int:
        """The next offset to process."""
        return self._next[tp]

    def committed_offset(self, tp: TP) -> int | None:
        """The committed offset, None when the group has none."""
        return self._committed[tp]

    def snapshot(self, partition: int) -> dict[TP, int]:
        """The positions of all source topics of a partition, to be given to `flushed` later."""
        return {tp: offset for tp, offset in self._next.items() if tp.partition == partition}

    def flushed(self, snapshot: Mapping[TP, int], epoch: int) -> None:
        """The effects of everything below `snapshot`, taken in `epoch`, are acknowledged."""
        if epoch == self.epoch:
            for tp, offset in snapshot.items():
                self._flushed[tp] = max(self._flushed[tp], offset)

    def committable(self) -> dict[TP, int]:
        """Flushed and not yet committed."""
        starts = self._committed
        return {
            tp: offset
            for tp, offset in self._flushed.items()
            if offset > (committed if (committed := starts[tp]) is not None else 0)
        }

    def commit_succeeded(self, offsets: Mapping[TP, int], epoch: int) -> None:
        """The group has `offsets`, taken in `epoch`, on record."""
        if epoch == self.epoch:
            self._committed.update(offsets)

    def commits(self) -> dict[TP, int | None]:
        """What the group has on record for each partition, as far as this worker knows."""
        return dict(self._committed)

    def settled(self) -> bool:
        """True when everything processed is flushed and committed."""
        return not self.committable() and self._flushed == self._next


class Fences:
    """Which source offset to store with a change, so that a key's offset never goes backwards.

    After a crash some keys are ahead of the committed offset. While the records in between are replayed
    a key that is ahead keeps its own offset: its value already holds everything up to there. All other
    keys hold everything below the start, however little was processed since.
    """

    def __init__(self, start: int, ahead: Mapping[bytes, int]) -> None:
        """`start`: the position of the main topic. `ahead`: stored offsets by key; those below `start`
        are dropped."""
        self._floor = start - 1
        self._ahead = {key: offset for key, offset in ahead.items() if offset > self._floor}
        self._ahead_max = max(self._ahead.values(), default=-1)

    @property
    def applied(self) -> int:
        """Everything up to this offset is applied to all keys."""
        return self._floor

    def pass_by(self, source_offset: int) -> None:
        """Everything up to `source_offset` is applied to all keys."""
        self._floor = max(self._floor, source_offset)
        if self._floor >= self._ahead_max:
            self._ahead.clear()

    def stored_offset(self, key: bytes) -> int:
        """The offset to store with a change of `key`."""
        return max(self._floor, self._ahead.get(key, -1)) if self._ahead else self._floor


class LogEnd:
    """Where a log ends that has one writer at a time, so that what another one writes late is noticed."""

    def __init__(self, end: int) -> None:
        """`end`: the offset after the last record that was read or written."""
        self._end: int | None = end

    def wrote(self, base_offset: int, count: int) -> int:
        """Our next `count` records stand from `base_offset` on (negative: not told). How many of others lie before them.

        Negative where so many of the last ones are gone.
        """
        if base_offset < 0:
            self._end = None
            return 0
        between = 0 if self._end is None else base_offset - self._end
        self._end = base_offset + count
        return between

    def reaches(self, end: int) -> int:
        """The log ends here. How many records of others stand behind ours; a broker that is behind others may know too few."""
        between = 0 if self._end is None else max(0, end - self._end)
        self._end = end if self._end is None else self._end + between
        return between
