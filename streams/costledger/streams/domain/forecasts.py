"""The outlook of one user's month: what it comes to if the days left are like the days before.

"Today" is the latest day with events; clocks are not asked. A day left is expected to cost the median of the latest
full days, or their mean where that is less: the median alone knows nothing of quiet weekends, and the mean alone
is moved by a single dear day. Days are taken by whole weeks (14 or 7) as soon as there are so many.
"""

from __future__ import annotations

from calendar import monthrange
from statistics import median_low
from typing import Final, NamedTuple

from costledger.schemas.periods import Period, PeriodKind
from costledger.streams.domain.amounts import number
from costledger.streams.domain.buckets import labels_before
from costledger.streams.domain.calendar import Calendar
from costledger.streams.domain.months import MonthTotals
from costledger.streams.domain.rules import DAY_MICROSECONDS, Rules

_DAYS_MAX: Final = 14
_WEEK: Final = 7


class Outlook(NamedTuple):
    """What is expected of the rest of a month: `daily` (1e-12 USD) on each of the `days_left` after `today`."""

    today: str
    month: Period
    daily: int
    days_left: int
    #: Events received later than this would look back at days that may be gone.
    latest_us: int


class ForecastWatch:
    """Watches the projected total of the latest month of one user's calendar."""

    __slots__ = ("_calendar", "_outlook", "_rules", "_today")

    def __init__(self, calendar: Calendar, rules: Rules) -> None:
        self._calendar = calendar
        self._rules = rules
        self._today: str | None = None
        self._outlook: Outlook | None = None

    def forget(self) -> None:
        """The history has changed: the outlook is made again when it is needed."""
        self._today = None

    def found(self) -> tuple[str, tuple[int | str, int, int] | None] | None:
        """The day that is today and what is expected from it on, as it can be stored; None where that is not known."""
        if self._today is None:
            return None
        outlook = self._outlook
        return self._today, None if outlook is None else (number(outlook.daily), outlook.days_left, outlook.latest_us)

    def take_findings(self, found: tuple[str, tuple[int | str, int, int] | None] | None) -> None:
        """What `found` gave, for the same calendar."""
        if found is None:
            self.forget()
            return
        self._today, expected = found
        month = self._calendar.period(PeriodKind.MONTH, self._today[:7])
        if expected is None:
            self._outlook = None
        else:
            daily, days_left, latest_us = expected
            self._outlook = Outlook(self._today, month, int(daily), days_left, latest_us)

    def changed(self, day_label: str) -> None:
        """A day was added to: if it is not today, the outlook is another."""
        if day_label != self._today:
            self._today = None

    def outlook(self, received_at_us: int) -> Outlook | None:
        """The outlook; None where too little is known, or the latest month was over when the event was received."""
        if self._today is None:
            self._today = max((label for label in self._calendar.days if self._calendar.is_held(label)), default=None)
            self._outlook = None if self._today is None else self._make(self._today)
        found = self._outlook
        if found is None or received_at_us >= found.latest_us or found.today not in self._calendar.days:
            return None
        return found

    def month(self, outlook: Outlook) -> MonthTotals:
        """The totals of the outlook's month."""
        return self._calendar.month(outlook.month.label)

    def projected(self, outlook: Outlook) -> int:
        """What the month comes to, 1e-12 USD: what was spent, what is left of today, and the days left."""
        left_today = max(0, outlook.daily - self._calendar.days[outlook.today].total)
        return self.month(outlook).total + left_today + outlook.days_left * outlook.daily

    def room(self, outlook: Outlook, budget: int, day: str | None) -> int | None:
        """How much may be added before the projection can pass the budget, at least 0; None if that has happened.

        `day` is the one that all of it is added to, or None for several: what is added to another day than today moves
        what is expected of every day.
        """
        if not is_untold(self.month(outlook), budget):
            return None
        slack = budget + 1 - self.projected(outlook)
        if slack <= 0:
            return 0
        if day == outlook.today:
            return budget + 1 - self.month(outlook).total - outlook.days_left * outlook.daily
        # Once in the month's total, at most once in what is left of today, and once in each day left.
        return -(-slack // (outlook.days_left + 2))

    def _make(self, today: str) -> Outlook | None:
        days = self._calendar.days
        labels = labels_before(today, _DAYS_MAX + 1)
        # The first day may have begun anywhere: it is not a full one.
        full = max((back for back, label in enumerate(labels) if self._calendar.is_held(label)), default=0)
        if full < self._rules.forecast_days_min:
            return None
        count = full if full < _WEEK else full // _WEEK * _WEEK
        totals = [days[label].total if label in days else 0 for label in labels[:count]]
        daily = max(0, min(median_low(totals), sum(totals) // count))
        start_us = self._calendar.period(PeriodKind.DAY, today).start_us
        month = self._calendar.period(PeriodKind.MONTH, today[:7])
        days_left = monthrange(int(today[:4]), int(today[5:7]))[1] - int(today[8:])
        in_state_us = start_us - (_DAYS_MAX + 1) * DAY_MICROSECONDS + self._rules.horizon_us
        return Outlook(today, month, daily, days_left, min(month.end_us, in_state_us))


def is_untold(month: MonthTotals, budget: int) -> bool:
    """Whether it is still to be told that the projection passes this budget."""
    return budget > 0 and month.forecast < budget
