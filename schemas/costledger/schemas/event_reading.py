"""Cost events from bytes by the short way, for the consumers' hot paths: the mirror image of `event_bytes`.

Most events share their names, unit, price and source with others. These bytes are decoded and checked once, by the long
way (fastavro and `check_event`), and remembered; here only the rest is decoded and checked. Whatever is not plainly like
what is remembered takes the long way, which alone says what is wrong. What comes back is the same by either way. The short
way has a compiled twin.

A body in the order of the schema's fields (Avro 1.12 specification, binary encoding):

    event_id | user_id | service operation category | quantity | unit unit_price price_version | amount | currency |
    occurred_at | source reverses_event_id metadata

Every part says how long it is. So bytes that begin with a remembered part have that part there, and nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Final, NamedTuple

from costledger.schemas.avro_bytes import NULL, nullable_text, text_bytes, varint
from costledger.schemas.codec import SINGLE_OBJECT_MARKER, current_schema, decode_event, schema_fingerprint
from costledger.schemas.events import (
    AHEAD_MICROSECONDS_MAX,
    ID_TIME_TOLERANCE_MILLISECONDS,
    METADATA_KEYS_MAX,
    OCCURRED_AT_END_US,
    OCCURRED_AT_MIN_US,
    Category,
    EventRecord,
    check_event,
)
from costledger.schemas.twins import twin_of

#: `read_known` of the compiled twin, or None.
_compiled: Callable[[bytes, dict[bytes, Charge], dict[bytes, Tail], type[Tail]], ReadEvent | None] | None = twin_of(
    __name__, "read_known"
)

#: What is remembered is forgotten, all at once, when there is more of it.
CHARGES_REMEMBERED_MAX: Final = 16_384
#: They are tried one after the other.
PRICINGS_REMEMBERED_MAX: Final = 16
TAILS_REMEMBERED_MAX: Final = 4_096
TIMES_REMEMBERED_MAX: Final = 32_768
_QUANTITIES_REMEMBERED_MAX: Final = 16_384

#: The header, the length of an id, and a UUIDv7 in canonical form.
_HEAD: Final = re.compile(
    re.escape(SINGLE_OBJECT_MARKER + schema_fingerprint(current_schema("cost_event")) + b"\x48")
    + rb"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
)
_ID: Final = slice(11, 47)
#: The 48 bits of the id that are its time, in hexadecimal.
_ID_TIME_HIGH: Final = slice(11, 19)
_ID_TIME_LOW: Final = slice(20, 24)
_USER: Final = 47
_USD: Final = text_bytes("USD")
#: Integers of so many bytes, in groups of 7 bits, are within the bounds of quantity and amount; larger ones go the long way.
_INTEGER_BITS_MAX: Final = 63
#: A time within the bounds has eight bytes: all but the last have the highest bit set.
_TIME_BYTES: Final = 8
_FOUR_GO_ON: Final = 0x80808080
_LOW_BITS: Final = 28


class Pricing(NamedTuple):
    """Unit and price. `unit_price` is USD per unit as decimal text."""

    unit: str
    unit_price: str | None
    price_version: str | None


class Tail(NamedTuple):
    """What comes after the time."""

    source: str
    reverses_event_id: str | None
    metadata: dict[str, str]


class Charge:
    """What was paid for. There is one object for the same names, until all are forgotten: readers may keep things by it."""

    __slots__ = ("category", "key", "operation", "pricings", "service")

    def __init__(self, service: str, operation: str, category: str) -> None:
        self.service = service
        self.operation = operation
        self.category = category
        #: What totals are kept by.
        self.key = (service, operation)
        #: By their bytes, the pricings that events of this charge had.
        self.pricings: dict[bytes, Pricing] = {}


#: event_id, user_id, charge, quantity as it stands in the bytes (see `quantity_of`), pricing, amount (1e-12 USD or None),
#: occurred_at (Unix microseconds), tail. A plain tuple: it is made for every event.
ReadEvent = tuple[str, str, Charge, bytes, Pricing, int | None, int, Tail]

_charges: dict[bytes, Charge] = {}
_tails: dict[bytes, Tail] = {}
#: The last four bytes of a time -> its high bits.
_times: dict[bytes, int] = {}


def read_event(data: bytes, received_at_us: int | None) -> ReadEvent:
    """The event in `data`, within its bounds.

    `received_at_us` is the broker's clock when it stored the event (see `check_event`). Raises a `DecodeError` or
    `InvalidEvent`; `Unavailable` where a schema id is new and the registry cannot be asked.
    """
    try:
        read = _read_known(data) if _compiled is None else _compiled(data, _charges, _tails, Tail)
    except (IndexError, UnicodeDecodeError):
        read = None
    if read is None or (received_at_us is not None and read[6] > received_at_us + AHEAD_MICROSECONDS_MAX):
        record = decode_event(data)
        check_event(record, received_at_us)
        return of_record(record)
    return read


def of_record(record: EventRecord) -> ReadEvent:
    """The event of a record that `check_event` has passed; its parts are remembered."""
    charge = _charge_of(record["service"], record["operation"], record["category"])
    pricing = Pricing(record["unit"], record["unit_price"], record["price_version"])
    if len(charge.pricings) >= PRICINGS_REMEMBERED_MAX:
        charge.pricings.clear()
    charge.pricings[
        text_bytes(pricing.unit) + nullable_text(pricing.unit_price) + nullable_text(pricing.price_version)
    ] = pricing
    source = text_bytes(record["source"]) + NULL + NULL
    if source not in _tails:
        _bound(_tails, TAILS_REMEMBERED_MAX)
        _tails[source] = Tail(record["source"], None, {})
    tail = Tail(record["source"], record["reverses_event_id"], record["metadata"])
    _learn_time(record["occurred_at"])
    quantity = record["quantity"]
    quantity_bytes = varint(quantity << 1 if quantity >= 0 else (-quantity << 1) - 1)
    return (
        *(record["event_id"], record["user_id"], charge, quantity_bytes, pricing),
        *(record["amount"], record["occurred_at"], tail),
    )


def _read_known(data: bytes) -> ReadEvent | None:  # noqa: PLR0911, PLR0912 - see below
    """None where anything is not like what is remembered. One function: every call would be paid for every event."""
    if _HEAD.match(data) is None:
        return None
    length = data[_USER]
    user_end = 48 + (length >> 1)
    user_id = data[48:user_end].decode()
    # One byte of length: up to 63 bytes, and so up to as many characters.
    if length & 129 or not user_id.isprintable() or not user_id.strip():
        return None
    at = user_end + 1 + (data[user_end] >> 1)
    at += 2 + (data[at] >> 1)
    charge = _charges.get(data[user_end:at])
    if charge is None:
        return None
    quantity_at = at
    while data[at] > 127:
        at += 1
    at += 1
    quantity = data[quantity_at:at]
    pricing: Pricing | None = None
    for pricing_bytes, known in charge.pricings.items():
        if data.startswith(pricing_bytes, at):
            at += len(pricing_bytes)
            pricing = known
            break
    amount: int | None = None
    kind = data[at]
    at += 1
    if kind == 2:
        byte = data[at]
        at += 1
        zigzag, bits = byte & 127, 7
        while byte > 127:
            byte = data[at]
            at += 1
            zigzag |= (byte & 127) << bits
            bits += 7
        if bits > _INTEGER_BITS_MAX:
            return None
        amount = (zigzag >> 1) ^ -(zigzag & 1)
    elif kind:
        return None
    if not data.startswith(_USD, at):
        return None
    at += 4
    low = int.from_bytes(data[at : at + 4], "little")
    high = _times.get(data[at + 4 : at + 8])
    rest = data[at + 8 :]
    tail = _tails.get(rest) or _tail_with_metadata(rest)
    if (
        pricing is None
        or high is None
        or tail is None
        or low & _FOUR_GO_ON != _FOUR_GO_ON
        or low & 1
        or len(quantity) > 9
    ):
        return None
    occurred_at = high | (low & 0x7F | low >> 1 & 0x3F80 | low >> 2 & 0x1FC000 | low >> 3 & 0xFE00000) >> 1
    id_milliseconds = int(data[_ID_TIME_HIGH] + data[_ID_TIME_LOW], 16)
    if not -ID_TIME_TOLERANCE_MILLISECONDS <= id_milliseconds - occurred_at // 1000 <= ID_TIME_TOLERANCE_MILLISECONDS:
        return None
    return data[_ID].decode(), user_id, charge, quantity, pricing, amount, occurred_at, tail


def _tail_with_metadata(data: bytes) -> Tail | None:
    """A known source, no reversal, and a map in one block of texts that are not empty, of up to 63 bytes each.

    So many texts as there may be are within the bound of all their bytes together, if none is longer.
    """
    at = 1 + (data[0] >> 1)
    plain = _tails.get(data[:at] + NULL + NULL)
    count = data[at + 1]
    # No empty text has a length of 0 in here, so the first NUL is in a text or behind the map.
    if (
        plain is None
        or data[at]
        or not count
        or count & 129
        or count > 2 * METADATA_KEYS_MAX
        or data.find(0, at + 2) + 1 < len(data)
    ):
        return None
    at += 2
    texts = []
    for _ in range(count):
        length = data[at]
        if length & 129:
            return None
        begin = at + 1
        at = begin + (length >> 1)
        texts.append(data[begin:at].decode())
    # Of a key that is there twice the last value counts, by the long way too.
    metadata = dict(zip(texts[::2], texts[1::2], strict=True))
    return Tail(plain.source, None, metadata) if at + 1 == len(data) else None


@lru_cache(_QUANTITIES_REMEMBERED_MAX)
def quantity_of(data: bytes) -> int:
    """The quantity of a `ReadEvent` as an integer of 1e-9 units."""
    zigzag = 0
    for place, byte in enumerate(data):
        zigzag |= (byte & 127) << (7 * place)
    return (zigzag >> 1) ^ -(zigzag & 1)


def forget() -> None:
    """Forget everything that is remembered."""
    for remembered in (_charges, _tails, _times):
        remembered.clear()


def _charge_of(service: str, operation: str, category: str) -> Charge:
    data = text_bytes(service) + text_bytes(operation) + varint(2 * _CATEGORY_NUMBERS[category])
    charge = _charges.get(data)
    if charge is None:
        _bound(_charges, CHARGES_REMEMBERED_MAX)
        charge = _charges[data] = Charge(service, operation, category)
    return charge


def _learn_time(occurred_at_us: int) -> None:
    """Remember the high bits of a time, where no time with them is out of bounds."""
    high = occurred_at_us << 1 >> _LOW_BITS << _LOW_BITS >> 1
    if high >= OCCURRED_AT_MIN_US and high + (1 << (_LOW_BITS - 1)) <= OCCURRED_AT_END_US:
        _bound(_times, TIMES_REMEMBERED_MAX)
        _times[varint(occurred_at_us << 1)[4:]] = high


def _bound(
    remembered: dict[bytes, object] | dict[bytes, Charge] | dict[bytes, Tail] | dict[bytes, int], most: int
) -> None:
    if len(remembered) >= most:
        remembered.clear()


_CATEGORY_NUMBERS: Final = {str(category): number for number, category in enumerate(Category)}
