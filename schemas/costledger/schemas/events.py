"""What a cost event is, and the bounds that it keeps.

The bounds are checked twice with the same function: where an event is made and where it is read.
A *record* is the dictionary that Avro reads and writes (times as integers of Unix microseconds, ids as
text); a `CostEvent` is the same with Python's types. Hot paths use records, people use `CostEvent`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from functools import lru_cache
from typing import Any, Final
from uuid import UUID

from costledger.schemas.errors import InvalidEvent, shown
from costledger.schemas.money import (
    AMOUNT_PICODOLLARS_MAX,
    NANOUNITS_PER_UNIT,
    PICODOLLARS_PER_USD,
    QUANTITY_NANOUNITS_MAX,
)
from costledger.schemas.times import from_microseconds, to_microseconds

EventRecord = dict[str, Any]

NAME_CHARACTERS_MAX: Final = 128
UNIT_CHARACTERS_MAX: Final = 64
PRICE_CHARACTERS_MAX: Final = 64
#: Digits before and after the point: `1E+999999` is short, and no database could hold it.
PRICE_EXPONENT_MAX: Final = 30
METADATA_KEYS_MAX: Final = 32
METADATA_BYTES_MAX: Final = 4096
#: How far the time in an event id may be from `occurred_at`: an emitter may read its clock once for each.
ID_TIME_TOLERANCE_MILLISECONDS: Final = 1000
#: How far ahead of the broker's clock an event may be.
AHEAD_MICROSECONDS_MAX: Final = 10 * 60 * 1_000_000
OCCURRED_AT_MIN_US: Final = to_microseconds(datetime(2000, 1, 1, tzinfo=UTC))
OCCURRED_AT_END_US: Final = to_microseconds(datetime(2100, 1, 1, tzinfo=UTC))


class Category(StrEnum):
    """The kind of charge, with the meaning of FOCUS's ChargeCategory."""

    USAGE = "USAGE"
    PURCHASE = "PURCHASE"
    TAX = "TAX"
    CREDIT = "CREDIT"
    ADJUSTMENT = "ADJUSTMENT"


#: The fields that hold names, and how long each may be; written out in one loop because every event passes here.
_NAMES: Final = (
    ("user_id", NAME_CHARACTERS_MAX),
    ("service", NAME_CHARACTERS_MAX),
    ("operation", NAME_CHARACTERS_MAX),
    ("source", NAME_CHARACTERS_MAX),
    ("unit", UNIT_CHARACTERS_MAX),
    ("price_version", NAME_CHARACTERS_MAX),
)
_NULLABLE_NAMES: Final = frozenset({"price_version"})
_CANONICAL_UUID: Final = re.compile("[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
#: Distinct unit prices whose check is remembered; a price book has a few hundred.
_PRICES_REMEMBERED_MAX: Final = 4096
_CATEGORIES: Final = frozenset(str(category) for category in Category)


@dataclass(frozen=True, slots=True, kw_only=True)
class CostEvent:
    """One paid call, or one line of a bill.

    `quantity` is in 1e-9 units, `amount` in 1e-12 USD (None: unpriced), `unit_price` is USD per unit as
    decimal text. Constructing checks nothing; `check_event(event.to_record())` does, and so does encoding.
    """

    event_id: UUID
    user_id: str
    service: str
    operation: str
    quantity: int
    unit: str
    occurred_at: datetime
    category: Category = Category.USAGE
    unit_price: str | None = None
    price_version: str | None = None
    amount: int | None = None
    currency: str = "USD"
    source: str = "unknown"
    reverses_event_id: UUID | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)

    def to_record(self) -> EventRecord:
        """The record that Avro writes."""
        return {
            "event_id": str(self.event_id),
            "user_id": self.user_id,
            "service": self.service,
            "operation": self.operation,
            "category": str(self.category),
            "quantity": self.quantity,
            "unit": self.unit,
            "unit_price": self.unit_price,
            "price_version": self.price_version,
            "amount": self.amount,
            "currency": self.currency,
            "occurred_at": to_microseconds(self.occurred_at),
            "source": self.source,
            "reverses_event_id": None if self.reverses_event_id is None else str(self.reverses_event_id),
            "metadata": dict(self.metadata),
        }

    @classmethod
    def from_record(cls, record: EventRecord) -> CostEvent:
        """The event of a record that `check_event` has passed."""
        reverses = record["reverses_event_id"]
        return cls(
            **{
                **record,
                "event_id": UUID(record["event_id"]),
                "category": Category(record["category"]),
                "occurred_at": from_microseconds(record["occurred_at"]),
                "reverses_event_id": None if reverses is None else UUID(reverses),
            }
        )


