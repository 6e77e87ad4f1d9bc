"""The records of state: totals of an hour, of a day (its hours) and of a month, and how they are stored.

Amounts are integers of 1e-12 USD by (service, operation). The stored form is msgpack; integers beyond 64
bits, which msgpack cannot hold, are stored as text. An hour keeps its stored form until it changes, so that
writing a day again costs one hour, not twenty-four. A day that was stored is decoded when it is first looked at.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final

import msgpack

from costledger.schemas.budgets import THRESHOLDS_MAX

Operation = tuple[str, str]
Amounts = dict[Operation, int]

_INT64_MIN: Final = -(2**63)
_INT64_MAX: Final = 2**63 - 1

#: Thresholds of a month that are remembered as told: many times what one budget may have.
TOLD_MAX: Final = 16 * THRESHOLDS_MAX

#: Flags of an hour: which rule it broke, and for which rule the end of the spike was told.
OVER_LIMIT: Final = 1
OVER_USUAL: Final = 2
END_TOLD_SHIFT: Final = 2
#: Flag of an hour in which a service was anomalous.
HAS_ANOMALY: Final = 16

#: Names of operations, and lists of thresholds, that are one object wherever they are met.
_SHARED_MAX: Final = 4096

_NO_SERVICE: Final[bytes] = msgpack.packb({})
#: How a stored day without hours begins: an array of two, the first an empty map.
_NO_HOURS: Final = b"\x92\x80"


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

    The baselines of its services are kept packed: an hour lives for weeks, and they are seldom looked at after it.
    """

    __slots__ = ("_baselines", "_stored", "amounts", "flags", "total", "usual")

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
            else (_number(one.usual), _number(one.limit), one.is_anomalous, one.is_end_told)
            for service, one in baselines.items()
        }
        self._baselines = _packed(rows)
        self._stored = None

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
        self._stored = None

    def mark(self, flag: int) -> None:
        """Set a flag."""
        self.flags |= flag
        self._stored = None

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
        """Count the hour as changed, though its totals are not."""
        self._stored = None

    @property
    def is_changed(self) -> bool:
        """Whether the hour has changed since it was last stored."""
        return self._stored is None

    def stored(self) -> bytes:
        """The stored form."""
        if self._stored is None:
            row = [_amount_rows(self.amounts), self.flags, _number(self.usual)]
            self._stored = _packed(row if self._baselines is None else [*row, self._baselines])
        return self._stored

    @classmethod
    def of_stored(cls, data: bytes) -> HourTotals:
        """The hour that `stored` wrote."""
        rows, flags, usual, *more = msgpack.unpackb(data)
        hour = cls(_amounts(rows), flags, None if usual is None else int(usual), more[0] if more else None)
        hour._stored = data
        return hour


class DayTotals:
    """The hours of one day in the user's zone, by `Buckets.hour_key`, and what was told as unpriced that day."""

    __slots__ = ("_amounts", "_hours", "_stored", "_total", "_unpriced")

    def __init__(self) -> None:
        self._hours: dict[int, HourTotals] = {}
        self._unpriced: set[Operation] = set()
        self._amounts: Amounts = {}
        self._total = 0
        #: What is not decoded yet.
        self._stored: bytes | None = None

    @property
    def hours(self) -> dict[int, HourTotals]:
        """The hours by key."""
        if self._stored is not None:
            self._decode(self._stored)
        return self._hours

    @property
    def unpriced(self) -> set[Operation]:
        """What was told as unpriced."""
        if self._stored is not None:
            self._decode(self._stored)
        return self._unpriced

    @property
    def amounts(self) -> Amounts:
        """The amounts of all hours."""
        if self._stored is not None:
            self._decode(self._stored)
        return self._amounts

    @property
    def total(self) -> int:
        """The sum of all amounts, 1e-12 USD."""
        if self._stored is not None:
            self._decode(self._stored)
        return self._total

    @property
    def has_hours(self) -> bool:
        """Whether there is an hour; nothing is decoded for it."""
        return bool(self._hours) if self._stored is None else not self._stored.startswith(_NO_HOURS)

    def add(self, hour_key: int, added: Mapping[Operation, int]) -> None:
        """Add amounts to an hour of this day."""
        self.hours[hour_key].add(added)
        add_amounts(self._amounts, added)
        self._total += sum(added.values())

    def take_over(self, hour_key: int, hour: HourTotals) -> None:
        """Put an hour with its totals into this day; two of one key become one."""
        held = self.hours.get(hour_key)
        if held is None:
            self._hours[hour_key] = hour
        else:
            held.merge(hour)
        add_amounts(self._amounts, hour.amounts)
        self._total += hour.total

    def stored(self) -> bytes:
        """The stored form."""
        if self._stored is not None:
            return self._stored
        hours = {key: hour.stored() for key, hour in self._hours.items()}
        return _packed([hours, sorted(self._unpriced)])

    @classmethod
    def of_stored(cls, data: bytes) -> DayTotals:
        """The day that `stored` wrote."""
        day = cls()
        day._stored = data
        return day

    def _decode(self, data: bytes) -> None:
        hours, unpriced = msgpack.unpackb(data, strict_map_key=False)
        self._hours = {key: HourTotals.of_stored(hour) for key, hour in hours.items()}
        self._unpriced = {(service, operation) for service, operation in unpriced}
        for hour in self._hours.values():
            add_amounts(self._amounts, hour.amounts)
        self._total = sum(self._amounts.values())
        self._stored = None


