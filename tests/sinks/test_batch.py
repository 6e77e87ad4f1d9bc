"""Gathering: every offset is accounted for once, whatever order a client delivers in."""

from __future__ import annotations

import hashlib
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.sinks.delivered import GOOD, Delivered

from costledger.sinks.bad_share import BadShare, TooManyBad
from costledger.sinks.batch import KEPT_BYTES_MAX, Gatherer


def message(at: int, payload: bytes | None = GOOD, on: int = 0) -> Delivered:
    """Of partition 0, unless another is said."""
    return Delivered(on, at, payload)


def gatherer(next_offset: int = 0) -> Gatherer:
    """A gatherer that owns partition 0."""
    one = Gatherer("t", rows_max=10_000, bytes_max=10**9)
    one.claim(0, next_offset, epoch=1)
    return one


@given(st.lists(st.integers(0, 40), max_size=200), st.integers(1, 7))
def test_every_offset_is_accounted_for_once(offsets: list[int], seal_every: int) -> None:
    """Rows, refusals and gaps of all batches tile the offsets up to the position, whatever is delivered."""
    one = gatherer()
    delivered, believed, at = set(), 0, 0
    spans = []
    for number, offset in enumerate(offsets):
        for partition in one.astray():
            one.sought(partition)
        before = one.positions()[0]
        one.add(message(offset, GOOD if offset % 3 else b"bad"))
        if one.positions()[0] != before:
            delivered.add(offset)
        if not number % seal_every:
            batch = one.seal()
            spans += [(batch, span) for span in batch.spans.values()]
    batch = one.seal()
    spans += [(batch, span) for span in batch.spans.values()]
    for batch, span in spans:
        assert span.expected_offset == at
        at = span.next_offset
        assert batch.events + span.skipped == span.next_offset - span.expected_offset
        believed += batch.events
    assert at == one.positions()[0]
    assert believed == len(delivered)


def test_a_gap_right_after_a_claim_is_believed_only_after_a_seek() -> None:
    """A client that still holds messages from before a rebalance cannot make offsets disappear."""
    one = gatherer(100)
    one.add(message(150))
    assert one.empty
    assert one.astray() == {0: 100}
    one.add(message(151))
    assert one.empty
    one.sought(0)
    one.add(message(100))
    assert one.positions() == {0: 101}
    assert one.seal().spans[0].skipped == 0


def test_a_gap_after_an_interruption_is_doubted() -> None:
    """After a pause the next message must be the expected one, or a seek decides."""
    one = gatherer()
    one.add(message(0))
    one.doubt()
    one.add(message(5))
    assert one.astray() == {0: 1}
    one.sought(0)
    one.add(message(5))
    span = one.seal().spans[0]
    assert (span.next_offset, span.skipped) == (6, 4)


def test_the_end_of_a_partition_closes_a_gap() -> None:
    """Transaction markers at the end of a partition are passed when the client says where the end is."""
    one = gatherer()
    one.add(message(0))
    one.end(0, 2)
    span = one.seal().spans[0]
    assert (span.expected_offset, span.next_offset, span.skipped) == (0, 2, 1)
    one.end(0, 2)
    assert one.empty


def test_offsets_below_the_position_are_dropped_and_reported() -> None:
    """A repeat of an offset changes nothing, and makes the topic's range be looked at."""
    one = gatherer(10)
    one.add(message(9))
    assert one.empty
    assert one.behind == {0}


def test_what_is_dropped_leaves_the_batch() -> None:
    """A partition that is taken away takes its rows along, and only its own."""
    one = gatherer()
    one.claim(1, 0, epoch=4)
    one.add(message(0))
    one.add(message(0, b"bad", on=1))
    one.drop([0])
    batch = one.seal()
    assert (batch.rows, len(batch.rejected), list(batch.spans)) == ([], 1, [1])
    assert one.owns(1, 4)
    assert not one.owns(1, 3)
    assert not one.owns(0, 1)


def test_a_batch_is_full_by_rows_or_bytes() -> None:
    """Either bound ends a batch."""
    by_rows = Gatherer("t", rows_max=1, bytes_max=10**9)
    by_bytes = Gatherer("t", rows_max=100, bytes_max=10)
    for one in (by_rows, by_bytes):
        one.claim(0, 0, 1)
        assert not one.full
        one.add(message(0))
        assert one.full


def test_a_few_bad_events_at_the_start_are_no_reason_to_stop() -> None:
    """The share is taken of the whole window."""
    share = BadShare(100, Decimal("0.5"))
    share.check(50, 50)
    share.add(50, 50)
    with pytest.raises(TooManyBad, match="51 of the last 51 events are bad; at most 50"):
        share.check(1, 1)
    share.check(1, 0)


def test_old_batches_leave_the_window() -> None:
    """Bad events are forgotten once a window of others has passed."""
    share = BadShare(100, Decimal("0.5"))
    share.add(50, 50)
    share.add(100, 0)
    share.check(50, 50)


def test_a_batch_beyond_the_window_is_judged_by_its_share() -> None:
    """A large batch may hold as large a share as the window."""
    share = BadShare(100, Decimal("0.5"))
    share.check(1_000, 500)
    with pytest.raises(TooManyBad):
        share.check(1_000, 501)


def test_with_a_share_of_one_all_may_be_bad() -> None:
    """Nothing stops the sink then, also where the events at hand are no whole number of windows."""
    share = BadShare(100, Decimal(1))
    share.add(90, 90)
    share.check(60, 60)
    share.check(250, 250)


def test_a_record_batch_that_cannot_be_read_is_put_aside_offset_by_offset() -> None:
    """As many as the batch has room for; then the rest; then the client is set behind them, and what follows is taken."""
    gatherer = Gatherer("t", 3, 10**6)
    gatherer.claim(0, 5, 1)
    assert not gatherer.refuse(0, 4, 10, "a bomb")
    assert [(one.offset, one.reason, one.payload) for one in gatherer.seal().rejected] == [
        (offset, "oversize", None) for offset in (5, 6, 7)
    ]
    assert gatherer.refuse(0, 4, 10, "a bomb")
    assert gatherer.astray() == {0: 10}
    gatherer.sought(0)
    gatherer.add(message(10))
    sealed = gatherer.seal()
    assert [one.offset for one in sealed.rejected] == [8, 9]
    assert [row.offset for row in sealed.rows] == [10]
    assert sealed.spans[0].next_offset == 11
    assert sealed.spans[0].skipped == 0


def test_what_is_too_large_is_put_aside_without_its_bytes() -> None:
    """Place, reason, size and hash are kept; of a large value with a small key, the key."""
    gatherer = Gatherer("t", 3, 10**9)
    gatherer.claim(0, 0, 1)
    gatherer.add(message(0, bytes(KEPT_BYTES_MAX + 1)))
    (bad,) = gatherer.seal().rejected
    assert (bad.reason, bad.payload) == ("oversize", None)
    assert f"not kept: key and value have {KEPT_BYTES_MAX + 1 + len(bad.key or b'')} bytes" in bad.error
    assert f"SHA-256 of the value: {hashlib.sha256(bytes(KEPT_BYTES_MAX + 1)).hexdigest()}" in bad.error
