"""Identifiers: event ids (UUIDv7 whose time is the event's) and alert ids (derived from what they say).

Layout of a UUIDv7: RFC 9562, section 5.7 (48 bits of Unix milliseconds, version, 74 random bits).
"""

from __future__ import annotations

import hashlib
from typing import Final
from uuid import UUID, SafeUUID, uuid5

from uuid_utils import uuid7

#: Name space of the ids that costledger derives (RFC 9562, section 5.5); a constant, made once at random.
COSTLEDGER_NAMESPACE = UUID("5e0e3b1c-7a56-4d5b-9b1e-0d8f6a1c2e47")
_new: Final = object.__new__
_set: Final = object.__setattr__


def new_event_id(occurred_at_us: int) -> UUID:
    """A fresh UUIDv7 for an event that occurred at `occurred_at_us` (Unix microseconds, UTC)."""
    return new_event_id_text(occurred_at_us)[0]


def new_event_id_text(occurred_at_us: int) -> tuple[UUID, str]:
    """The same with its text, for hot paths: the library that makes the id has it sooner than `str` of a `UUID`."""
    made = uuid7(nanoseconds=occurred_at_us * 1000)
    # As `UUID(int=...)`, which would check what a UUID cannot have wrong: a third of the time.
    event_id = _new(UUID)
    _set(event_id, "int", made.int)
    _set(event_id, "is_safe", SafeUUID.unknown)
    return event_id, str(made)


def derived_event_id(occurred_at_us: int, *parts: str | bytes) -> UUID:
    """The UUIDv7 that always belongs to this time and these parts: what makes an import repeatable.

    The 74 bits that are random elsewhere come from SHA-256 over the parts, each preceded by its length.
    """
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "big"))
        digest.update(data)
    random_bits = int.from_bytes(digest.digest()[:10], "big")
    rand_a, rand_b = (random_bits >> 62) & 0xFFF, random_bits & ((1 << 62) - 1)
    milliseconds = occurred_at_us // 1000
    return UUID(int=(milliseconds << 80) | (0x7 << 76) | (rand_a << 64) | (0b10 << 62) | rand_b)


def event_id_milliseconds(event_id: UUID) -> int:
    """The Unix milliseconds in a UUIDv7."""
    return event_id.int >> 80


def event_id_floor(instant_us: int) -> UUID:
    """No UUIDv7 of this millisecond (of Unix microseconds) or later is below it, none earlier is above it."""
    return UUID(int=instant_us // 1000 << 80)


def derived_alert_id(*parts: str) -> UUID:
    """The id of an alert, derived from what it is about: the same decision always has the same id."""
    return uuid5(COSTLEDGER_NAMESPACE, "\x1f".join(parts))
