"""Periods: half-open intervals [start, end) of an hour, day, week or month in any IANA time zone.

Periods of one kind follow each other without gap or overlap. A day in a zone with daylight saving has 23 to
25 hours. An hour begins on the zone's own full hour and has 3600 seconds, or less where the zone changes its
offset by a part of an hour (Australia/Lord_Howe: 30 minutes). Where clocks go back over midnight, the day
begins at the first of the two. Weeks begin on Monday (ISO 8601). Labels are `2026-11-23T09`, `2026-11-23`, `2026-W48`
and `2026-11`; those of hours, days and months are in the Redis keys.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from costledger.schemas.errors import InvalidValue
from costledger.schemas.times import from_microseconds, to_microseconds

MICROSECONDS_PER_HOUR: Final = 3_600_000_000

#: In a zone directory, and no zones: whatever the machine is set to, and a placeholder.
_ZONES_OF_A_MACHINE: Final = frozenset({"localtime", "posixrules", "Factory"})


class PeriodKind(StrEnum):
    """The lengths of time for which totals are kept."""

    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    MONTH = "month"


@dataclass(frozen=True, slots=True)
class Period:
    """The half-open interval [start_us, end_us), in Unix microseconds, with its label in its own zone."""

    kind: PeriodKind
    start_us: int
    end_us: int
    label: str
    time_zone: str = "UTC"

    def __contains__(self, instant_us: int) -> bool:
        return self.start_us <= instant_us < self.end_us

    def next(self) -> Period:
        """The period that begins where this one ends."""
        return period_at(self.kind, self.end_us, self.time_zone)

    def previous(self) -> Period:
        """The period that ends where this one begins."""
        return period_at(self.kind, self.start_us - 1, self.time_zone)


@lru_cache(maxsize=1024)
def is_portable_zone(name: str) -> bool:
    """Whether a zone's name means the same on every machine, and counts no leap seconds."""
    return name not in _ZONES_OF_A_MACHINE and not name.startswith(("posix/", "right/"))


def zone(name: str) -> ZoneInfo:
    """The IANA zone of this name; an unknown one, or one of a single machine, raises `InvalidValue`."""
    try:
        if not is_portable_zone(name):
            raise ValueError
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise InvalidValue("time_zone", name, "the name of an IANA time zone, for example Europe/Berlin") from None


def period_at(kind: PeriodKind, instant_us: int, time_zone: str = "UTC") -> Period:
    """The period of this kind that holds the instant (Unix microseconds)."""
    if kind is PeriodKind.HOUR:
        return _hour_at(instant_us, time_zone)
    local = from_microseconds(instant_us).astimezone(zone(time_zone))
    period = _civil_period(kind, local.year, local.month, local.day, time_zone)
    # Clocks that go back over midnight show the day before once more, after it has ended.
    return period if instant_us < period.end_us else period.next()


def periods_between(kind: PeriodKind, start_us: int, end_us: int, time_zone: str = "UTC") -> Iterator[Period]:
    """Every period of this kind that overlaps [start_us, end_us), in order, without gaps."""
    if start_us >= end_us:
        return
    period = period_at(kind, start_us, time_zone)
    while period.start_us < end_us:
        yield period
        period = period.next()


def period_of_label(kind: PeriodKind, label: str, time_zone: str = "UTC") -> Period:
    """The period that has this label. An hour that a zone has twice gives the first of the two."""
    formats = {PeriodKind.HOUR: "%Y-%m-%dT%H", PeriodKind.DAY: "%Y-%m-%d", PeriodKind.MONTH: "%Y-%m"}
    try:
        if kind is PeriodKind.WEEK:
            civil = datetime.fromisoformat(f"{label}-1")
        else:
            civil = datetime.strptime(label, formats[kind])  # noqa: DTZ007 - a civil time
    except ValueError:
        raise InvalidValue("period", label, f"the label of a {kind}") from None
    return period_at(kind, _instant(civil, time_zone), time_zone)


def instant_of(civil: datetime, time_zone: str) -> int:
    """When a civil time (without a zone) is reached, Unix microseconds.

    Of a time that the zone has twice, the first; where the zone skips it, the first instant after the gap.
    """
    return _instant(civil, time_zone)


def _hour_at(instant_us: int, time_zone: str) -> Period:
    where = zone(time_zone)
    local = from_microseconds(instant_us).astimezone(where)
    # Subtracted from the instant, not from the civil time: right in the hour that a zone has twice.
    into_us = (local.minute * 60 + local.second) * 1_000_000 + local.microsecond
    start_us = instant_us - into_us
    end_us = start_us + MICROSECONDS_PER_HOUR
    # A change of offset within the hour ends it: what follows is another hour, or the same one again.
    if _offset(start_us, where) != local.utcoffset():
        start_us = _change_of_offset(start_us, instant_us, where)
    if _offset(end_us - 1, where) != local.utcoffset():
        end_us = _change_of_offset(instant_us, end_us - 1, where)
    return Period(PeriodKind.HOUR, start_us, end_us, local.strftime("%Y-%m-%dT%H"), time_zone)


@lru_cache(maxsize=65_536)
def _civil_period(kind: PeriodKind, year: int, month: int, day: int, time_zone: str) -> Period:
    # Arithmetic on civil dates (no zone), then each end is placed in the zone by itself.
    first = datetime(year, month, day)  # noqa: DTZ001 - a civil date
    if kind is PeriodKind.DAY:
        after, label = first + timedelta(days=1), f"{first:%Y-%m-%d}"
    elif kind is PeriodKind.WEEK:
        first -= timedelta(days=first.weekday())
        iso = first.isocalendar()
        after, label = first + timedelta(days=7), f"{iso.year:04d}-W{iso.week:02d}"
    else:
        first = first.replace(day=1)
        after, label = (first + timedelta(days=32)).replace(day=1), f"{first:%Y-%m}"
    return Period(kind, _instant(first, time_zone), _instant(after, time_zone), label, time_zone)


def _instant(civil: datetime, time_zone: str) -> int:
    """When a civil time is reached (its first occurrence); where the zone skips it, the first instant after the gap."""
    where = zone(time_zone)
    reached = to_microseconds(civil.replace(tzinfo=where))
    if from_microseconds(reached).astimezone(where).replace(tzinfo=None) == civil:
        return reached
    # In a gap, fold=0 lands after the change of offset and fold=1 before it: the change is in between.
    before = to_microseconds(civil.replace(tzinfo=where, fold=1))
    return _change_of_offset(before, reached, where)


def _offset(instant_us: int, where: ZoneInfo) -> timedelta | None:
    return from_microseconds(instant_us).astimezone(where).utcoffset()


def _change_of_offset(before_us: int, after_us: int, where: ZoneInfo) -> int:
    """The first instant with the offset of `after_us`; at `before_us` the zone has another one."""
    offset_after = _offset(after_us, where)
    while after_us - before_us > 1:
        middle_us = (before_us + after_us) // 2
        if _offset(middle_us, where) == offset_after:
            after_us = middle_us
        else:
            before_us = middle_us
    return after_us
