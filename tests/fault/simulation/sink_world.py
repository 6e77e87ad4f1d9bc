"""Sinks without Kafka: a topic as lists of offsets, a group that takes partitions away, processes that die or sleep.

The gatherer is the real one. `Table` is where positions and entries are: a plain model here, PostgreSQL in another module.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from typing import Literal, NamedTuple, Protocol

from tests.sinks.conftest import make_event

from costledger.schemas.codec import decode_event, encode_event
from costledger.schemas.errors import Unavailable
from costledger.schemas.event_reading import ReadEvent, read_event
from costledger.sinks.batch import Batch, Gatherer
from costledger.sinks.positions import Fenced

PARTITIONS = 3
ROWS_MAX = 12
#: The payload whose schema nobody can be asked for, while the registry is away.
LATER = b"later"

#: What becomes of an attempt to write: done; done, and the reply lost; failed before the commit.
Fate = Literal["done", "lost", "failed"]


class Away(Exception):
    """The attempt failed, or seemed to: to be tried again."""


class Slot(NamedTuple):
    """One offset of a partition: which event it has (None: no message there), and how."""

    event: int | None
    kind: Literal["good", "bad", "conflict", "gap", "later"]

    def payload(self) -> bytes:
        """The message's value."""
        if self.kind in ("bad", "later") or self.event is None:
            return LATER if self.kind == "later" else b"bad"
        return payload_of(self.event, self.kind == "conflict")


@cache
def payload_of(number: int, is_changed: bool) -> bytes:
    """An event, or another event with its id."""
    if not is_changed:
        return encode_event(make_event(f"user-{number % 3}", amount=number * 10**9).to_record())
    record = decode_event(payload_of(number, False))
    return encode_event({**record, "amount": 7})


@dataclass
class Message:
    """A slot as a client hands it over."""

    at: int
    on: int
    payload: bytes

    def error(self) -> None:
        """It is a message."""

    def partition(self) -> int:
        """Of the one topic."""
        return self.on

    def offset(self) -> int:
        """In the partition."""
        return self.at

    def key(self) -> bytes | None:
        """None has one."""
        return None

    def value(self) -> bytes | None:
        """The payload."""
        return self.payload

    def timestamp(self) -> tuple[int, int]:
        """Not known."""
        return (0, -1)


class Table(Protocol):
    """`ledger.sink_offsets` and the entries of one topic. Its events have numbers from `first_event` on."""

    topic: str
    first_event: int

    def claim(self, partitions: list[int]) -> dict[int, tuple[int, int]]:
        """Take partitions over: {partition: (next offset, epoch)}."""
        ...

    def write(self, batch: Batch, fate: Fate) -> None:
        """One attempt; `Away`, or `Fenced`. An earlier attempt that was committed after all counts as done."""
        ...

    def counters(self) -> dict[int, Counter[str]]:
        """By partition: consumed, inserted, duplicates, quarantined, skipped."""
        ...

    def entries(self) -> Counter[tuple[int, int]]:
        """How often (partition, offset) is in the ledger."""
        ...

    def quarantined(self) -> Counter[tuple[int, int]]:
        """How often (partition, offset) was put aside."""
        ...


@dataclass
class Standing:
    """A row of the model: where a partition stands and who has it."""

    next_offset: int = 0
    epoch: int = 0


