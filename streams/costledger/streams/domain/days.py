"""The totals of a day: its hours, and what was told as unpriced; and how they are stored.

A day is *packed*, its stored form alone, until something is to be changed in it; then it is open until `pack`. Of the 40 days that
are kept of a user all but the latest two are packed. What rules look for in them is read from the bytes (`lookback`), so that whoever
has spent for a month costs little more, in time and memory, than whoever came today. Of an open day, too, most hours are
kept as they are stored, in one piece, and only the latest are objects.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgpack

from costledger.streams.domain.amounts import Amounts, Operation, add_amounts, packed
from costledger.streams.domain.hours import HourTotals
from costledger.streams.domain.lookback import flags_of, hour_in, totals_between

#: The stored form: an array of two, the hours by key (in its order) and a list of what was told as unpriced.
_ARRAY_OF_TWO: Final = b"\x92"
_NO_HOURS: Final = b"\x92\x80"
_NONE_UNPRICED: Final = b"\x90"
#: How a map begins: with its size in four bits, or in two bytes.
_SHORT_MAP: Final = b"\x80"
_SHORT_MAP_MAX: Final = 15
_MAP_16: Final = b"\xde"
#: The latest hours of a day, which events are mostly of.
_OPEN_HOURS: Final = 2


class DayTotals:
    """The hours of one day in the user's zone, by `Buckets.hour_key`, and what was told as unpriced that day.

    What `hour` and `unpriced` give can be changed, and nothing else.
    """

    __slots__ = ("_open", "_packed", "_total")

    def __init__(self, stored: bytes = _NO_HOURS + _NONE_UNPRICED) -> None:
        """A packed day, from what `stored` gave."""
        self._packed = stored
        #: What holds instead of it while the day is open.
        self._open: _OpenDay | None = None
        #: The total of a packed day, once somebody has asked for it.
        self._total: int | None = None

    def hour(self, key: int) -> HourTotals:
        """The hour of a key, to be changed; KeyError where there is none."""
        opened = self._open or self._opened()
        return opened.hours.get(key) or opened.hour(key)

    def begin(self, key: int, hour: HourTotals) -> None:
        """Put in an hour without totals."""
        self._opened().hours[key] = hour

    def add(self, key: int, added: Mapping[Operation, int]) -> None:
        """Add amounts to an hour of this day."""
        opened = self._open or self._opened()
        hour = opened.hours.get(key) or opened.hour(key)
        hour.add(added)
        opened.count(added)

    def take_over(self, key: int, hour: HourTotals) -> None:
        """Put an hour with its totals into this day; two of one key become one."""
        opened = self._opened()
        if self.has_hour(key):
            opened.hour(key).merge(hour)
        else:
            opened.hours[key] = hour
        opened.count(hour.amounts)

    @property
    def unpriced(self) -> set[Operation]:
        """What was told as unpriced, to be changed."""
        return self._opened().unpriced

    @property
    def has_hours(self) -> bool:
        """Whether there is an hour."""
        return not self._closed.startswith(_NO_HOURS) or bool(self._open and self._open.hours)

    def has_hour(self, key: int) -> bool:
        """Whether there is an hour of this key."""
        return bool(self._open and key in self._open.hours) or hour_in(self._closed, key) is not None

    def read_hour(self, key: int) -> HourTotals | None:
        """The hour of a key to be looked at, if there is one: what is changed in it may be lost."""
        if self._open and key in self._open.hours:
            return self._open.hours[key]
        stored = hour_in(self._closed, key)
        return None if stored is None else HourTotals.of_stored(stored)

    def read_hours(self) -> dict[int, HourTotals]:
        """All hours by key, to be looked at: what is changed in them may be lost."""
        closed = {key: HourTotals.of_stored(stored) for key, stored in _hours_in(self._closed).items()}
        return closed | self._open.hours if self._open else closed

    def changed_hours(self) -> list[tuple[int, HourTotals]]:
        """Each hour that has changed since `close_hours`, with its key."""
        return [(key, hour) for key, hour in self._open.hours.items() if hour.is_changed] if self._open else []

    @property
    def amounts(self) -> Amounts:
        """The amounts of all hours."""
        return self._open.amounts if self._open else _sum_of(self.read_hours().values())

    @property
    def total(self) -> int:
        """The sum of all amounts, 1e-12 USD."""
        if self._open:
            return self._open.total
        if self._total is None:
            self._total = sum(totals_between([self._packed]))
        return self._total

    def flags(self) -> list[tuple[int, int]]:
        """(key, flags) of each hour that has any."""
        return flags_of(self.stored())

    def stored(self) -> bytes:
        """The stored form."""
        return self._open.stored() if self._open else self._packed

    def close_hours(self) -> None:
        """After the day was stored: no hour counts as changed, and only the latest stay objects."""
        if self._open:
            self._open.close_hours()

    def pack(self) -> None:
        """Keep the stored form alone. Which hours have changed is forgotten with it."""
        if self._open:
            self._packed, self._total, self._open = self._open.stored(), self._open.total, None

    @property
    def _closed(self) -> bytes:
        return self._open.closed if self._open else self._packed

    def _opened(self) -> _OpenDay:
        if self._open is None:
            self._open = _OpenDay(self._packed)
            self._packed = b""
        return self._open


class _OpenDay:
    """A day that is being added to: hours that are objects, and the stored form of all others with nothing unpriced."""

    __slots__ = ("_last_closed", "amounts", "closed", "hours", "total", "unpriced")

    def __init__(self, stored: bytes) -> None:
        closed, unpriced = msgpack.unpackb(stored, strict_map_key=False)
        self.hours: dict[int, HourTotals] = {}
        self.unpriced: set[Operation] = {(service, operation) for service, operation in unpriced}
        #: The largest key of a closed hour.
        self._last_closed = -1
        #: The amounts of all hours, and their sum.
        self.amounts = _sum_of(map(HourTotals.of_stored, closed.values()))
        self.total = sum(self.amounts.values())
        self._close(closed)

    def hour(self, key: int) -> HourTotals:
        hour = self.hours.get(key)
        if hour is None:
            closed = _hours_in(self.closed)
            hour = self.hours[key] = HourTotals.of_stored(closed.pop(key))
            self._close(closed)
        return hour

    def count(self, added: Mapping[Operation, int]) -> None:
        add_amounts(self.amounts, added)
        self.total += sum(added.values())

    def stored(self) -> bytes:
        return self._with(self.hours, packed(sorted(self.unpriced)) if self.unpriced else _NONE_UNPRICED)

    def close_hours(self) -> None:
        for hour in self.hours.values():
            hour.is_changed = False
        if len(self.hours) > _OPEN_HOURS:
            closing = {key: self.hours.pop(key) for key in sorted(self.hours)[:-_OPEN_HOURS]}
            self.closed = self._with(closing, _NONE_UNPRICED)
            self._last_closed = max(self._last_closed, *closing)

    def _close(self, hours: Mapping[int, bytes]) -> None:
        self.closed = packed([dict(sorted(hours.items())), []])
        self._last_closed = max(hours, default=-1)

    def _with(self, hours: Mapping[int, HourTotals], unpriced: bytes) -> bytes:
        """The closed hours and these by key, and what is unpriced, as they are stored."""
        if all(key > self._last_closed for key in hours):
            return _joined(self.closed, sorted(hours.items()), unpriced)
        every = _hours_in(self.closed) | {key: hour.stored() for key, hour in hours.items()}
        return _joined(packed([dict(sorted(every.items())), []]), (), unpriced)


def _hours_in(day: bytes) -> dict[int, bytes]:
    hours: dict[int, bytes] = msgpack.unpackb(day, strict_map_key=False)[0]
    return hours


def _joined(closed: bytes, hours: Sequence[tuple[int, HourTotals]], unpriced: bytes) -> bytes:
    """A stored day with nothing unpriced, with these hours behind its own and with what is unpriced.

    It is not decoded for that: the items of a map stand one after another behind its size.
    """
    if closed[1] & 0xF0 == _SHORT_MAP[0]:
        held, start = closed[1] & 0x0F, 2
    else:
        held, start = int.from_bytes(closed[2:4], "big"), 4
    count = held + len(hours)
    size = bytes([_SHORT_MAP[0] | count]) if count <= _SHORT_MAP_MAX else _MAP_16 + count.to_bytes(2, "big")
    items = [packed(key) + packed(hour.stored()) for key, hour in hours]
    return b"".join([_ARRAY_OF_TWO, size, closed[start:-1], *items, unpriced])


def _sum_of(hours: Iterable[HourTotals]) -> Amounts:
    amounts: Amounts = {}
    for hour in hours:
        add_amounts(amounts, hour.amounts)
    return amounts
