"""Rows of `ledger.entries` in PostgreSQL's binary COPY format, packed by hand.

Pure. The format is described in the PostgreSQL manual under COPY, "Binary Format"; the types are in the
server's `recv` functions: text is UTF-8, uuid 16 bytes, timestamptz microseconds since 2000-01-01, jsonb a
version byte and text, numeric a header and digits in base 10,000 (`numeric_recv`). By hand, because the
fields that repeat from event to event are then packed once, not once for each row (see `packing_fields`).
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Final

from costledger.schemas.event_reading import ReadEvent, of_record
from costledger.schemas.events import EventRecord
from costledger.schemas.twins import twin_of
from costledger.sinks.packing_fields import (
    EMPTY_METADATA,
    NULL,
    pack_amount,
    pack_metadata,
    pack_quantity,
    pack_repeating,
    pack_text,
)

#: `pack_read` of the compiled twin, or None.
_compiled: Callable[[str, int, int, int | None, ReadEvent], bytes] | None = twin_of(__name__, "pack_read")

#: The order of the fields in a packed row: those of `COPY ledger.entries (...)`.
COPY_COLUMNS: Final = (
    "event_id",
    "occurred_at",
    "kafka_partition",
    "kafka_offset",
    "received_at",
    "user_id",
    "quantity",
    "amount",
    "reverses_event_id",
    "metadata",
    "service",
    "operation",
    "category",
    "unit",
    "unit_price",
    "price_version",
    "currency",
    "source",
    "kafka_topic",
)
COPY_HEADER: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
COPY_TRAILER: Final = b"\xff\xff"

_POSTGRES_EPOCH_US: Final = 946_684_800_000_000
# Number of fields; then each field as its length and its bytes.
_HEAD: Final = struct.Struct(">hi16siqiiiqiq")
_HEAD_UNDATED: Final = struct.Struct(">hi16siqiiiqi")
_FIELDS: Final = len(COPY_COLUMNS)


def pack_event(topic: str, partition: int, offset: int, received_us: int | None, record: EventRecord) -> bytes:
    """One row in binary COPY format, from an event's record; see `pack_read`."""
    return pack_read(topic, partition, offset, received_us, of_record(record))


def pack_read(topic: str, partition: int, offset: int, received_us: int | None, event: ReadEvent) -> bytes:
    """One row in binary COPY format, from an event within its bounds; times are Unix microseconds."""
    if _compiled is not None:
        return _compiled(topic, partition, offset, received_us, event)
    event_id, user_id, charge, quantity, pricing, amount, occurred_at, tail = event
    id_bytes = bytes.fromhex(event_id.replace("-", ""))
    occurred = occurred_at - _POSTGRES_EPOCH_US
    if received_us is None:
        head = _HEAD_UNDATED.pack(_FIELDS, 16, id_bytes, 8, occurred, 4, partition, 8, offset, -1)
    else:
        received = received_us - _POSTGRES_EPOCH_US
        head = _HEAD.pack(_FIELDS, 16, id_bytes, 8, occurred, 4, partition, 8, offset, 8, received)
    source, reverses, metadata = tail
    return b"".join(
        (
            head,
            pack_text(user_id),
            pack_quantity(quantity),
            NULL if amount is None else pack_amount(amount),
            NULL if reverses is None else b"\x00\x00\x00\x10" + bytes.fromhex(reverses.replace("-", "")),
            pack_metadata(metadata) if metadata else EMPTY_METADATA,
            pack_repeating(charge.key, charge.category, pricing, source, topic),
        )
    )
