"""Cost events to Avro by the short way: for records like those that went before.

An emitter's events differ in few fields. What most of them share (names, unit, price) is checked and encoded once, and
remembered; here only the rest is checked and encoded. Whatever is not plainly within bounds takes the long way,
`check_event` and fastavro, which alone say what is wrong. The bytes are the same by either way (Avro 1.12
specification, binary encoding).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final

from costledger.schemas.avro_bytes import NOT_NULL, NULL, integer, nullable_text, text_bytes, varint
from costledger.schemas.events import (
    ID_TIME_TOLERANCE_MILLISECONDS,
    OCCURRED_AT_END_US,
    OCCURRED_AT_MIN_US,
    Category,
    EventRecord,
    check_metadata,
)
from costledger.schemas.money import AMOUNT_PICODOLLARS_MAX, QUANTITY_NANOUNITS_MAX
from costledger.schemas.twins import twin_of

#: The same of the compiled twin, given what is remembered; or None.
_compiled: Callable[..., bytes | None] | None = twin_of(__name__, "known_event_bytes")

#: What is remembered is forgotten, all at once, when there is more of it.
NAMES_REMEMBERED_MAX: Final = 4096
USERS_REMEMBERED_MAX: Final = 16_384

#: A UUIDv7 in canonical form.
_EVENT_ID: Final = re.compile("[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
#: Before an id of 36 characters.
_ID_LENGTH: Final = b"\x48"

#: Names that records share -> their bytes before the quantity, between it and the amount, and after the time.
_names: dict[tuple[object, ...], tuple[bytes, bytes, bytes]] = {}
_users: dict[object, bytes] = {}


def known_event_bytes(record: EventRecord) -> bytes | None:
    """The body of a record in Avro, or None: then the long way tells what is wrong, or encodes it.

    Only what a record that went the long way has taught is encoded here (see `learn`).
    """
    try:
        if _compiled is not None:
            return _compiled(record, _names, _users, _map)
        before, between, after = _names[_key_of(record)]
        user = _users[record["user_id"]]
        event_id, occurred_at = record["event_id"], record["occurred_at"]
        quantity, amount = record["quantity"], record["amount"]
        metadata = record["metadata"]
        if record["reverses_event_id"] is not None or record["currency"] != "USD":
            return None
    except (KeyError, TypeError):
        # Something new, something missing, or something that cannot be a key.
        return None
    if (
        type(event_id) is not str
        or _EVENT_ID.fullmatch(event_id) is None
        or type(occurred_at) is not int
        or not OCCURRED_AT_MIN_US <= occurred_at < OCCURRED_AT_END_US
        or abs(int(event_id[:8] + event_id[9:13], 16) - occurred_at // 1000) > ID_TIME_TOLERANCE_MILLISECONDS
        or type(quantity) is not int
        or not -QUANTITY_NANOUNITS_MAX <= quantity <= QUANTITY_NANOUNITS_MAX
        or type(metadata) is not dict
    ):
        return None
    if amount is None:
        amount_bytes = NULL
    elif type(amount) is int and -AMOUNT_PICODOLLARS_MAX <= amount <= AMOUNT_PICODOLLARS_MAX:
        amount_bytes = NOT_NULL + integer(amount)
    else:
        return None
    doubled = occurred_at << 1
    time = bytes((doubled & 127 | 128, doubled >> 7 & 127 | 128, doubled >> 14 & 127 | 128)) + varint(doubled >> 21)
    parts = (
        *(_ID_LENGTH, event_id.encode(), user, before, integer(quantity), between, amount_bytes),
        *(_USD, time, after, _map(metadata) if metadata else NULL),
    )
    return b"".join(parts)


def learn(record: EventRecord) -> None:
    """Remember the names of a record that `check_event` has passed."""
    names = _key_of(record)
    if not all(type(name) is str or name is None for name in names) or type(record["user_id"]) is not str:
        return
    service, operation, category, unit, unit_price, price_version, source = names
    if len(_names) >= NAMES_REMEMBERED_MAX:
        _names.clear()
    if len(_users) >= USERS_REMEMBERED_MAX:
        _users.clear()
    _names[names] = (
        text_bytes(service) + text_bytes(operation) + varint(2 * _CATEGORY_NUMBERS[category]),
        text_bytes(unit) + nullable_text(unit_price) + nullable_text(price_version),
        text_bytes(source) + NULL,
    )
    _users[record["user_id"]] = text_bytes(record["user_id"])


def _key_of(record: EventRecord) -> tuple[Any, ...]:
    return (
        record["service"],
        record["operation"],
        record["category"],
        record["unit"],
        record["unit_price"],
        record["price_version"],
        record["source"],
    )


def _map(texts: dict[str, str]) -> bytes:
    """A map as one block, as fastavro writes it; raises `InvalidEvent` out of bounds."""
    check_metadata(texts)
    parts = [varint(len(texts) << 1)]
    for key, value in texts.items():
        parts += (text_bytes(key), text_bytes(value))
    parts.append(NULL)
    return b"".join(parts)


_CATEGORY_NUMBERS: Final = {str(category): number for number, category in enumerate(Category)}
_USD: Final = text_bytes("USD")