class MonthTotals:
    """The totals of one month, and what was told about it.

    `told` has for each threshold (percent) the highest amount at which it was told. `version` and
    `thresholds` are the budget last in force while the month was open: late events are held against it.
    `forecast` is the highest budget that the projection was seen to pass (-1: none).
    """

    __slots__ = ("amounts", "forecast", "thresholds", "told", "total", "version")

    def __init__(self) -> None:
        self.amounts: Amounts = {}
        self.total = 0
        self.told: dict[Decimal, int] = {}
        self.version = 0
        self.thresholds: tuple[tuple[Decimal, int], ...] = ()
        self.forecast = -1

    def add(self, added: Mapping[Operation, int]) -> None:
        """Add amounts by (service, operation)."""
        add_amounts(self.amounts, added)
        self.total += sum(added.values())

    def tell(self, percent: Decimal, amount: int) -> None:
        """Note that a threshold was told at an amount.

        A user may set ever new thresholds: of those no longer in force, the oldest are forgotten.
        """
        self.told.pop(percent, None)
        self.told[percent] = amount
        if len(self.told) > TOLD_MAX:
            in_force = {each for each, _ in self.thresholds}
            del self.told[next(each for each in self.told if each not in in_force)]

    def stored(self) -> bytes:
        """The stored form."""
        told = {_percent_text(percent): number(amount) for percent, amount in self.told.items()}
        thresholds = _threshold_rows(self.thresholds)
        return _packed([_amount_rows(self.amounts), told, self.version, thresholds, _number(self.forecast)])

    @classmethod
    def of_stored(cls, data: bytes) -> MonthTotals:
        """The month that `stored` wrote."""
        month = cls()
        rows, told, month.version, thresholds, *more = msgpack.unpackb(data, use_list=False)
        month.forecast = int(more[0]) if more else -1
        month.amounts = _amounts(rows)
        month.total = sum(month.amounts.values())
        month.told = {Decimal(percent): int(amount) for percent, amount in told.items()}
        month.thresholds = _thresholds(thresholds)
        return month


def add_amounts(amounts: Amounts, added: Mapping[Operation, int]) -> None:
    """Add `added` to `amounts`, in place."""
    for operation, amount in added.items():
        amounts[operation] = amounts.get(operation, 0) + amount


def _packed(value: Any) -> bytes:
    return msgpack.packb(value)  # type: ignore[no-any-return]  # bytes, as no stream is given


def _amount_rows(amounts: Amounts) -> list[tuple[str, str, int | str]]:
    return [(service, operation, number(amount)) for (service, operation), amount in amounts.items()]


def _amounts(rows: Iterable[tuple[str, str, int | str]]) -> Amounts:
    return {_operation(service, name): int(amount) for service, name, amount in rows}


@lru_cache(maxsize=_SHARED_MAX)
def _operation(service: str, name: str) -> Operation:
    return service, name


@lru_cache(maxsize=_SHARED_MAX)
def _threshold_rows(thresholds: tuple[tuple[Decimal, int], ...]) -> list[tuple[str, int | str | None]]:
    return [(_percent_text(percent), number(amount)) for percent, amount in thresholds]


@lru_cache(maxsize=_SHARED_MAX)
def _thresholds(rows: tuple[tuple[str, int | str], ...]) -> tuple[tuple[Decimal, int], ...]:
    return tuple((Decimal(percent), int(amount)) for percent, amount in rows)


@lru_cache(maxsize=_SHARED_MAX)
def _percent_text(percent: Decimal) -> str:
    """One text for equal numbers: 90 and 9E+1 are one key of a cache, and would else be written as whichever came first."""
    return f"{percent.normalize():f}"


def number(value: int) -> int | str:
    """An integer as MessagePack can have it: text beyond 64 bits."""
    return value if _INT64_MIN <= value <= _INT64_MAX else str(value)


def _number(value: int | None) -> int | str | None:
    return None if value is None else number(value)
