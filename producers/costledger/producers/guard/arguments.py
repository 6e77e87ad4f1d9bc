"""What callers of the guard may pass: bounds and forms."""

from __future__ import annotations

import hashlib
import re
from typing import Final

from costledger.producers.guard.outstanding import NO_KEY
from costledger.schemas.errors import InvalidValue
from costledger.schemas.money import AMOUNT_PICODOLLARS_MAX

_KEY_CHARACTERS_MAX: Final = 1024
_RESERVATION_ID: Final = re.compile(r"[0-9a-f]{32}")


def hashed_key(key: str | None) -> str:
    """A key as Redis has it: of one length, and no text of the caller's."""
    if key is None:
        return NO_KEY
    if not 0 < len(key) <= _KEY_CHARACTERS_MAX:
        raise InvalidValue("key", key, f"text of 1 to {_KEY_CHARACTERS_MAX} characters")
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


def check_amount(name: str, amount: int) -> None:
    """An amount in 1e-12 USD; `InvalidValue` otherwise."""
    # A float would compare well and be wrong later; a bool is a mistake.
    if type(amount) is not int or not 0 <= amount <= AMOUNT_PICODOLLARS_MAX:
        raise InvalidValue(name, amount, f"an integer from 0 to {AMOUNT_PICODOLLARS_MAX}, in 1e-12 USD")


def check_id(reservation_id: str) -> None:
    """The id of a reservation; `InvalidValue` otherwise. It becomes part of what Lua reads."""
    if not _RESERVATION_ID.fullmatch(reservation_id):
        raise InvalidValue("reservation_id", reservation_id, "the id of a reservation, 32 hexadecimal digits")
