"""The totals of an hour, what was found out about it, and how it is stored.

An hour keeps its stored form until it changes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import msgpack

from costledger.streams.domain.amounts import (
    Amounts,
    Operation,
    add_amounts,
    amounts_of,
    number_or_none,
    packed,
    rows_of,
)

#: Flags of an hour: which rule it broke, and for which rule the end of the spike was told.
OVER_LIMIT: Final = 1
OVER_USUAL: Final = 2
END_TOLD_SHIFT: Final = 2
#: Flag of an hour in which a service was anomalous.
HAS_ANOMALY: Final = 16

_NO_SERVICE: Final[bytes] = packed({})


@dataclass(slots=True)
class ServiceBaseline:
    """What an hour remembers of a service: its usual amount and its limit (1e-12 USD) as they were at its first event."""

    usual: int
    limit: int
    #: Whether the service passed its limit in this hour, and whether it was told that this is over.
    is_anomalous: bool = False
    is_end_told: bool = False


#: The services of an hour in the order in which they were met; None: too little history to call anything usual.
Baselines = dict[str, ServiceBaseline | None]


class HourTotals:
    """The totals of one hour. `usual` is the user's usual hour when this one began (None: too little history).

    The baselines of its services are kept packed: they are seldom looked at. `is_changed` is set by every
    change, and unset by whoever has stored it.
    """

    __slots__ = ("_baselines", "_stored", "amounts", "flags", "is_changed", "total", "usual")

    def __init__(
        self,
        amounts: Amounts | None = None,
        flags: int = 0,
        usual: int | None = None,
        baselines: bytes | None = _NO_SERVICE,
    ) -> None:
        self.amounts: Amounts = {} if amounts is None else amounts
        self.total = sum(self.amounts.values())
        self.flags = flags
        self.usual = usual
        self._baselines = baselines
        self._stored: bytes | None = None
        self.is_changed = True

    @property
    def baselines(self) -> Baselines:
        """A copy of the baselines; to be put back with `set_baselines`."""
        if self._baselines is None:
            # Stored by a release that knew no anomalies: what was met then has no baseline.
            return dict.fromkeys(service for service, _ in self.amounts)
        return {
            service: None if row is None else ServiceBaseline(int(row[0]), int(row[1]), row[2], row[3])
            for service, row in msgpack.unpackb(self._baselines).items()
        }

    def set_baselines(self, baselines: Baselines) -> None:
        """Replace the baselines."""
        rows = {
            service: None
            if one is None
            else (number_or_none(one.usual), number_or_none(one.limit), one.is_anomalous, one.is_end_told)
            for service, one in baselines.items()
        }
        self._baselines = packed(rows)
        self.touch()

    def spent_on(self, service: str) -> int:
        """The total of one service."""
        total = 0
        for operation, amount in self.amounts.items():
            if operation[0] == service:
                total += amount
        return total

    def add(self, added: Mapping[Operation, int]) -> None:
        """Add amounts by (service, operation)."""
        add_amounts(self.amounts, added)
        self.total += sum(added.values())
        # As `touch`, without the call: it is made for every user at every flush.
        self._stored = None
        self.is_changed = True

    def mark(self, flag: int) -> None:
        """Set a flag."""
        self.flags |= flag
        self.touch()

    def merge(self, other: HourTotals) -> None:
        """Take in another hour that turned out to be the same one."""
        baselines, others = self.baselines, other.baselines
        self.add(other.amounts)
        self.flags |= other.flags
        if self.usual is None:
            self.usual = other.usual
        for service, taken in others.items():
            held = baselines.setdefault(service, taken)
            if held is not None and taken is not None:
                held.is_anomalous |= taken.is_anomalous
                held.is_end_told |= taken.is_end_told
        self.set_baselines(baselines)

    def touch(self) -> None:
        """Count the hour as changed, though its totals may not be."""
        self._stored = None
        self.is_changed = True

    def stored(self) -> bytes:
        """The stored form."""
        if self._stored is None:
            row = [rows_of(self.amounts), self.flags, number_or_none(self.usual)]
            self._stored = packed(row if self._baselines is None else [*row, self._baselines])
        return self._stored

    @classmethod
    def of_stored(cls, data: bytes) -> HourTotals:
        """The hour that `stored` wrote."""
        rows, flags, usual, *more = msgpack.unpackb(data)
        hour = cls(amounts_of(rows), flags, None if usual is None else int(usual), more[0] if more else None)
        hour._stored = data
        hour.is_changed = False
        return hour
