"""What passes between the runtime and a handler: batches, changes, outputs, flushes, health.

Offsets follow Kafka: a record's offset is its own; a position, a committed offset and a high-water
mark are *next to read*. `Flush.source_offset` alone is the offset of a record (the last one applied).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

ConsumerRecord = Any
"""aiokafka.structs.ConsumerRecord (aiokafka ships no types): offset, timestamp (ms), timestamp_type,
key, value (bytes or None), headers (sequence of (str, bytes))."""


@dataclass(frozen=True, slots=True)
class Batch:
    """The records of one fetch of one partition of one source topic, offsets ascending, never empty."""

    topic: str
    partition: int
    records: Sequence[ConsumerRecord]


@dataclass(frozen=True, slots=True)
class Change:
    """A state record to write; `value` None deletes the key. Keys do not begin with 0xFF.

    Its size has no limit: what does not fit into a batch is stored in parts.
    """

    key: bytes
    value: bytes | None


@dataclass(frozen=True, slots=True)
class Output:
    """A record to produce, acknowledged before the state that says it was produced is written.

    `partition` None: murmur2 of the key, as Java's partitioner does.
    """

    topic: str
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]]
    partition: int | None = None


@dataclass(frozen=True, slots=True)
class Flush:
    """What a partition has accumulated since its last flush.

    `changes`: each inner sequence is a group that lands in one Kafka record batch: all of it or nothing.
    `source_offset`: the last applied offset of the main topic, -1 when none ever was. It is stored with
    every change, so that `restore` can say up to where each key has been applied.
    """

    outputs: Sequence[Output]
    changes: Sequence[Sequence[Change]]
    source_offset: int


class StateRecord(NamedTuple):
    """A recovered key: its value and the main-topic offset up to which (inclusive) it has been applied.

    After a crash a key may be ahead of the committed offset, so records of the main topic up to
    `source_offset` are delivered again: a handler skips them, key by key.
    """

    key: bytes
    source_offset: int
    value: bytes


class Handler(Protocol):
    """The domain's side. All calls come on one event-loop thread, one at a time.

    `restore`, `process`, `flush`, `acknowledged`, `pending` and `revoke` are synchronous and CPU-bound. `process` may run while
    `flushed` or `tick` awaits. Any other exception out of any method stops the worker with exit code 1.
    """

    def restore(self, partition: int, records: Iterable[StateRecord], is_ours: Callable[[], bool]) -> None:
        """Take over a partition: called once after its recovery, before its first batch.

        `is_ours` says whether no other worker can own the partition by now: not before it is open, nor once it is released, nor
        while Kafka does not answer. To be asked after others were shut out of a store and before anything is written there: a
        worker that slept in between would shut out the owner.
        """

    def process(self, batch: Batch) -> None:
        """Apply a batch; or raise `Unavailable`, having applied nothing of it: it comes again a moment later."""

    def flush(self, partition: int) -> Flush | None:
        """Hand over what has accumulated since the last call; None = nothing to write."""

    def renew(self, partition: int, keys: Iterable[bytes]) -> None:
        """Have the next `flush` hand these keys over as they are held, also as deleted where they are not: another worker has
        written to them, and was no longer to."""

    def order(self, key: bytes, value: bytes) -> int | None:
        """What decides in a recovery which of two values of a key is the newer one, rather than the source offset: for keys that
        change with a prerequisite topic. None: nothing does."""

    def acknowledged(self, partition: int) -> None:
        """What the last `flush` handed over is durable. Not called where it handed over nothing."""

    def pending(self) -> int:
        """How many keys have changed since their partitions' last flushes, about: memory is bounded by it."""

    def revoke(self, partition: int) -> None:
        """Forget a partition: another worker has it, or it will be restored anew. Revoked in good order, it
        has been flushed and committed before. Not called when the stage stops."""

    async def flushed(self, partition: int) -> None:
        """The last flush is acknowledged: update views. Several flushes may share one call."""

    async def tick(self) -> None:
        """Called about once a second."""


@dataclass(frozen=True, slots=True)
class Health:
    """`ready`: recovered and reading. `reason`: why not, or None. `partitions`: of the main topic."""

    ready: bool
    partitions: tuple[int, ...]
    progress_age_seconds: float
    reason: str | None


@dataclass(frozen=True, slots=True)
class PartitionStats:
    """Offsets of one source partition; `committed` and `highwater` are None until known.

    `position` is the next offset to process, `lag` the records between what is committed (or, before
    the first commit, processed) and the high-water mark.
    """

    topic: str
    partition: int
    position: int
    committed: int | None
    highwater: int | None
    lag: int
