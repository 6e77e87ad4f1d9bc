"""Rows of `ledger.entries` in PostgreSQL's binary COPY format, packed by hand.

Pure. The format is described in the PostgreSQL manual under COPY, "Binary Format"; the types are in the
server's `recv` functions: text is UTF-8, uuid 16 bytes, timestamptz microseconds since 2000-01-01, jsonb a
version byte and text, numeric a header and digits in base 10,000 (`numeric_recv`). By hand, because the
fields that repeat from event to event are then packed once, not once for each row.
"""

from __future__ import annotations

import json
import struct
from decimal import Decimal
from functools import lru_cache
from typing import Final

from costledger.schemas.event_reading import Pricing, ReadEvent, of_record, quantity_of
from costledger.schemas.events import EventRecord
from costledger.schemas.money import QUANTITY_DECIMALS, USD_DECIMALS

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

_NULL: Final = b"\xff\xff\xff\xff"
_EMPTY_METADATA: Final = b"\x00\x00\x00\x03\x01{}"
_POSTGRES_EPOCH_US: Final = 946_684_800_000_000
_NEGATIVE: Final = 0x4000
# 12 decimals are three digits in base 10,000.
_FRACTION_GROUPS: Final = 3
_QUANTITY_TO_TWELVE_DECIMALS: Final = 1_000

# Number of fields; then each field as its length and its bytes.
_HEAD: Final = struct.Struct(">hi16siqiiiqiq")
_HEAD_UNDATED: Final = struct.Struct(">hi16siqiiiqi")
_FIELDS: Final = len(COPY_COLUMNS)
# By number of digits; all that amounts and quantities need.
#: Amounts from here on have more than one digit in base 10,000 before the point.
_AMOUNT_SHORT_END: Final = 10**16
_AMOUNT: Final = struct.Struct(">ihhHH4H")
_NUMERIC: Final = tuple(struct.Struct(f">ihhHH{count}H") for count in range(9))
# Made once: json.dumps makes an encoder for every call that asks for compact text.
_encode_json: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


def pack_event(topic: str, partition: int, offset: int, received_us: int | None, record: EventRecord) -> bytes:
    """One row in binary COPY format, from an event's record; see `pack_read`."""
    return pack_read(topic, partition, offset, received_us, of_record(record))


def pack_read(topic: str, partition: int, offset: int, received_us: int | None, event: ReadEvent) -> bytes:
    """One row in binary COPY format, from an event within its bounds; times are Unix microseconds."""
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
            _text(user_id),
            _quantity(quantity),
            _NULL if amount is None else pack_amount(amount),
            _NULL if reverses is None else b"\x00\x00\x00\x10" + bytes.fromhex(reverses.replace("-", "")),
            _pack_metadata(metadata) if metadata else _EMPTY_METADATA,
            _repeating(charge.key, charge.category, pricing, source, topic),
        )
    )


def pack_amount(picodollars: int) -> bytes:
    """An integer of 1e-12 USD as a numeric field, with its length.

    By the short way below 10,000 USD. PostgreSQL drops the digits in base 10,000 that are zero at either end.
    """
    magnitude = -picodollars if picodollars < 0 else picodollars
    if magnitude >= _AMOUNT_SHORT_END:
        return pack_numeric(picodollars, USD_DECIMALS)
    high, low = divmod(magnitude, 100_000_000)
    whole, first = divmod(high, 10_000)
    second, third = divmod(low, 10_000)
    sign = _NEGATIVE if picodollars < 0 else 0
    return _AMOUNT.pack(16, 4, 0, sign, USD_DECIMALS, whole, first, second, third)


@lru_cache(maxsize=16_384)
def _quantity(data: bytes) -> bytes:
    return pack_numeric(quantity_of(data) * _QUANTITY_TO_TWELVE_DECIMALS, QUANTITY_DECIMALS)


def pack_numeric(trillionths: int, decimals: int) -> bytes:
    """An integer of 1e-12 as a numeric field that shows so many decimals (at most 12), with its length."""
    rest = abs(trillionths)
    groups = []
    while rest:
        rest, group = divmod(rest, 10_000)
        groups.append(group)
    weight = len(groups) - 1 - _FRACTION_GROUPS
    lowest = 0
    while lowest < len(groups) and not groups[lowest]:
        lowest += 1
    return _numeric_field(groups[lowest:][::-1], weight if groups else 0, trillionths < 0, decimals)


def pack_decimal(value: Decimal) -> bytes:
    """Any finite Decimal of at most 16,383 decimals as a numeric field, with its length; else `ValueError`."""
    if not value.is_finite():
        raise ValueError(f"{value} is not finite")
    sign, digits, power = value.as_tuple()
    exponent = int(power)
    number = int("".join(map(str, digits)))
    # Digits in base 10,000 begin at multiples of four decimals.
    padding = exponent % 4
    number *= 10**padding
    lowest_weight = (exponent - padding) // 4
    groups = []
    while number:
        number, group = divmod(number, 10_000)
        groups.append(group)
    weight = lowest_weight + len(groups) - 1 if groups else 0
    return _numeric_field(groups[::-1], weight, bool(sign) and bool(groups), max(0, -exponent))


def _numeric_field(digits: list[int], weight: int, negative: bool, decimals: int) -> bytes:
    count = len(digits)
    sign = _NEGATIVE if negative else 0
    form = _NUMERIC[count] if count < len(_NUMERIC) else struct.Struct(f">ihhHH{count}H")
    return form.pack(8 + 2 * count, count, weight, sign, decimals, *digits)


@lru_cache(maxsize=16_384)
def _text(value: str) -> bytes:
    data = value.encode()
    return len(data).to_bytes(4, "big") + data


@lru_cache(maxsize=16_384)
def _repeating(names: tuple[str, str], category: str, pricing: Pricing, source: str, topic: str) -> bytes:
    """The fields that are the same for many events, from service to kafka_topic."""
    service, operation = names
    unit, unit_price, price_version = pricing
    return b"".join(
        (
            _text(service),
            _text(operation),
            _text(category),
            _text(unit),
            _NULL if unit_price is None else pack_decimal(Decimal(unit_price)),
            _NULL if price_version is None else _text(price_version),
            _USD,
            _text(source),
            _text(topic),
        )
    )


def _pack_metadata(metadata: dict[str, str]) -> bytes:
    data = b"\x01" + _encode_json(metadata).encode()
    return len(data).to_bytes(4, "big") + data


_USD: Final = _text("USD")
