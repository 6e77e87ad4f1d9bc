"""Which time a report is about, and when it is due: civil days and weeks of one IANA zone, also over changes of the clocks.

The date of a daily report is the day that it is about. The date of a weekly report is the day after its seven days:
that of 2026-11-23 is about 2026-11-16 to 2026-11-22.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from enum import StrEnum
from typing import Final

from costledger.schemas.errors import InvalidValue
from costledger.schemas.periods import PeriodKind, instant_of, period_of_label
from costledger.schemas.settings import Settings
from costledger.schemas.times import from_microseconds, rfc3339

DAYS_OF_A_WEEK: Final = 7
#: How far back missed reports are made up for after a downtime; older ones are made by hand.
DAILY_CATCH_UP_MAX: Final = 7
WEEKLY_CATCH_UP_MAX: Final = 4
_WEEKDAYS: Final = ("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")
_FIRST_DATE: Final = date(2000, 1, 15)
_LAST_DATE: Final = date(2099, 12, 15)


class ReportKind(StrEnum):
    """The reports that people get."""

    DAILY = "daily"
    WEEKLY = "weekly"


@dataclass(frozen=True, slots=True)
class ReportPeriod:
    """What a report is about: [start_us, end_us) in Unix microseconds; `label` is its date in words of its zone."""

    kind: ReportKind
    date: date
    time_zone: str
    start_us: int
    end_us: int

    @property
    def start(self) -> datetime:
        """The first instant, UTC."""
        return from_microseconds(self.start_us)

    @property
    def end(self) -> datetime:
        """The first instant after it, UTC."""
        return from_microseconds(self.end_us)

    @property
    def label(self) -> str:
        """For people: a day, or the first and last day of a week."""
        if self.kind is ReportKind.DAILY:
            return self.date.isoformat()
        first, last = self.date - timedelta(days=DAYS_OF_A_WEEK), self.date - timedelta(days=1)
        return f"{first.isoformat()} to {last.isoformat()}"

    def earlier(self, count: int) -> ReportPeriod:
        """The period of the same length and weekday, `count` weeks before."""
        return report_period(self.kind, self.date - timedelta(days=DAYS_OF_A_WEEK * count), self.time_zone)

    def before(self) -> ReportPeriod:
        """The period that ends where this one begins: the day before, or the week before."""
        days = 1 if self.kind is ReportKind.DAILY else DAYS_OF_A_WEEK
        return report_period(self.kind, self.date - timedelta(days=days), self.time_zone)


@dataclass(frozen=True, slots=True)
class Schedule:
    """When reports are made: the civil times of the settings, in one zone."""

    time_zone: str
    daily_at: timedelta
    weekly_on: int
    weekly_at: timedelta

    @classmethod
    def of(cls, settings: Settings) -> Schedule:
        """The schedule of the settings; `InvalidValue` for a zone that is none."""
        weekday, _, weekly_at = settings.report_weekly_at.partition(" ")
        instant_of(datetime(2026, 1, 1), settings.jobs_time_zone)  # noqa: DTZ001 - refuses an unknown zone
        return cls(
            time_zone=settings.jobs_time_zone,
            daily_at=_time_of_day(settings.report_daily_at),
            weekly_on=_WEEKDAYS.index(weekday),
            weekly_at=_time_of_day(weekly_at),
        )

    def due_us(self, period: ReportPeriod) -> int:
        """When the report of a period is to be made, Unix microseconds.

        A time that the zone skips is the first instant after the gap; of one that it has twice, the first.
        """
        daily = period.kind is ReportKind.DAILY
        day = period.date + timedelta(days=1) if daily else period.date
        at = self.daily_at if daily else self.weekly_at
        civil = datetime(day.year, day.month, day.day) + at  # noqa: DTZ001 - a civil time
        # A zone that changes its clocks over midnight may skip the whole of it: never before the period has ended.
        return max(instant_of(civil, self.time_zone), period.end_us)

    def latest(self, kind: ReportKind, now_us: int) -> ReportPeriod:
        """The newest period of a kind whose report is due."""
        return next(period for period in self._newest_first(kind, now_us) if self.due_us(period) <= now_us)

    def due(self, now_us: int, since_us: int, done: Collection[tuple[str, date]]) -> list[ReportPeriod]:
        """The periods whose reports are due and not done, the oldest first.

        `since_us` is when the ledger began: what had ended by then is not asked for. `done` holds (kind, date): in another
        zone since then, the report of a day is not made twice. Bounded: the last 7 days and 4 weeks.
        """
        found = []
        for kind, count in ((ReportKind.DAILY, DAILY_CATCH_UP_MAX), (ReportKind.WEEKLY, WEEKLY_CATCH_UP_MAX)):
            within = [period for period in self._newest_first(kind, now_us) if self.due_us(period) <= now_us][:count]
            found += [period for period in within if period.end_us > since_us and (kind.value, period.date) not in done]
        return sorted(found, key=self.due_us)

    def _newest_first(self, kind: ReportKind, now_us: int) -> Iterator[ReportPeriod]:
        """More periods than are ever made up for, from one that is not due yet."""
        today = local_date(now_us, self.time_zone)
        days = DAYS_OF_A_WEEK * (WEEKLY_CATCH_UP_MAX + 2)
        for back in range(-1, days):
            day = today - timedelta(days=back)
            if kind is ReportKind.WEEKLY and day.weekday() != self.weekly_on:
                continue
            period = report_period(kind, day, self.time_zone)
            if period.start_us < period.end_us:  # a zone that crossed the date line has no such day
                yield period


def local_date(now_us: int, time_zone: str) -> date:
    """The date in a zone."""
    from costledger.schemas.periods import zone

    return from_microseconds(now_us).astimezone(zone(time_zone)).date()


def report_period(kind: ReportKind, day: date, time_zone: str) -> ReportPeriod:
    """The period of the report of a kind and a date (see above). `InvalidValue` outside 2000 to 2099."""
    if not _FIRST_DATE <= day <= _LAST_DATE:
        raise InvalidValue("date", day.isoformat(), f"{_FIRST_DATE.isoformat()} to {_LAST_DATE.isoformat()}")
    daily = kind is ReportKind.DAILY
    first, after = (day, day + timedelta(days=1)) if daily else (day - timedelta(days=DAYS_OF_A_WEEK), day)
    start_us, end_us = (period_of_label(PeriodKind.DAY, one.isoformat(), time_zone).start_us for one in (first, after))
    return ReportPeriod(kind, day, time_zone, start_us, end_us)


def require_ended(period: ReportPeriod, now_us: int) -> None:
    """`InvalidValue` for a period that is not over yet: its figures would change."""
    if period.end_us > now_us:
        limit = f"of a period that is over; this one ends at {rfc3339(period.end_us)}"
        raise InvalidValue("date", period.date.isoformat(), limit)


def _time_of_day(text: str) -> timedelta:
    hours, _, minutes = text.partition(":")
    return timedelta(hours=int(hours), minutes=int(minutes))
