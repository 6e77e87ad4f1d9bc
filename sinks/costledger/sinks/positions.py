"""`ledger.sink_offsets`: where each partition stands, and who owns it.

The guard is in the transaction that writes the batch: a partition moves from the offset that this process
expects and under the epoch that it claimed, or the whole transaction is rolled back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from costledger.schemas.errors import CostledgerError
from costledger.sinks.batch import Batch
from costledger.sinks.chain.sealing import seal
from costledger.sinks.database import Connection
from costledger.sinks.queries import query


class Fenced(CostledgerError):
    """Another process has taken partitions over; nothing of the batch was written."""

    def __init__(self, partitions: Iterable[int]) -> None:
        self.partitions = sorted(partitions)
        super().__init__(f"another process owns the partitions {self.partitions}")


class AlreadyWritten(CostledgerError):
    """An earlier attempt at this batch was committed, although its reply was lost."""


@dataclass(slots=True)
class Counts:
    """What became of a batch's messages, by partition."""

    inserted: Counter[int] = field(default_factory=Counter)
    duplicates: Counter[int] = field(default_factory=Counter)
    quarantined: Counter[int] = field(default_factory=Counter)
    unpriced: Counter[int] = field(default_factory=Counter)


def claim(connection: Connection, topic: str, partitions: Iterable[int]) -> dict[int, tuple[int, int]]:
    """Take partitions over: {partition: (next offset, epoch)}. Their former owner is fenced from here on."""
    parameters = {"topic": topic, "partitions": sorted(partitions)}
    with connection.transaction():
        rows = connection.execute(query("claim_partitions"), parameters).fetchall()
    return {partition: (next_offset, epoch) for partition, next_offset, epoch in rows}


def advance(connection: Connection, topic: str, batch: Batch, counts: Counts) -> None:
    """Move the positions over a batch, in the transaction that is open.

    Raises `Fenced`, or `AlreadyWritten` where an earlier attempt of this same process moved them.
    """
    spans = sorted(batch.spans.items())
    partitions = [partition for partition, _ in spans]
    parameters = {
        "topic": topic,
        "partitions": partitions,
        "epochs": [span.epoch for _, span in spans],
        "expected_offsets": [span.expected_offset for _, span in spans],
        "next_offsets": [span.next_offset for _, span in spans],
        "skipped": [span.skipped for _, span in spans],
        "inserted": [counts.inserted[partition] for partition in partitions],
        "duplicates": [counts.duplicates[partition] for partition in partitions],
        "quarantined": [counts.quarantined[partition] for partition in partitions],
        "unpriced": [counts.unpriced[partition] for partition in partitions],
    }
    moved = {partition for (partition,) in connection.execute(query("advance_offsets"), parameters)}
    if len(moved) != len(spans):
        _settle(connection, topic, batch, set(partitions) - moved)
        raise Fenced(set(partitions) - moved)


def _settle(connection: Connection, topic: str, batch: Batch, unmoved: set[int]) -> None:
    """Raise `AlreadyWritten` where an attempt whose reply was lost was committed.

    An epoch belongs to one process, so a position at the batch's end under our epoch is our own work. One transaction
    moved all partitions or none, so any that is still ours tells for all; but not one that was moved just now, in the
    transaction that is open (`unmoved`: the others): where some of the partitions went to another sink, that is none yet.
    """
    parameters = {"topic": topic, "partitions": sorted(unmoved)}
    rows = connection.execute(query("lock_offsets"), parameters).fetchall()
    found = {partition: (next_offset, epoch) for partition, next_offset, epoch in rows}
    written = [
        partition
        for partition, span in batch.spans.items()
        if partition in unmoved
        and found.get(partition) == (span.next_offset, span.epoch)
        and span.next_offset != span.expected_offset
    ]
    if written:
        raise AlreadyWritten(f"partitions {sorted(written)} are at the end of this batch already")


def forget(connection: Connection, topic: str) -> int:
    """Forget the positions of a topic that was made anew (a broker without its former data); returns how many.

    Only while no sink runs; as the ledger's owner, in autocommit mode. The next sink reads the topic from its start; what
    is in the ledger already is recognised by its event ids and counted as duplicates. Its entries are sealed in the hash
    chain first: afterwards nobody could tell which of two topics of a name an offset is of.
    """
    seal(connection, topic)
    return connection.execute("DELETE FROM ledger.sink_offsets WHERE topic = %s", (topic,)).rowcount
