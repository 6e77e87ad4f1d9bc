"""What is usual for a service in an hour, from the user's own history: median and MAD per hour of the week.

The history of an hour is the five weeks before its day, counted from that day back. A week counts when the user
was there before it began and spent something in it: hours of it without events are then hours that cost nothing.
A week of holidays, or the time before the user's first event, says nothing.

Samples are taken from the same hour of the same weekday; where these are few, or mostly zero, from the same hour
of every day; and where that is mostly zero as well, from the latest hours in which the service cost anything.
Nothing that can be dropped from the state is looked at, so that a replay finds the same.
"""

from __future__ import annotations

from statistics import median_low
from typing import Final, NamedTuple

from costledger.streams.domain.buckets import hour_keys_of, labels_before
from costledger.streams.domain.calendar import Calendar
from costledger.streams.domain.hours import ServiceBaseline
from costledger.streams.domain.lookback import latest_costs, spent_at
from costledger.streams.domain.rules import Rules

WEEKS_MAX: Final = 5
#: Days in which the user's first event is looked for: some more, as a day in five weeks may be one without events.
_DAYS_MAX: Final = 7 * WEEKS_MAX + 4
#: Hours with cost that are looked at, where hours of the day are not told apart: a week of them, at least a day.
_COST_HOURS_MAX: Final = 168
_COST_HOURS_MIN: Final = 12
#: The deviation of a normal distribution, as a multiple of the median absolute deviation.
_DEVIATION_PER_MAD: Final = (14_826, 10_000)


class Usual(NamedTuple):
    """A usual amount and how far amounts are from it, 1e-12 USD."""

    amount: int
    deviation: int

    def limited(self, deviations: int) -> ServiceBaseline:
        """The baseline whose limit is so many deviations above what is usual."""
        return ServiceBaseline(self.amount, self.amount + deviations * self.deviation)


class Past:
    """The days before one, as a baseline looks at them. What does not depend on the hour is found once.

    For as long as none of these days changes: whoever changes one makes this anew.
    """

    __slots__ = ("_days", "_hour", "_lately", "_rules", "_spent", "_time_zone", "weeks")

    def __init__(self, calendar: Calendar, weeks: list[tuple[str, ...]], rules: Rules) -> None:
        self.weeks = weeks
        self._rules = rules
        self._time_zone = calendar.time_zone
        #: Each day as stored, the nearest first.
        self._days = [
            calendar.days[label].stored() if label in calendar.days else None for week in weeks for label in week
        ]
        #: The hour asked about last, and what each service cost in it on each day of the weeks.
        self._hour = ""
        self._spent: dict[str, list[int]] = {}
        #: By service what is usual by its latest hours with costs; of all services at once, when the first is asked about.
        self._lately: dict[str, Usual] | None = None

    def amounts_at(self, hour: str, service: str) -> list[int]:
        """What the service cost in an hour of each day; 0 where the hour has no events, or clocks skip it."""
        if hour != self._hour:
            self._spent, self._hour = spent_at(self._days, self._keys_of(hour)), hour
        return self._spent.get(service) or [0] * len(self._days)

    def lately(self, service: str) -> Usual | None:
        """What is usual by the latest hours in which the service cost anything; None where these are too few."""
        if self._lately is None:
            known = [day for day in self._days if day is not None]
            self._lately = {
                name: usual(costs, costs, self._rules)
                for name, costs in latest_costs(known, _COST_HOURS_MAX).items()
                if len(costs) >= _COST_HOURS_MIN
            }
        return self._lately.get(service)

    def _keys_of(self, hour: str) -> list[int | None]:
        return [key for week in self.weeks for key in hour_keys_of(week, hour, self._time_zone)]


def service_baseline(past: Past, hour: str, service: str, rules: Rules) -> ServiceBaseline | None:
    """What is usual for a service in an hour ("00" to "23"), by the days before; None where the history is too short."""
    if len(past.weeks) < rules.anomaly_weeks_min:
        return None
    daily = past.amounts_at(hour, service)
    costs = [amount for amount in daily if amount > 0]
    if len(past.weeks) >= rules.anomaly_slot_weeks_min:
        weekly = daily[6::7]
        if median_low(weekly) > 0:
            return usual(weekly, costs, rules).limited(rules.anomaly_deviations)
    if 2 * len(costs) > len(daily):
        return usual(costs, costs, rules).limited(rules.anomaly_deviations)
    lately = past.lately(service)
    if lately is None:
        return None
    is_never = not costs and len(past.weeks) >= rules.anomaly_slot_weeks_min
    # At an hour of the day at which the service was never used, half as much is unusual.
    return lately.limited(-(-rules.anomaly_deviations // 2) if is_never else rules.anomaly_deviations)


def usual(samples: list[int], wider: list[int], rules: Rules) -> Usual:
    """What is usual by samples in 1e-12 USD, at least one.

    Few samples may be alike by chance: the deviation is at least that of `wider`.
    """
    amount = median_low(samples)
    numerator, denominator = _DEVIATION_PER_MAD
    mad = _mad(samples) if wider is samples else max(_mad(samples), _mad(wider))
    least = max(amount * rules.anomaly_least_percent // 100, rules.anomaly_least)
    return Usual(amount, max(mad * numerator // denominator, least))


def _mad(samples: list[int]) -> int:
    """The median absolute deviation."""
    middle = median_low(samples)
    return median_low([abs(sample - middle) for sample in samples])


def known_weeks(calendar: Calendar, day_label: str, oldest: str) -> list[tuple[str, ...]]:
    """The weeks before a day that count, each as its seven labels, the nearest first; its last is the same weekday.

    Days up to the one with the label `oldest` may be gone from the state, and are not looked at.
    """
    labels = labels_before(day_label, _DAYS_MAX)
    days = calendar.days
    held = [back for back, label in enumerate(labels) if label in days and label > oldest and calendar.is_held(label)]
    if not held:
        return []
    weeks = range(min(WEEKS_MAX, (held[-1] + 1) // 7))
    active = {back // 7 for back in held}
    return [labels[7 * week : 7 * week + 7] for week in weeks if week in active]
