"""A user's days, hours and months in the user's own time zone, and which of them must be stored again."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from costledger.schemas.periods import Period, PeriodKind
from costledger.streams.domain.buckets import (
    QUARTERS_PER_HOUR,
    Buckets,
    buckets_of,
    labelled,
    labels_before,
    quarter_of,
)
from costledger.streams.domain.days import DayTotals
from costledger.streams.domain.hours import HourTotals
from costledger.streams.domain.lookback import totals_between
from costledger.streams.domain.months import MonthTotals

_WEEK_DAYS: Final = 7
_WEEK_QUARTERS: Final = _WEEK_DAYS * 24 * QUARTERS_PER_HOUR
#: The latest days, which events are mostly of: those of a day come late into the one before it, seldom into others.
_OPEN_DAYS: Final = 2


class Calendar:
    """Totals by period. A label in `changed_days` or `changed_months` that is no longer held was dropped.

    What is looked at for a decision must not depend on when old periods are dropped: see `look_back_to`.
    """

    __slots__ = (
        "_forgotten_before",
        "_oldest_day",
        "_open_from",
        "changed_days",
        "changed_months",
        "days",
        "months",
        "retired",
        "time_zone",
    )

    def __init__(self, time_zone: str = "UTC") -> None:
        self.time_zone = time_zone
        self.days: dict[str, DayTotals] = {}
        self.months: dict[str, MonthTotals] = {}
        self.changed_days: set[str] = set()
        self.changed_months: set[str] = set()
        #: Periods that a change of zone has left without totals.
        self.retired: set[tuple[PeriodKind, str]] = set()
        self._oldest_day = ""
        #: The first of the latest days; None where a day was begun since they were looked for.
        self._open_from: str | None = None
        self._forgotten_before = ""

    def look_back_to(self, instant_us: int) -> None:
        """From here on `hour` and `week_before` know no day before the one that holds the instant (Unix microseconds)."""
        self._oldest_day = self.buckets(quarter_of(instant_us)).day.label

    def buckets(self, quarter: int) -> Buckets:
        """The periods that hold a quarter, in the user's zone."""
        return buckets_of(quarter, self.time_zone)

    def period(self, kind: PeriodKind, label: str) -> Period:
        """The period of a label, in the user's zone."""
        return labelled(kind, label, self.time_zone)

    def day(self, label: str) -> DayTotals:
        """The day of a label, begun if there is none."""
        day = self.days.get(label)
        if day is None:
            day = self.days[label] = DayTotals()
            self._open_from = None
        return day

    def month(self, label: str) -> MonthTotals:
        """The month of a label, begun if there is none."""
        month = self.months.get(label)
        if month is None:
            month = self.months[label] = MonthTotals()
        return month

    def hour(self, hour_key: int) -> HourTotals | None:
        """The hour of a key to be read, if there is one, and it may be looked at."""
        label = self.buckets(hour_key).day.label
        day = self.days.get(label) if label >= self._oldest_day else None
        return None if day is None else day.read_hour(hour_key)

    def is_held(self, day_label: str) -> bool:
        """Whether a day has events with an amount."""
        day = self.days.get(day_label)
        return day is not None and day.has_hours

    def hour_before(self, hour_key: int) -> int:
        """The key of the hour that ends where this one begins: where a zone changes its offset, not always 60 minutes."""
        return self.buckets(hour_key - 1).hour_key

    def hours(self) -> Iterator[tuple[int, HourTotals]]:
        """Every hour with its key, to be read, in no particular order."""
        for day in self.days.values():
            yield from day.read_hours().items()

    def flagged(self) -> list[tuple[int, int, DayTotals]]:
        """Key, flags and day of every hour that has any flag."""
        return [(key, flags, day) for day in self.days.values() for key, flags in day.flags()]

    def week_before(self, hour_key: int) -> list[int]:
        """The totals of the hours in the seven days before an hour that may be looked at."""
        start = hour_key - _WEEK_QUARTERS
        first = max(self.buckets(start).day.label, self._oldest_day)
        today = self.buckets(hour_key).day.label
        # One more: where clocks went forward, a week before the first hour of a day is in the last one of another.
        labels = (today, *labels_before(today, _WEEK_DAYS + 1))
        week = [self.days[label].stored() for label in labels if first <= label and label in self.days]
        return totals_between(week, start, hour_key)

    def pack_days(self) -> None:
        """Once what has changed is stored: pack the days that events are seldom of."""
        if self._open_from is None:
            labels = sorted(self.days)
            self._open_from = labels[-_OPEN_DAYS:][0] if labels else ""
            closing = labels[:-_OPEN_DAYS]
        else:
            closing = [label for label in self.changed_days if label < self._open_from and label in self.days]
        for label in closing:
            self.days[label].pack()
        for label in self.changed_days:
            if label in self.days:
                self.days[label].close_hours()

    def forget_before(self, instant_us: int) -> None:
        """Drop the days and months that ended before the instant (Unix microseconds)."""
        # Labels of days and months sort by time: what is less than the label that holds the instant has ended.
        buckets = self.buckets(quarter_of(instant_us))
        if self._open_from is not None and self._forgotten_before == buckets.day.label:
            # No day was begun since.
            return
        self._forgotten_before = buckets.day.label
        for label in [label for label in self.days if label < buckets.day.label]:
            del self.days[label]
            self.changed_days.add(label)
        for label in [label for label in self.months if label < buckets.month.label]:
            del self.months[label]
            self.changed_months.add(label)

    def move_to_zone(self, time_zone: str) -> None:
        """Put the hours into the days and months of another zone.

        An hour of the old zone that lies across a boundary of the new one (zones half an hour apart) counts
        where it begins, and is one with the hour of the new zone that it falls into. A boundary whose hours
        were dropped already stays where it was: it is history.
        """
        before = self.labels()
        hours = dict(self.hours())
        months_before = {key: self.buckets(key).month.label for key in hours}
        unpriced = {label: day.unpriced for label, day in self.days.items()}
        self.time_zone = time_zone
        self.changed_days |= set(self.days)
        self.days = {}
        for key, hour in sorted(hours.items()):
            buckets = self.buckets(key)
            self.day(buckets.day.label).take_over(buckets.hour_key, hour)
        for label, told in unpriced.items():
            if told:
                self.day(label).unpriced.update(told)
        self.changed_days |= set(self.days)
        self._move_months(hours, months_before)
        for hour in hours.values():
            hour.touch()
        self.retired |= before - self.labels()

    def labels(self) -> set[tuple[PeriodKind, str]]:
        """(kind, label) of every period that has totals."""
        hours = {(PeriodKind.HOUR, self.buckets(key).hour.label) for key, _ in self.hours()}
        days = {(PeriodKind.DAY, label) for label in self.days}
        return hours | days | {(PeriodKind.MONTH, label) for label in self.months}

    def _move_months(self, hours: dict[int, HourTotals], months_before: dict[int, str]) -> None:
        for key, hour in hours.items():
            source, target = months_before[key], self.buckets(key).month.label
            if source != target:
                self.month(source).add({operation: -amount for operation, amount in hour.amounts.items()})
                self.month(target).add(hour.amounts)
                self.changed_months |= {source, target}
