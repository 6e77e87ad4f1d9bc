"""What is hashed, and how. Pure.

A row is an entry as PostgreSQL sends it in binary COPY (`chain_rows.sql`): the same bytes for the same content, whatever
the server's settings. A block's hash is SHA-256 over a line that names the format, a line of JSON with all that the block
says of itself (the hash of the block before it among that), and the SHA-256 of each row in order.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from typing import Final, NamedTuple

from costledger.schemas.times import to_microseconds

#: Changes when other columns are hashed, or in another way; blocks of earlier formats must stay verifiable.
FORMAT: Final = 1
#: Entries in one block; more only where several have the same offset.
BLOCK_ROWS_MAX: Final = 10_000
NO_HASH: Final = bytes(32)
FINGERPRINT_BYTES: Final = 8
_PREFIX: Final = b"costledger chain "


class SealedRow(NamedTuple):
    """An entry on its way into a block, or to be held against one. `digest` is the SHA-256 of its bytes."""

    partition: int
    offset: int
    event_id: bytes
    recorded_us: int
    digest: bytes


class Fingerprint(NamedTuple):
    """What a block remembers of one entry."""

    offset: int
    digest_start: bytes


@dataclass(frozen=True, slots=True)
class Block:
    """A block as it is stored, without its fingerprints; `ledger.chain_blocks` explains each field."""

    topic: str
    partition: int
    number: int
    format: int
    since: datetime | None
    first_offset: int
    next_offset: int
    rows: int
    rows_total: int
    missing: int
    recorded_from: datetime | None
    recorded_until: datetime | None
    sealed_at: datetime
    previous_hash: bytes


def block_hash(block: Block, digests: Iterable[bytes]) -> bytes:
    """SHA-256 over what the block says and the digests of its rows, in order."""
    said = [
        block.topic,
        block.partition,
        block.number,
        _microseconds(block.since),
        block.first_offset,
        block.next_offset,
        block.rows,
        block.rows_total,
        block.missing,
        _microseconds(block.recorded_from),
        _microseconds(block.recorded_until),
        _microseconds(block.sealed_at),
        block.previous_hash.hex(),
    ]
    # ASCII, without spaces: there is one way to write it.
    header = json.dumps(said, separators=(",", ":")).encode()
    lines = b"%s%d\n%s\n" % (_PREFIX, block.format, header)
    return sha256(lines + b"".join(digests)).digest()


def cut(rows: Sequence[SealedRow], rows_max: int) -> list[Sequence[SealedRow]]:
    """The rows in pieces of `rows_max`, the last one with the rest; rows of one offset stay together."""
    pieces, start = [], 0
    while start < len(rows):
        end = min(start + rows_max, len(rows))
        while end < len(rows) and rows[end].offset == rows[end - 1].offset:
            end += 1
        pieces.append(rows[start:end])
        start = end
    return pieces


def pack_fingerprints(first_offset: int, rows: Iterable[SealedRow]) -> bytes:
    """For each row the step from the offset before (LEB128), then the first bytes of its digest."""
    packed, before = bytearray(), first_offset
    for row in rows:
        step = row.offset - before
        before = row.offset
        while step > 0x7F:
            packed.append(step & 0x7F | 0x80)
            step >>= 7
        packed.append(step)
        packed += row.digest[:FINGERPRINT_BYTES]
    return bytes(packed)


def unpack_fingerprints(first_offset: int, packed: bytes) -> list[Fingerprint]:
    """The fingerprints in order; `ValueError` where the bytes are none (somebody changed them)."""
    found, offset, at = [], first_offset, 0
    while at < len(packed):
        shift = step = 0
        while True:
            if at >= len(packed):
                raise ValueError("the fingerprints end within a number")
            byte = packed[at]
            at += 1
            step |= (byte & 0x7F) << shift
            if byte < 0x80:
                break
            shift += 7
        offset += step
        if at + FINGERPRINT_BYTES > len(packed):
            raise ValueError("the fingerprints end within a hash")
        found.append(Fingerprint(offset, packed[at : at + FINGERPRINT_BYTES]))
        at += FINGERPRINT_BYTES
    return found


def _microseconds(instant: datetime | None) -> int | None:
    return None if instant is None else to_microseconds(instant, "instant")
