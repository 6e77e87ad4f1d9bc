"""The totals of a day: its hours, and what was told as unpriced; and how they are stored.

Most hours are kept as they are stored, all in one piece; *open* are those that are being added to. A day without open hours is
*packed*: its stored form alone, as are all but the latest two of the 40 days that are kept of a user. What rules look for in them
is read from the bytes (`lookback`), so that whoever has spent for a month costs little more, in time and memory, than whoever came
today.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import msgpack

from costledger.streams.domain.amounts import Amounts, Operation, add_amounts, packed
from costledger.streams.domain.hours import HourTotals
from costledger.streams.domain.lookback import flags_of, totals_between

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

    What `hour` and `unpriced` give can be changed, and nothing else: asked for them a packed day opens, until `pack`.
    """

    __slots__ = ("_amounts", "_closed", "_is_packed", "_last_closed", "_open_hours", "_total", "_unpriced")

    def __init__(self) -> None:
        #: The stored form of a packed day; else that of the hours that are not open, and nothing unpriced.
        self._closed = _NO_HOURS + _NONE_UNPRICED
        self._is_packed = True
        self._open_hours: dict[int, HourTotals] = {}
        #: The largest key of an hour that is not open, where the day is.
        self._last_closed = -1
        self._unpriced: set[Operation] = set()
        #: The amounts of all hours, and their sum.
        self._amounts: Amounts = {}
        self._total = 0

    def hour(self, key: int) -> HourTotals:
        """The hour of a key, to be changed; KeyError where there is none."""
        self._open()
        hour = self._open_hours.get(key)
        if hour is None:
            closed = _hours_in(self._closed)
            hour = self._open_hours[key] = HourTotals.of_stored(closed.pop(key))
            self._close(closed)
        return hour

    def begin(self, key: int, hour: HourTotals) -> None:
        """Put in an hour; it is to have no totals yet."""
        self._open()
        self._open_hours[key] = hour

    def add(self, key: int, added: Mapping[Operation, int]) -> None:
        """Add amounts to an hour of this day."""
        self.hour(key).add(added)
        add_amounts(self._amounts, added)
        self._total += sum(added.values())

    def take_over(self, key: int, hour: HourTotals) -> None:
        """Put an hour with its totals into this day; two of one key become one."""
        if self.has_hour(key):
            self.hour(key).merge(hour)
        else:
            self.begin(key, hour)
        add_amounts(self._amounts, hour.amounts)
        self._total += hour.total

    @property
    def unpriced(self) -> set[Operation]:
        """What was told as unpriced, to be changed."""
        self._open()
        return self._unpriced

    @property
    def has_hours(self) -> bool:
        """Whether there is an hour."""
        return bool(self._open_hours) or not self._closed.startswith(_NO_HOURS)

    def has_hour(self, key: int) -> bool:
        """Whether there is an hour of this key."""
        return key in self._open_hours or key in _hours_in(self._closed)

    def read_hour(self, key: int) -> HourTotals | None:
        """The hour of a key to be looked at, if there is one: what is changed in it may be lost."""
        hour = self._open_hours.get(key)
        if hour is not None:
            return hour
        stored = _hours_in(self._closed).get(key)
        return None if stored is None else HourTotals.of_stored(stored)

    def read_hours(self) -> dict[int, HourTotals]:
        """All hours by key, to be looked at: what is changed in them may be lost."""
        closed = {key: HourTotals.of_stored(stored) for key, stored in _hours_in(self._closed).items()}
        return closed | self._open_hours

    def changed_hours(self) -> list[tuple[int, HourTotals]]:
        """Each hour that has changed since `close_hours`, with its key."""
        return [(key, hour) for key, hour in self._open_hours.items() if hour.is_changed]

    @property
    def amounts(self) -> Amounts:
        """The amounts of all hours."""
        return _sum_of(self.read_hours().values()) if self._is_packed else self._amounts

    @property
    def total(self) -> int:
        """The sum of all amounts, 1e-12 USD."""
        return sum(totals_between([self._closed])) if self._is_packed else self._total

    def flags(self) -> list[tuple[int, int]]:
        """(key, flags) of each hour that has any."""
        return flags_of(self.stored())

    def stored(self) -> bytes:
        """The stored form."""
        if self._is_packed:
            return self._closed
        return self._with(self._open_hours, packed(sorted(self._unpriced)) if self._unpriced else _NONE_UNPRICED)

    def close_hours(self) -> None:
        """After the day was stored: no hour counts as changed, and only the latest stay open."""
        for hour in self._open_hours.values():
            hour.is_changed = False
        if len(self._open_hours) > _OPEN_HOURS:
            closing = {key: self._open_hours.pop(key) for key in sorted(self._open_hours)[:-_OPEN_HOURS]}
            self._closed = self._with(closing, _NONE_UNPRICED)
            self._last_closed = max(self._last_closed, *closing)

    def pack(self) -> None:
        """Keep the stored form alone. Which hours have changed is forgotten with it."""
        self._closed, self._is_packed, self._last_closed = self.stored(), True, -1
        self._open_hours, self._unpriced, self._amounts, self._total = {}, set(), {}, 0

    @classmethod
    def of_stored(cls, data: bytes) -> DayTotals:
        """The day that `stored` wrote, packed."""
        day = cls()
        day._closed = data
        return day

    def _open(self) -> None:
        if self._is_packed:
            self._amounts = self.amounts
            self._total = sum(self._amounts.values())
            hours, unpriced = msgpack.unpackb(self._closed, strict_map_key=False)
            self._unpriced = {(service, operation) for service, operation in unpriced}
            self._close(hours)
            self._is_packed = False

    def _close(self, hours: Mapping[int, bytes]) -> None:
        self._closed = packed([dict(sorted(hours.items())), []])
        self._last_closed = max(hours, default=-1)

    def _with(self, hours: Mapping[int, HourTotals], unpriced: bytes) -> bytes:
        """The closed hours and these by key, and what is unpriced, as they are stored."""
        if all(key > self._last_closed for key in hours):
            return _joined(self._closed, sorted(hours.items()), unpriced)
        every = _hours_in(self._closed) | {key: hour.stored() for key, hour in hours.items()}
        return _joined(packed([dict(sorted(every.items())), []]), (), unpriced)


def _hours_in(data: bytes) -> dict[int, bytes]:
    hours: dict[int, bytes] = msgpack.unpackb(data, strict_map_key=False)[0]
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
