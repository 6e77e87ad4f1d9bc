"""Reading the entries of blocks, as bytes to be hashed."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from datetime import datetime
from hashlib import sha256
from typing import Any, Final, NamedTuple

from costledger.schemas.errors import CostledgerError
from costledger.sinks.chain.hashing import SealedRow
from costledger.sinks.database import Connection
from costledger.sinks.packing import COPY_HEADER
from costledger.sinks.queries import query

#: PostgreSQL's work_mem while the rows of a round or batch are sorted: in memory, not in files.
SORT_MEMORY: Final = "64MB"
_ALWAYS: Final = ("-infinity", "infinity")
_POSTGRES_EPOCH_US: Final = 946_684_800_000_000
#: How a row begins: number of fields, then partition, offset, event id and recorded_at, each after its length.
_HEAD: Final = struct.Struct(">hiiiqi16siq")
_SIGNATURE: Final = COPY_HEADER[:11]


class Span(NamedTuple):
    """Entries to read: offsets [first_offset, next_offset) recorded in [recorded_from, recorded_before).

    None as a time is no bound.
    """

    partition: int
    first_offset: int
    next_offset: int
    recorded_from: datetime | None
    recorded_before: datetime | None


class UnreadableRows(CostledgerError):
    """PostgreSQL sends rows in a form that is not the one that was sealed."""


def read_rows(connection: Connection, topic: str, spans: Sequence[Span]) -> Iterator[SealedRow]:
    """The entries of spans of one topic, by partition, offset and event id. Nothing else may use the connection meanwhile."""
    if not spans:
        return
    with connection.cursor() as cursor, cursor.copy(query("chain_rows"), parameters(topic, spans)) as copy:
        first = True
        # The protocol has one row in each message; the first one also has the header, the last one is the trailer.
        while data := copy.read():
            raw = bytes(data)
            if first and raw.startswith(_SIGNATURE):
                raw = raw[len(COPY_HEADER) :]
            first = False
            if len(raw) >= _HEAD.size:
                yield _row(raw)
            elif raw not in {b"", b"\xff\xff"}:
                raise UnreadableRows(f"PostgreSQL sent {len(raw)} bytes where a row was expected")


def parameters(topic: str, spans: Sequence[Span]) -> dict[str, Any]:
    """The parameters of `chain_rows.sql` and `chain_pending.sql`."""
    froms = [span.recorded_from for span in spans]
    befores = [span.recorded_before for span in spans]
    return {
        "topic": topic,
        "partitions": [span.partition for span in spans],
        "first_offsets": [span.first_offset for span in spans],
        "next_offsets": [span.next_offset for span in spans],
        "recorded_from": [as_text(one, _ALWAYS[0]) for one in froms],
        "recorded_before": [as_text(one, _ALWAYS[1]) for one in befores],
        "least_offset": min(span.first_offset for span in spans),
        "end_offset": max(span.next_offset for span in spans),
        "least_recorded": _ALWAYS[0] if None in froms else as_text(min(one for one in froms if one), _ALWAYS[0]),
        "end_recorded": _ALWAYS[1] if None in befores else as_text(max(one for one in befores if one), _ALWAYS[1]),
    }


def as_text(instant: datetime | None, default: str) -> str:
    """A time for PostgreSQL, which also knows infinite ones."""
    return default if instant is None else instant.isoformat()


def _row(raw: bytes) -> SealedRow:
    fields, four, partition, eight, offset, sixteen, event_id, also_eight, recorded = _HEAD.unpack_from(raw)
    if (fields, four, eight, sixteen, also_eight) != (20, 4, 8, 16, 8):
        raise UnreadableRows(f"a row has {fields} fields of {four}, {eight}, {sixteen} and {also_eight} bytes first")
    return SealedRow(partition, offset, event_id, recorded + _POSTGRES_EPOCH_US, sha256(raw).digest())
