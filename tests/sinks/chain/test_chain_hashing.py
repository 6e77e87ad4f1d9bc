"""What is hashed: every part of a block counts, fingerprints come back as they were, blocks are cut between offsets."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costledger.sinks.chain.comparing import compare_rows, inserted, merged, removed
from costledger.sinks.chain.hashing import (
    NO_HASH,
    Block,
    Fingerprint,
    SealedRow,
    block_hash,
    cut,
    pack_fingerprints,
    unpack_fingerprints,
)

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)
BLOCK = Block("t", 3, 7, 1, NOON, 10, 20, 2, 9, 0, NOON, NOON, NOON, NO_HASH)
DIGESTS = [bytes([1]) * 32, bytes([2]) * 32]


def row(offset: int, content: int = 0) -> SealedRow:
    """A row whose digest follows from its content."""
    return SealedRow(0, offset, bytes(16), 0, sha256(bytes([content % 256])).digest())


def test_the_hash_is_the_documented_one() -> None:
    """Anybody can compute it: a line for the format, a line of JSON, the digests of the rows."""
    noon = int(NOON.timestamp()) * 1_000_000
    said = f'["t",3,7,{noon},10,20,2,9,0,{noon},{noon},{noon},"{"00" * 32}"]'
    assert block_hash(BLOCK, DIGESTS) == sha256(f"costledger chain 1\n{said}\n".encode() + b"".join(DIGESTS)).digest()


@pytest.mark.parametrize(
    "change",
    [
        {"topic": "u"},
        {"partition": 4},
        {"number": 8},
        {"format": 2},
        {"since": None},
        {"first_offset": 11},
        {"next_offset": 21},
        {"rows": 3},
        {"rows_total": 10},
        {"missing": 1},
        {"recorded_from": None},
        {"recorded_until": NOON + timedelta(microseconds=1)},
        {"sealed_at": NOON + timedelta(microseconds=1)},
        {"previous_hash": bytes(31) + b"\1"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_all_that_a_block_says_is_hashed(change: dict[str, Any]) -> None:
    """No field of a block can be changed without its hash."""
    assert block_hash(replace(BLOCK, **change), DIGESTS) != block_hash(BLOCK, DIGESTS)
    assert set(Block.__slots__) == {
        *("topic", "partition", "number", "format", "since", "first_offset", "next_offset", "rows", "rows_total"),
        *("missing", "recorded_from", "recorded_until", "sealed_at", "previous_hash"),
    }


def test_rows_are_hashed_in_their_order() -> None:
    """Another row, no row and another order are other hashes."""
    hashes = {block_hash(BLOCK, one) for one in (DIGESTS, DIGESTS[::-1], DIGESTS[:1], [*DIGESTS, NO_HASH], [])}
    assert len(hashes) == 5


@given(st.lists(st.integers(0, 2**62), max_size=50), st.integers(0, 2**62))
def test_fingerprints_come_back(steps: list[int], first: int) -> None:
    """Offsets of any size and distance, also several entries at one."""
    offsets = sorted(first + step for step in steps)
    rows = [row(offset, number) for number, offset in enumerate(offsets)]
    assert unpack_fingerprints(first, pack_fingerprints(first, rows)) == [
        Fingerprint(one.offset, one.digest[:8]) for one in rows
    ]


def test_fingerprints_are_small() -> None:
    """Nine bytes for an entry that follows on the one before."""
    assert len(pack_fingerprints(5, [row(offset) for offset in range(5, 1_005)])) == 9_000


@pytest.mark.parametrize("packed", [b"\x80", b"\x01", b"\x00" + bytes(7)])
def test_bytes_that_are_no_fingerprints_are_refused(packed: bytes) -> None:
    """A number or hash that ends early is an error, not a smaller block."""
    with pytest.raises(ValueError, match="the fingerprints end within"):
        unpack_fingerprints(0, packed)


@given(st.lists(st.integers(0, 30), max_size=60), st.integers(1, 7))
def test_blocks_are_cut_between_offsets(offsets: list[int], rows_max: int) -> None:
    """All rows in order, pieces not smaller than asked for but the last, no offset in two of them."""
    rows = [row(offset) for offset in sorted(offsets)]
    pieces = cut(rows, rows_max)
    assert [one for piece in pieces for one in piece] == rows
    assert all(len(piece) >= rows_max for piece in pieces[:-1])
    assert all(before[-1].offset < after[0].offset for before, after in pairwise(pieces))
    # One more row than asked for only where it has the offset of the last one that has room.
    assert all(len(piece) <= rows_max or piece[rows_max - 1].offset == piece[-1].offset for piece in pieces)


def test_each_entry_that_differs_is_named() -> None:
    """By offset: changed where another one is there, removed where none is, inserted where none was."""
    sealed = [Fingerprint(offset, row(offset, offset).digest[:8]) for offset in (1, 2, 3, 5, 5)]
    today = [row(1, 1), row(2, 99), row(4, 4), row(5, 5)]
    assert [(one.kind, one.offset) for one in compare_rows("t", 0, sealed, today)] == [
        ("changed", 2),
        ("removed", 3),
        ("inserted", 4),
        ("removed", 5),
    ]


def test_an_entry_that_moved_in_time_was_changed() -> None:
    """Removed and inserted at one place is changed; at two places both."""
    found = merged([removed("t", 0, 1), removed("t", 0, 2), inserted("t", 0, 1, "a"), inserted("t", 1, 2, "b")])
    assert [(one.kind, one.partition, one.offset, one.event_id) for one in found] == [
        ("changed", 0, 1, "a"),
        ("removed", 0, 2, None),
        ("inserted", 1, 2, "b"),
    ]
