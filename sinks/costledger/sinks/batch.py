"""A batch: what goes into the ledger in one transaction, gathered from messages. Pure, no I/O.

Offsets mean *next to read*. A partition's position moves only over offsets that are accounted for: a message
that became a row or was put aside, or an offset that held no message (a gap).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, NamedTuple

from costledger.schemas.errors import DecodeError, InvalidEvent, OversizeMessage, Unavailable
from costledger.schemas.event_reading import read_event
from costledger.sinks.packing import pack_read
from costledger.sinks.rows import Message, Row, read_run, received_us

ID_CONFLICT: Final = "id_conflict"
DATA_ERROR: Final = "data_error"
#: Reasons that the stream app cannot see: these the sink also owes to the dead-letter topic.
SINK_ONLY_REASONS: Final = frozenset({ID_CONFLICT, DATA_ERROR})

#: What is kept of a message that was put aside; of a larger one its place and reason. Many times what an event may have.
KEPT_BYTES_MAX: Final = 128 * 1024


class Rejected(NamedTuple):
    """A message that cannot become an entry. `received_us` is the broker's clock, Unix microseconds."""

    partition: int
    offset: int
    reason: str
    error: str
    key: bytes | None
    payload: bytes | None
    received_us: int | None


@dataclass(slots=True)
class Span:
    """The part of a batch that belongs to one partition: offsets [expected_offset, next_offset)."""

    epoch: int
    expected_offset: int
    next_offset: int
    skipped: int = 0


@dataclass(slots=True)
class Batch:
    """Rows and rejected messages in the order of their offsets, and the spans that they cover."""

    rows: list[Row] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    spans: dict[int, Span] = field(default_factory=dict)
    payload_bytes: int = 0

    @property
    def events(self) -> int:
        """How many messages the batch holds."""
        return len(self.rows) + len(self.rejected)

    def without(self, partitions: Iterable[int]) -> Batch:
        """The same batch less some partitions."""
        gone = set(partitions)
        return Batch(
            rows=[row for row in self.rows if row.partition not in gone],
            rejected=[bad for bad in self.rejected if bad.partition not in gone],
            spans={partition: span for partition, span in self.spans.items() if partition not in gone},
            payload_bytes=self.payload_bytes,
        )


class _Sync(Enum):
    """Whether the messages of a partition follow on its position."""

    FRESH = "claimed, nothing read yet"
    ASTRAY = "the first message was not the expected one: seek, then look again"
    SYNCED = "messages follow one another; a gap is a gap"


@dataclass(slots=True)
class _Position:
    epoch: int
    next_offset: int
    sync: _Sync = _Sync.FRESH


