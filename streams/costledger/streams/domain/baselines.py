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
from typing import Final

from costledger.streams.domain.buckets import hour_keys_of, labels_before
from costledger.streams.domain.calendar import Calendar
from costledger.streams.domain.rules import Rules
from costledger.streams.domain.totals import ServiceBaseline

WEEKS_MAX: Final = 5
#: Days in which the user's first event is looked for: some more, as a day in five weeks may be one without events.
_DAYS_MAX: Final = 7 * WEEKS_MAX + 4
#: Hours with cost that are looked at, where hours of the day are not told apart: a week of them, at least a day.
_COST_HOURS_MAX: Final = 168
_COST_HOURS_MIN: Final = 12
#: The deviation of a normal distribution, as a multiple of the median absolute deviation.
_DEVIATION_PER_MAD: Final = (14_826, 10_000)


def service_baseline(
    calendar: Calendar, weeks: list[tuple[str, ...]], hour: str, service: str, rules: Rules
) -> ServiceBaseline | None:
    """What is usual for a service in an hour ("00" to "23"), by these weeks; None where the history is too short."""
    if len(weeks) < rules.anomaly_weeks_min:
        return None
    daily = _amounts_at(calendar, weeks, hour, service)
    costs = [amount for amount in daily if amount > 0]
    if len(weeks) >= rules.anomaly_slot_weeks_min:
        weekly = daily[6::7]
        if median_low(weekly) > 0:
            return baseline(weekly, costs, rules)
    if 2 * len(costs) > len(daily):
        return baseline(costs, costs, rules)
    is_never = not costs and len(weeks) >= rules.anomaly_slot_weeks_min
    costs = _latest_costs(calendar, weeks, service)
    if not costs:
        return None
    # At an hour of the day at which the service was never used, half as much is unusual.
    return baseline(costs, costs, rules, -(-rules.anomaly_deviations // 2) if is_never else None)


def baseline(samples: list[int], wider: list[int], rules: Rules, deviations: int | None = None) -> ServiceBaseline:
    """The usual amount and the limit for samples in 1e-12 USD, at least one.

    Few samples may be alike by chance: the deviation is at least that of `wider`. `deviations` is how many make the
    limit, by default those of the rules.
    """
    if deviations is None:
        deviations = rules.anomaly_deviations
    usual = median_low(samples)
    numerator, denominator = _DEVIATION_PER_MAD
    mad = max(_mad(samples), _mad(wider))
    least = max(usual * rules.anomaly_least_percent // 100, rules.anomaly_least)
    return ServiceBaseline(usual, usual + deviations * max(mad * numerator // denominator, least))


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


def _amounts_at(calendar: Calendar, weeks: list[tuple[str, ...]], hour: str, service: str) -> list[int]:
    """What the service cost in an hour of each day of the weeks; 0 where the hour has no events, or clocks skip it."""
    amounts = []
    for week in weeks:
        for label, key in zip(week, hour_keys_of(week, hour, calendar.time_zone), strict=True):
            day = calendar.days.get(label)
            totals = None if day is None or key is None else day.hours.get(key)
            amounts.append(0 if totals is None else totals.spent_on(service))
    return amounts


def _latest_costs(calendar: Calendar, weeks: list[tuple[str, ...]], service: str) -> list[int]:
    """What the service cost in the latest hours in which it cost anything; none where these are too few."""
    costs: list[int] = []
    for label in (label for week in weeks for label in week):
        day = calendar.days.get(label)
        if day is None or not any(name == service for name, _ in day.amounts):
            continue
        # By key: the order in which hours were met is not the order of time.
        spent = (day.hours[key].spent_on(service) for key in sorted(day.hours, reverse=True))
        costs += [amount for amount in spent if amount > 0]
        if len(costs) >= _COST_HOURS_MAX:
            break
    return costs[:_COST_HOURS_MAX] if len(costs) >= _COST_HOURS_MIN else []
