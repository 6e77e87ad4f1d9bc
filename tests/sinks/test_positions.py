"""The guard of the ledger's positions, where a batch has partitions that went to another sink meanwhile."""

from __future__ import annotations

import pytest
from tests.sinks.conftest import Ledger

from costledger.sinks.batch import Batch, Span
from costledger.sinks.positions import AlreadyWritten, Counts, Fenced, advance, claim

TOPIC = "events"


def batch_of(claimed: dict[int, tuple[int, int]]) -> Batch:
    """Five messages of each partition."""
    spans = {
        partition: Span(epoch, next_offset, next_offset + 5) for partition, (next_offset, epoch) in claimed.items()
    }
    return Batch(spans=spans)


def positions(ledger: Ledger) -> list[tuple[int, int]]:
    """(partition, next offset)."""
    return ledger.all("SELECT partition, next_offset FROM ledger.sink_offsets ORDER BY 1")


def write(ledger: Ledger, batch: Batch) -> None:
    """As the writer does, in one transaction."""
    with ledger.connection.transaction():
        advance(ledger.connection, TOPIC, batch, Counts())


def test_a_batch_of_which_some_partitions_were_taken_over_is_fenced(ledger: Ledger) -> None:
    """It names these, and nothing moves: what it would have moved of the others itself is no commit of before."""
    batch = batch_of(claim(ledger.connection, TOPIC, [0, 1, 2]))
    claim(ledger.connection, TOPIC, [0])
    with pytest.raises(Fenced) as fenced:
        write(ledger, batch)
    assert fenced.value.partitions == [0]
    assert positions(ledger) == [(0, 0), (1, 0), (2, 0)]
    write(ledger, batch.without([0]))
    assert positions(ledger) == [(0, 0), (1, 5), (2, 5)]


@pytest.mark.parametrize("taken", [[], [0], [0, 1]])
def test_a_batch_that_was_committed_is_recognised_by_what_is_still_ours(ledger: Ledger, taken: list[int]) -> None:
    """Its reply was lost; meanwhile others may have taken partitions over, and moved them on."""
    batch = batch_of(claim(ledger.connection, TOPIC, [0, 1, 2]))
    write(ledger, batch)
    if taken:
        write(ledger, batch_of(claim(ledger.connection, TOPIC, taken)))
    before = positions(ledger)
    with pytest.raises(AlreadyWritten):
        write(ledger, batch)
    assert positions(ledger) == before


def test_a_partition_of_which_nothing_was_read_tells_nothing(ledger: Ledger) -> None:
    """Its place is at the end of the batch before and after; whether the batch was committed is seen by the others."""
    claimed = claim(ledger.connection, TOPIC, [0, 1])
    batch = batch_of(claimed)
    batch.spans[0].next_offset = batch.spans[0].expected_offset
    write(ledger, batch)
    with pytest.raises(AlreadyWritten):
        write(ledger, batch)
    claim(ledger.connection, TOPIC, [1])
    with pytest.raises(Fenced) as fenced:
        write(ledger, batch)
    assert fenced.value.partitions == [1]
    write(ledger, batch.without([1]))
    assert positions(ledger) == [(0, 0), (1, 5)]


def test_a_batch_of_which_everything_was_taken_over_is_fenced(ledger: Ledger) -> None:
    """Nobody can tell whether it was committed, and nobody needs to: the new owner began where the ledger stood."""
    batch = batch_of(claim(ledger.connection, TOPIC, [0, 1]))
    write(ledger, batch)
    claim(ledger.connection, TOPIC, [0, 1])
    with pytest.raises(Fenced) as fenced:
        write(ledger, batch)
    assert fenced.value.partitions == [0, 1]


@pytest.mark.parametrize("elsewhere", [2, 7])
def test_a_position_that_somebody_has_moved_under_a_sink_is_fenced(ledger: Ledger, elsewhere: int) -> None:
    """Set back, the batch would jump over what was to be read again; set forward, it would be there twice."""
    claimed = claim(ledger.connection, TOPIC, [0])
    write(ledger, batch_of(claimed))
    ((_, epoch),) = claimed.values()
    ledger.connection.execute(f"UPDATE ledger.sink_offsets SET next_offset = {elsewhere}".encode())
    with pytest.raises(Fenced):
        write(ledger, Batch(spans={0: Span(epoch, 5, 10)}))
    assert positions(ledger) == [(0, elsewhere)]
