"""What callers of the guard may pass: bounds and forms."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from typing import Final
from uuid import UUID

from costledger.producers.guard.outstanding import NO_KEY
from costledger.schemas.errors import InvalidValue
from costledger.schemas.events import NAME_CHARACTERS_MAX, OCCURRED_AT_END_US
from costledger.schemas.ids import event_id_milliseconds
from costledger.schemas.money import AMOUNT_PICODOLLARS_MAX

_KEY_CHARACTERS_MAX: Final = 1024
_RESERVATION_ID: Final = re.compile(r"[0-9a-f]{32}")
_TIMED_UUID_VERSION: Final = 7
#: The end of the year 2099, in Unix milliseconds: what an event's id may hold.
_MILLISECONDS_END: Final = OCCURRED_AT_END_US // 1000


def hashed_key(key: str | None) -> str:
    """A key as Redis has it: of one length, and no text of the caller's."""
    if key is None:
        return NO_KEY
    if not isinstance(key, str) or not 0 < len(key) <= _KEY_CHARACTERS_MAX:
        raise InvalidValue("key", key, f"text of 1 to {_KEY_CHARACTERS_MAX} characters")
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def check_amount(name: str, amount: int) -> None:
    """An amount in 1e-12 USD; `InvalidValue` otherwise."""
    # A float would compare well and be wrong later; a bool is a mistake.
    if type(amount) is not int or not 0 <= amount <= AMOUNT_PICODOLLARS_MAX:
        raise InvalidValue(name, amount, f"an integer from 0 to {AMOUNT_PICODOLLARS_MAX}, in 1e-12 USD")


def check_id(reservation_id: str) -> None:
    """The id of a reservation; `InvalidValue` otherwise. It becomes part of what Lua reads."""
    if not isinstance(reservation_id, str) or not _RESERVATION_ID.fullmatch(reservation_id):
        raise InvalidValue("reservation_id", reservation_id, "the id of a reservation, 32 hexadecimal digits")


def check_user(user_id: str) -> None:
    """A user id as events may have it; `InvalidValue` otherwise: no key of Redis can be made of a lone surrogate."""
    fits = isinstance(user_id, str) and 0 < len(user_id) <= NAME_CHARACTERS_MAX
    if not fits or not user_id.isprintable() or not user_id.strip():
        raise InvalidValue("user_id", user_id, f"text of 1 to {NAME_CHARACTERS_MAX} printable characters")


def check_event_ids(event_ids: Sequence[UUID]) -> None:
    """The ids of events; `InvalidValue` otherwise, also for a UUIDv7 of a time that no event has."""
    for event_id in event_ids:
        if not isinstance(event_id, UUID):
            raise InvalidValue("event_ids", event_id, "UUIDs")
        if event_id.version == _TIMED_UUID_VERSION and event_id_milliseconds(event_id) >= _MILLISECONDS_END:
            raise InvalidValue("event_ids", event_id, "ids of events before 2100")