def check_event(record: EventRecord, received_at_us: int | None = None) -> None:
    """Check every bound of an event record; raises `InvalidEvent` naming field, value and limit.

    `received_at_us` is the broker's clock when it stored the event (Unix microseconds); with it, an event
    more than 10 minutes ahead is refused. Both consumers pass it, so both come to the same answer in
    every replay.
    """
    for name, characters_max in _NAMES:
        value = record[name]
        # isprintable: no control characters, no NUL, no lone surrogates, no line ends.
        if not (isinstance(value, str) and 0 < len(value) <= characters_max and value.isprintable() and value.strip()):
            if value is None and name in _NULLABLE_NAMES:
                continue
            raise InvalidEvent(name, value, f"text of 1 to {characters_max} printable characters")
    if not isinstance(record["category"], str) or record["category"] not in _CATEGORIES:
        raise InvalidEvent("category", record["category"], f"one of {', '.join(sorted(_CATEGORIES))}")
    if record["currency"] != "USD":
        raise InvalidEvent("currency", record["currency"], "USD")
    _check_integer(record, "quantity", QUANTITY_NANOUNITS_MAX, QUANTITY_NANOUNITS_MAX // NANOUNITS_PER_UNIT, "units")
    if record["amount"] is not None:
        _check_integer(record, "amount", AMOUNT_PICODOLLARS_MAX, AMOUNT_PICODOLLARS_MAX // PICODOLLARS_PER_USD, "USD")
    _check_time(record["occurred_at"], received_at_us)
    _check_event_id(record["event_id"], record["occurred_at"])
    if record["unit_price"] is not None:
        _check_price(record["unit_price"])
    if record["reverses_event_id"] is not None:
        _check_uuid("reverses_event_id", record["reverses_event_id"])
    if record["metadata"] != {}:
        check_metadata(record["metadata"])


def _check_integer(record: EventRecord, name: str, limit: int, shown_limit: int, unit: str) -> None:
    value = record[name]
    if not isinstance(value, int) or isinstance(value, bool) or not -limit <= value <= limit:
        raise InvalidEvent(name, value, f"an integer of at most {limit} in magnitude ({shown_limit} {unit})")


def _check_time(occurred_at_us: object, received_at_us: int | None) -> None:
    if not isinstance(occurred_at_us, int) or not OCCURRED_AT_MIN_US <= occurred_at_us < OCCURRED_AT_END_US:
        raise InvalidEvent("occurred_at", _shown_time(occurred_at_us), "from 2000-01-01 up to 2100-01-01 UTC")
    if received_at_us is not None and occurred_at_us > received_at_us + AHEAD_MICROSECONDS_MAX:
        received = _shown_time(received_at_us)
        raise InvalidEvent(
            "occurred_at",
            _shown_time(occurred_at_us),
            f"at most {AHEAD_MICROSECONDS_MAX // 60_000_000} minutes ahead of the broker's clock ({received})",
        )


def _check_event_id(event_id: object, occurred_at_us: int) -> None:
    number = _check_uuid("event_id", event_id)
    if (number >> 76) & 0xF != 7 or (number >> 62) & 0b11 != 0b10:
        raise InvalidEvent("event_id", event_id, "a UUID of version 7 (RFC 9562)")
    if abs((number >> 80) - occurred_at_us // 1000) > ID_TIME_TOLERANCE_MILLISECONDS:
        limit = f"a UUIDv7 with the time of occurred_at ({_shown_time(occurred_at_us)}) in it"
        raise InvalidEvent("event_id", event_id, limit)


def _check_uuid(name: str, value: object) -> int:
    # Only the canonical form: two spellings of one id would be one id to Postgres and two to a comparison.
    if not isinstance(value, str) or _CANONICAL_UUID.fullmatch(value) is None:
        raise InvalidEvent(name, value, "a UUID in its canonical 36 characters, lower case")
    return int(value.replace("-", ""), 16)


def _check_price(value: object) -> None:
    # The length first: what is remembered must be short.
    if not isinstance(value, str) or not 0 < len(value) <= PRICE_CHARACTERS_MAX or not _is_price(value):
        limit = (
            f"decimal text of at most {PRICE_CHARACTERS_MAX} characters, with at most {PRICE_EXPONENT_MAX} digits "
            "before the point and as many after it"
        )
        raise InvalidEvent("unit_price", value, limit)


@lru_cache(_PRICES_REMEMBERED_MAX)
def _is_price(text: str) -> bool:
    if not text.isprintable():
        return False
    try:
        price = Decimal(text)
    except InvalidOperation:
        return False
    exponent = price.as_tuple().exponent
    return isinstance(exponent, int) and exponent >= -PRICE_EXPONENT_MAX and price.adjusted() < PRICE_EXPONENT_MAX


def check_metadata(metadata: object) -> None:
    """Check the bounds of an event's metadata; raises `InvalidEvent`."""
    if not isinstance(metadata, Mapping):
        raise InvalidEvent("metadata", metadata, "a map of strings")
    if len(metadata) > METADATA_KEYS_MAX:
        raise InvalidEvent("metadata", f"{len(metadata)} keys", f"at most {METADATA_KEYS_MAX} keys")
    total_bytes = 0
    for key, value in metadata.items():
        for text in (key, value):
            if not isinstance(text, str) or "\x00" in text:
                raise InvalidEvent(f"metadata[{shown(key)}]", text, "text without NUL characters")
            try:
                total_bytes += len(text.encode())
            except UnicodeEncodeError:
                raise InvalidEvent(f"metadata[{shown(key)}]", text, "text that UTF-8 can hold") from None
    if total_bytes > METADATA_BYTES_MAX:
        raise InvalidEvent("metadata", f"{total_bytes} bytes", f"at most {METADATA_BYTES_MAX} bytes of UTF-8 in all")


def _shown_time(microseconds: object) -> object:
    """The time as RFC 3339 where it can be shown so, else as it is."""
    if not isinstance(microseconds, int):
        return microseconds
    try:
        return from_microseconds(microseconds).isoformat()
    except OverflowError:  # before the year 1 or after 9999
        return microseconds