class Gatherer:
    """Gathers messages into a batch, and knows the position of each partition that is ours.

    Messages of other partitions and repeats of offsets below the position are dropped: after a rebalance the
    client may still hand over what it had fetched before. For the same reason a gap right after a partition
    was claimed is believed only after a seek (`astray`).
    """

    def __init__(self, topic: str, rows_max: int, bytes_max: int) -> None:
        self.topic = topic
        self._rows_max = rows_max
        self._bytes_max = bytes_max
        self._positions: dict[int, _Position] = {}
        self._batch = Batch()
        #: Partitions that delivered offsets below their position since the last look: perhaps a topic made anew.
        self.behind: set[int] = set()

    def claim(self, partition: int, next_offset: int, epoch: int) -> None:
        """The partition is ours from `next_offset`, with this epoch."""
        self.drop([partition])
        self._positions[partition] = _Position(epoch, next_offset)

    def drop(self, partitions: Iterable[int]) -> None:
        """The partitions are not ours any more: forget what was gathered of them."""
        gone = set(partitions)
        for partition in gone:
            self._positions.pop(partition, None)
        self.behind -= gone
        if gone & self._batch.spans.keys():
            self._batch = self._batch.without(gone)

    def owns(self, partition: int, epoch: int) -> bool:
        """Whether the partition is ours, still with this epoch."""
        position = self._positions.get(partition)
        return position is not None and position.epoch == epoch

    def positions(self) -> dict[int, int]:
        """The next offset to read of each partition that is ours."""
        return {partition: position.next_offset for partition, position in self._positions.items()}

    def astray(self) -> dict[int, int]:
        """Partitions that must be set to these offsets by a seek, to be confirmed with `sought`."""
        return {
            partition: position.next_offset
            for partition, position in self._positions.items()
            if position.sync is _Sync.ASTRAY
        }

    def doubt(self) -> None:
        """Consumption was interrupted: the next message of each partition must be the expected one again."""
        for position in self._positions.values():
            if position.sync is _Sync.SYNCED:
                position.sync = _Sync.FRESH

    def sought(self, partition: int) -> None:
        """The seek was done: from here on what comes is believed."""
        self._positions[partition].sync = _Sync.SYNCED

    @property
    def full(self) -> bool:
        """Whether the batch has reached a bound."""
        return len(self._batch.rows) + len(self._batch.rejected) >= self._rows_max or (
            self._batch.payload_bytes >= self._bytes_max
        )

    @property
    def empty(self) -> bool:
        """Whether there is nothing to write, not even a gap."""
        return not self._batch.spans

    @property
    def rows_left(self) -> int:
        """How many messages the batch can still take."""
        return max(0, self._rows_max - self._batch.events)

    def seal(self) -> Batch:
        """The batch as it is; a new one begins."""
        sealed, self._batch = self._batch, Batch()
        return sealed

    def add_run(self, messages: Sequence[Message], start: int) -> int:
        """Take the messages from `start` on that are rows and follow the position of the first one's partition.

        The place in `messages` of the first one that is not taken: it is for `add`. Raises `Unavailable` as `add` does,
        with those before taken.
        """
        if start == len(messages) or (first := messages[start]).error() is not None:
            return start
        partition, offset = first.partition(), first.offset()
        position = None if partition is None else self._positions.get(partition)
        if (
            partition is None
            or position is None
            or offset != position.next_offset
            or not self._reach(partition, offset)
        ):
            return start
        batch = self._batch
        end, payload_bytes, away = read_run(self.topic, partition, offset, messages, start, batch.rows)
        batch.payload_bytes += payload_bytes
        batch.spans[partition].next_offset = position.next_offset = offset + end - start
        if away is not None:
            position.sync = _Sync.ASTRAY
            raise away
        return end

    def add(self, message: Message) -> None:
        """Take one message: a row, or put aside. Raises `Unavailable` where its schema cannot be had now.

        The position then stays before the message, and the partition is astray.
        """
        partition, offset = message.partition(), message.offset()
        if partition is None or offset is None or not self._reach(partition, offset):
            return
        stored_us = received_us(message)
        # A message without a value is an empty one: both consumers of the topic refuse it alike.
        payload = message.value() or b""
        batch = self._batch
        try:
            event = read_event(payload, stored_us)
        except (DecodeError, InvalidEvent) as error:
            batch.rejected.append(rejected(message, error.reason, str(error)))
        except Unavailable:
            self._positions[partition].sync = _Sync.ASTRAY
            raise
        else:
            packed = pack_read(self.topic, partition, offset, stored_us, event)
            batch.rows.append(Row(partition, offset, event, packed, message))
        batch.payload_bytes += len(payload)
        batch.spans[partition].next_offset = self._positions[partition].next_offset = offset + 1

    def refuse(self, partition: int, first: int, end: int, error: str) -> bool:
        """Put aside the offsets [first, end) of a record batch that cannot be read, as many as the batch has room for.

        False where some are left for the next batch. Afterwards the client has to be set behind them (`astray`).
        """
        position = self._positions.get(partition)
        if position is None:
            return True
        offset = max(first, position.next_offset)
        if offset >= end or not self._reach(partition, offset):
            return True
        span, last = self._batch.spans[partition], min(end, offset + self.rows_left)
        self._batch.rejected += [unread(partition, one, error) for one in range(offset, last)]
        span.next_offset = position.next_offset = last
        position.sync = _Sync.ASTRAY if last == end else position.sync
        return last == end

    def end(self, partition: int, offset: int) -> None:
        """The partition has been read up to its end, `offset`: what is before it and was not seen is a gap."""
        position = self._positions.get(partition)
        if position is not None and offset > position.next_offset:
            self._reach(partition, offset)

    def _reach(self, partition: int, offset: int) -> bool:
        # Moves the position up to the offset, counting a gap; False where the offset is none of ours now.
        position = self._positions.get(partition)
        if position is None or position.sync is _Sync.ASTRAY:
            return False
        gap = offset - position.next_offset
        if gap < 0:
            self.behind.add(partition)
            return False
        if gap and position.sync is _Sync.FRESH:
            position.sync = _Sync.ASTRAY
            return False
        position.sync = _Sync.SYNCED
        span = self._batch.spans.get(partition)
        if span is None:
            span = Span(position.epoch, position.next_offset, position.next_offset)
            self._batch.spans[partition] = span
        if gap:
            span.skipped += gap
            span.next_offset = position.next_offset = offset
        return True


def unread(partition: int, offset: int, error: str) -> Rejected:
    """The message at a place that cannot be read, as one to be put aside."""
    return Rejected(partition, offset, OversizeMessage.reason, error, None, None, None)


def rejected(message: Message, reason: str, error: str) -> Rejected:
    """The message as one to be put aside."""
    partition, offset = message.partition(), message.offset()
    if partition is None or offset is None:
        raise ValueError("a message from a topic has a partition and an offset")
    key, value = message.key(), message.value()
    size = len(key or b"") + len(value or b"")
    if size > KEPT_BYTES_MAX:
        digest = hashlib.sha256(value or b"").hexdigest()
        key, value = (key if size - len(value or b"") <= KEPT_BYTES_MAX else None), None
        error = f"{error} (not kept: key and value have {size} bytes; SHA-256 of the value: {digest})"
    return Rejected(partition, offset, reason, error, key, value, received_us(message))
