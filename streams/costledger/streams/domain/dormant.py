"""A user at rest as bytes: a fraction of what the decoded totals take, and no objects for the collector to walk.

A user's totals are some dozens of objects, several kilobytes for a few hundred bytes of amounts. Most users have no
event for hours; they are kept as the bytes of their state records, with what was found out about these (which spikes
and anomalies are open, the month's outlook), so that waking up decides as staying awake would have.

The first `_LABELS_BYTES` say from when on anything of the user is to be forgotten, without decoding the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import msgpack

from costledger.schemas.codec import decode_budget, encode_stored_budget
from costledger.streams.domain.days import DayTotals
from costledger.streams.domain.months import MonthTotals
from costledger.streams.domain.rules import Rules
from costledger.streams.domain.user import UserTotals

_DAY_BYTES: Final = len("2026-11-23")
_LABELS_BYTES: Final = _DAY_BYTES + len("2026-11")
#: Sort after and before every label.
_NEVER: Final = "~"
_AT_ONCE: Final = " "


@dataclass(slots=True)
class StoredUser:
    """What the state records of one user say, not decoded: values by label, and the stored budget (empty: none)."""

    fence: int = -1
    budget_offset: int = -1
    budget: bytes = b""
    days: dict[str, bytes] = field(default_factory=dict)
    months: dict[str, bytes] = field(default_factory=dict)

    def packed(self, found: list[Any] | None = None) -> bytes:
        """The bytes that `woken` takes; `found` is what is known of the periods beside their totals."""
        is_left = self.days or self.months or self.budget
        day = min(self.days, default=_NEVER if is_left else _AT_ONCE).ljust(_DAY_BYTES)
        month = min(self.months, default=_NEVER).ljust(_LABELS_BYTES - _DAY_BYTES)
        body = (self.fence, self.budget_offset, self.budget, self.days, self.months, found)
        return (day + month).encode("ascii") + msgpack.packb(body)  # type: ignore[no-any-return]  # bytes, as no stream is given


def put_to_rest(user: UserTotals) -> bytes:
    """A user for whom nothing waits, as bytes."""
    calendar = user.calendar
    stored = StoredUser(
        user.fence,
        user.budget_offset,
        encode_stored_budget(user.budget) if user.budget.version else b"",
        {label: day.stored() for label, day in calendar.days.items()},
        {label: month.stored() for label, month in calendar.months.items()},
    )
    return stored.packed(user.found())


def woken(user_id: str, data: bytes, rules: Rules) -> UserTotals:
    """The user that was put to rest, or whose state was recovered."""
    body: tuple[int, int, bytes, Mapping[str, bytes], Mapping[str, bytes], list[Any] | None]
    body = msgpack.unpackb(memoryview(data)[_LABELS_BYTES:], strict_map_key=False)
    fence, budget_offset, budget, days, months, found = body
    user = UserTotals(user_id, rules, fence)
    user.take_back(decode_budget(budget) if budget else None, budget_offset)
    for label, value in days.items():
        user.calendar.days[label] = DayTotals(value)
    for label, value in months.items():
        user.calendar.months[label] = MonthTotals.of_stored(value)
    if found is None:
        user.taken_back()
    else:
        user.take_findings(found)
    return user


def is_due(data: bytes, day: bytes, month: bytes) -> bool:
    """Whether a user at rest may have a day or month before these labels, or has nothing left but a place."""
    return data[:_DAY_BYTES] < day or data[_DAY_BYTES:_LABELS_BYTES] < month
