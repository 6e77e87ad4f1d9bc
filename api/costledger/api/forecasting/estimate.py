"""What a forecast is made of and what comes out: amounts are integers of 1e-12 USD."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

from costledger.schemas.errors import InvalidValue

#: Older days say nothing more about the running period.
HISTORY_DAYS_MAX: Final = 120
#: No period is longer: a quarter, for callers that want one.
PERIOD_DAYS_MAX: Final = 92
HOURS_PER_DAY: Final = 24
INTERVAL_PERCENT: Final = 80
#: So much of a day's spend comes evenly, whatever its hours were in the past.
_EVENLY: Final = 0.05


@dataclass(frozen=True, slots=True)
class PeriodForecast:
    """What a period will come to, an estimate; `low` to `high` holds the truth `interval_percent` of the time."""

    total: int
    low: int
    high: int
    interval_percent: int
    method: str
    history_days: int


@dataclass(frozen=True, slots=True)
class Spending:
    """One user's days up to now: what is asked about, checked.

    `totals` are consecutive days, oldest first, in 1e-12 USD; the first is `first_day`, the last is *today*,
    with what was spent so far. The period is [`period_first_day`, `period_last_day`], both included, and holds
    today. `today_share` is how much of today has passed, 0 to 1. `hour_shares` are 24 relative weights: how spend
    is usually spread over the hours of a day; None: evenly.
    """

    first_day: date
    totals: Sequence[int]
    period_first_day: date
    period_last_day: date
    today_share: float
    hour_shares: Sequence[float] | None = None

    def __post_init__(self) -> None:
        for total in self.totals:
            if isinstance(total, bool) or not isinstance(total, int):
                raise InvalidValue("totals", total, "integers of 1e-12 USD")
        if not 0 <= self.today_share <= 1:
            raise InvalidValue("today_share", self.today_share, "between 0 and 1")
        days = (self.period_last_day - self.period_first_day).days + 1
        if not 1 <= days <= PERIOD_DAYS_MAX:
            raise InvalidValue("period_last_day", self.period_last_day, f"1 to {PERIOD_DAYS_MAX} days after the first")
        if self.totals and not self.period_first_day <= self.today <= self.period_last_day:
            limit = f"up to a day of the period, {self.period_first_day} to {self.period_last_day}"
            raise InvalidValue("totals", self.today, limit)
        if self.hour_shares is not None and not _are_hour_shares(self.hour_shares):
            raise InvalidValue("hour_shares", self.hour_shares, f"{HOURS_PER_DAY} weights >= 0, not all of them 0")

    @property
    def today(self) -> date:
        """The day of the last total."""
        return self.first_day + timedelta(days=len(self.totals) - 1)

    @property
    def spent(self) -> int:
        """What the period has come to so far, exactly."""
        in_period = (self.today - self.period_first_day).days + 1
        return sum(self.totals[-in_period:])

    @property
    def days_after_today(self) -> int:
        """Whole days of the period that are still to come."""
        return (self.period_last_day - self.today).days

    def share_passed(self) -> float:
        """How much of today's usual spend is usually there by now, 0 to 1."""
        if self.hour_shares is None:
            return self.today_share
        hours = self.today_share * HOURS_PER_DAY
        whole = min(int(hours), HOURS_PER_DAY - 1)
        passed = sum(self.hour_shares[:whole]) + (hours - whole) * self.hour_shares[whole]
        usual = min(passed / sum(self.hour_shares), 1.0)
        # An hour that never had spend may have some.
        return (1 - _EVENLY) * usual + _EVENLY * self.today_share


def _are_hour_shares(shares: Sequence[float]) -> bool:
    return len(shares) == HOURS_PER_DAY and min(shares) >= 0 and sum(shares) > 0
