"""Single fields of a row in PostgreSQL's binary COPY format, each with its length before it. Pure.

Text is UTF-8, jsonb a version byte and text, numeric a header and digits in base 10,000 (`numeric_recv` in the server). What
repeats from event to event is packed once, not once for each row.
"""

from __future__ import annotations

import json
import struct
from decimal import Decimal
from functools import lru_cache
from typing import Final

from costledger.schemas.event_reading import Pricing, quantity_of
from costledger.schemas.money import QUANTITY_DECIMALS, USD_DECIMALS

NULL: Final = b"\xff\xff\xff\xff"
EMPTY_METADATA: Final = b"\x00\x00\x00\x03\x01{}"
_NEGATIVE: Final = 0x4000
# 12 decimals are three digits in base 10,000.
_FRACTION_GROUPS: Final = 3
_QUANTITY_TO_TWELVE_DECIMALS: Final = 1_000

#: Amounts from here on have more than one digit in base 10,000 before the point.
_AMOUNT_SHORT_END: Final = 10**16
_AMOUNT: Final = struct.Struct(">ihhHH4H")
# By number of digits; all that amounts and quantities need.
_NUMERIC: Final = tuple(struct.Struct(f">ihhHH{count}H") for count in range(9))
# Made once: json.dumps makes an encoder for every call that asks for compact text.
_encode_json: Final = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


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
def pack_quantity(data: bytes) -> bytes:
    """A quantity as it stands in an event's bytes, as a numeric field."""
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
def pack_text(value: str) -> bytes:
    """A text field."""
    data = value.encode()
    return len(data).to_bytes(4, "big") + data


@lru_cache(maxsize=16_384)
def pack_repeating(names: tuple[str, str], category: str, pricing: Pricing, source: str, topic: str) -> bytes:
    """The fields that are the same for many events, from service to kafka_topic."""
    service, operation = names
    unit, unit_price, price_version = pricing
    return b"".join(
        (
            pack_text(service),
            pack_text(operation),
            pack_text(category),
            pack_text(unit),
            NULL if unit_price is None else pack_decimal(Decimal(unit_price)),
            NULL if price_version is None else pack_text(price_version),
            _USD,
            pack_text(source),
            pack_text(topic),
        )
    )


def pack_metadata(metadata: dict[str, str]) -> bytes:
    """Metadata that is not empty, as a jsonb field."""
    data = b"\x01" + _encode_json(metadata).encode()
    return len(data).to_bytes(4, "big") + data


_USD: Final = pack_text("USD")