@dataclass
class ModelTable:
    """The table as plain dictionaries."""

    topic: str = "t"
    first_event: int = 0
    standings: dict[int, Standing] = field(default_factory=dict)
    ledger: dict[str, tuple[int, int, bytes]] = field(default_factory=dict)
    aside: Counter[tuple[int, int]] = field(default_factory=Counter)
    counts: dict[int, Counter[str]] = field(default_factory=dict)

    def claim(self, partitions: list[int]) -> dict[int, tuple[int, int]]:
        """As the statement does."""
        claimed = {}
        for partition in partitions:
            standing = self.standings.setdefault(partition, Standing())
            standing.epoch += 1
            claimed[partition] = (standing.next_offset, standing.epoch)
        return claimed

    def write(self, batch: Batch, fate: Fate) -> None:
        """All or nothing."""
        if fate == "failed":
            raise Away
        moved = [
            partition
            for partition, span in batch.spans.items()
            if self.standings[partition] == Standing(span.expected_offset, span.epoch)
        ]
        if len(moved) < len(batch.spans):
            if not any(
                self.standings[partition] == Standing(span.next_offset, span.epoch)
                and span.next_offset != span.expected_offset
                for partition, span in batch.spans.items()
            ):
                raise Fenced(batch.spans.keys() - set(moved))
        else:
            self._apply(batch)
        if fate == "lost":
            raise Away

    def _apply(self, batch: Batch) -> None:
        for partition, span in batch.spans.items():
            counts = self.counts.setdefault(partition, Counter())
            counts["consumed"] += span.next_offset - span.expected_offset
            counts["skipped"] += span.skipped
            self.standings[partition].next_offset = span.next_offset
        for row in batch.rows:
            value = row.message.value() or b""
            held = self.ledger.get(row.event[0])
            if held is None:
                self.ledger[row.event[0]] = (row.partition, row.offset, value)
                self.counts[row.partition]["inserted"] += 1
            elif held[2] == value:
                self.counts[row.partition]["duplicates"] += 1
            else:
                self._put_aside(row.partition, row.offset)
        for bad in batch.rejected:
            self._put_aside(bad.partition, bad.offset)

    def _put_aside(self, partition: int, offset: int) -> None:
        self.aside[partition, offset] += 1
        self.counts[partition]["quarantined"] += 1

    def counters(self) -> dict[int, Counter[str]]:
        """What was counted."""
        return self.counts

    def entries(self) -> Counter[tuple[int, int]]:
        """Places of the entries."""
        return Counter((partition, offset) for partition, offset, _ in self.ledger.values())

    def quarantined(self) -> Counter[tuple[int, int]]:
        """Places of what was put aside."""
        return self.aside


class Process:
    """A sink: what it has gathered, what it is writing, and where its Kafka client reads on."""

    def __init__(self, table: Table, topic: list[list[Slot]]) -> None:
        self.table = table
        self.topic = topic
        self.gatherer = Gatherer(table.topic, rows_max=ROWS_MAX, bytes_max=10**9)
        self.writing: Batch | None = None
        self.reads_on: dict[int, int] = {}
        self.is_asleep = False

    def assign(self, partitions: list[int]) -> None:
        """Claim partitions; the client reads them from where the ledger is."""
        for partition, (next_offset, epoch) in self.table.claim(partitions).items():
            self.gatherer.claim(partition, next_offset, epoch)
            self.reads_on[partition] = next_offset

    def let_go(self, partitions: set[int]) -> None:
        """Revoked or lost: nothing that was gathered of them is written later."""
        self.gatherer.drop(partitions)
        for partition in partitions:
            self.reads_on.pop(partition, None)

    def deliver(self, partition: int, count: int) -> None:
        """The client's next messages; the sink reads no more with a full batch, nor after a registry that is away."""
        messages = self._fetched(partition, min(count, self.gatherer.rows_left))
        place = 0
        # Where the registry is away, what else the client has handed over comes again after the seek.
        with suppress(Unavailable):
            while (place := self.gatherer.add_run(messages, place)) < len(messages):
                self.gatherer.add(messages[place])
                place += 1

    def _fetched(self, partition: int, count: int) -> list[Message]:
        slots, messages = self.topic[partition], []
        while len(messages) < count and self.reads_on.get(partition, len(slots)) < len(slots):
            at = self.reads_on[partition]
            self.reads_on[partition] = at + 1
            if slots[at].kind != "gap":
                messages.append(Message(at, partition, slots[at].payload()))
        return messages

    def reach_end(self, partition: int) -> None:
        """The client has passed everything, and says where the partition ends."""
        if self.reads_on.get(partition) == len(self.topic[partition]) and not self.gatherer.full:
            self.gatherer.end(partition, len(self.topic[partition]))

    def seek(self) -> None:
        """Set astray partitions to where they should be."""
        for partition, offset in self.gatherer.astray().items():
            self.reads_on[partition] = offset
            self.gatherer.sought(partition)

    def write(self, fate: Fate) -> bool:
        """One attempt at the batch that is being written; False where this process must end, having been fenced."""
        if self.writing is None:
            if self.gatherer.empty:
                return True
            self.writing = self.gatherer.seal()
        batch = self.writing
        try:
            self.table.write(batch, fate)
        except Away:
            return True
        except Fenced as fenced:
            if any(self.gatherer.owns(partition, batch.spans[partition].epoch) for partition in fenced.partitions):
                return False
            rest = batch.without(fenced.partitions)
            self.writing = rest if rest.spans else None
            return True
        self.writing = None
        return True


def reading(is_away: Callable[[], bool]) -> Callable[[bytes, int | None], ReadEvent]:
    """The reader of events, with a schema registry that is away at times; while it is there, `LATER` is no event."""

    def read_or_wait(payload: bytes, received_at_us: int | None) -> ReadEvent:
        if payload == LATER and is_away():
            raise Unavailable("the registry is away")
        return read_event(payload, received_at_us)

    return read_or_wait
