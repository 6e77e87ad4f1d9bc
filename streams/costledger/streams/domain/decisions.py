"""The decisions: which alerts a total calls for. Pure functions; nothing is told twice because of what they read.

Budget: a threshold is reached when the month's total is at least `percent` of the monthly limit (and above
zero). It is told once; a new budget version tells it again only at a higher amount than before.
Spike: an hour is a spike when its total is *more than* the user's hourly limit, or at least so many times
the user's usual hour. A spike goes on through the hours that follow as long as they stay at or above the
clearing level, and is told once.
Anomaly: as a spike, for one service in an hour that is *more than* its limit from the user's own history.
Forecast: the month's projected total is *more than* the budget; told once, while the budget is not reached.
"""

from __future__ import annotations

from decimal import Decimal
from statistics import median_low
from typing import TYPE_CHECKING, NamedTuple

from costledger.schemas.alerts import TOTAL_SCOPE, AlertKind, AlertState, CostAlert, Severity
from costledger.schemas.budgets import THRESHOLD_PERCENT_LIMIT, Budget
from costledger.schemas.money import usd_text
from costledger.schemas.periods import Period
from costledger.streams.domain.amounts import Operation
from costledger.streams.domain.hours import OVER_LIMIT, ServiceBaseline
from costledger.streams.domain.months import MonthTotals
from costledger.streams.domain.rules import Rules

if TYPE_CHECKING:
    from collections.abc import Iterable


class Cause(NamedTuple):
    """The event that led to a decision: when it occurred and when the broker received it (Unix microseconds)."""

    occurred_at: int
    received_at: int


def thresholds_reached(month: MonthTotals) -> list[tuple[Decimal, int]]:
    """The (percent, amount) that the month's total has reached and that were not told, ascending."""
    if month.total <= 0:
        return []
    return [
        (percent, amount)
        for percent, amount in month.thresholds
        if month.total >= amount and month.told.get(percent, -1) < amount
    ]


def room_in_month(month: MonthTotals) -> int | None:
    """How much must be added before a threshold can be reached, at least 0; None where none can be."""
    amounts = [max(amount, 1) for percent, amount in month.thresholds if month.told.get(percent, -1) < amount]
    return max(0, min(amounts) - month.total) if amounts else None


def usual_hour(totals: Iterable[int], rules: Rules) -> int | None:
    """The median of the hours with cost, in 1e-12 USD; None where there are too few to call any hour usual."""
    spent = [total for total in totals if total > 0]
    return median_low(spent) if len(spent) >= rules.usual_hours_min else None


def relative_limit(usual: int | None, rules: Rules) -> int | None:
    """The total at which an hour is a spike against the usual hour; None where there is no usual hour."""
    return None if usual is None else max(usual * rules.usual_factor, rules.usual_least)


def clearing_level(limit: int, rules: Rules) -> int:
    """Below this an hour ends a spike: in the proportion of the default elevated level to the default limit."""
    default_limit = rules.defaults.hourly_spike_limit
    return limit * rules.elevated // default_limit if default_limit else limit


def budget_alert(
    user_id: str, month: Period, totals: MonthTotals, percent: Decimal, amount: int, cause: Cause
) -> CostAlert:
    """The alert that says that a threshold of the month's budget was reached."""
    shown = f"{percent.normalize():f}"
    limit = f"{usd_text(amount)} USD"
    return CostAlert(
        kind=AlertKind.BUDGET_THRESHOLD,
        state=AlertState.ALARM,
        severity=Severity.CRITICAL if percent >= 100 else Severity.WARNING,
        user_id=user_id,
        scope=TOTAL_SCOPE,
        period_start=month.start_us,
        period_end=month.end_us,
        threshold_percent=percent,
        actual=totals.total,
        limit=amount,
        budget_version=totals.version,
        occurred_at=cause.occurred_at,
        raised_at=cause.received_at,
        late=cause.received_at >= month.end_us,
        message=f"{user_id} has spent {usd_text(totals.total)} USD in {month.label}; {shown} % of the budget is {limit}.",
    )


def spike_alert(
    budget: Budget, hour: Period, total: int, limit: int, flag: int, rules: Rules, cause: Cause
) -> CostAlert:
    """The alert that says that an hour is a spike by the rule of `flag`."""
    absolute = flag == OVER_LIMIT
    rule = "more than the hourly limit" if absolute else f"at least {rules.usual_factor} times the usual hour"
    return CostAlert(
        kind=AlertKind.HOURLY_SPIKE,
        state=AlertState.ALARM,
        severity=Severity.CRITICAL if absolute else Severity.WARNING,
        user_id=budget.user_id,
        scope=TOTAL_SCOPE,
        period_start=hour.start_us,
        period_end=hour.end_us,
        threshold_percent=None if absolute else _usual_percent(rules),
        actual=total,
        limit=limit,
        budget_version=budget.version,
        occurred_at=cause.occurred_at,
        raised_at=cause.received_at,
        late=cause.received_at >= hour.end_us,
        message=f"{budget.user_id} has spent {usd_text(total)} USD in the hour {hour.label}: {rule} ({usd_text(limit)} USD).",
    )


def spike_over(budget: Budget, hour: Period, total: int, flag: int, rules: Rules, cause: Cause) -> CostAlert:
    """The alert that says that the spike of an earlier hour is over."""
    return CostAlert(
        kind=AlertKind.HOURLY_SPIKE,
        state=AlertState.OK,
        severity=Severity.INFO,
        user_id=budget.user_id,
        scope=TOTAL_SCOPE,
        period_start=hour.start_us,
        period_end=hour.end_us,
        threshold_percent=None if flag == OVER_LIMIT else _usual_percent(rules),
        actual=total,
        budget_version=budget.version,
        occurred_at=cause.occurred_at,
        raised_at=cause.received_at,
        message=f"The spike of {budget.user_id} in the hour {hour.label} is over.",
    )


def _usual_percent(rules: Rules) -> Decimal:
    """The factor of the relative rule in percent, as far as the published schema can say it."""
    return min(Decimal(100 * rules.usual_factor), THRESHOLD_PERCENT_LIMIT)


def unpriced_alert(user_id: str, day: Period, operation: Operation, cause: Cause) -> CostAlert:
    """The alert that says that a user's calls of an operation have no price; once a day."""
    service, name = operation
    return CostAlert(
        kind=AlertKind.UNPRICED_USAGE,
        state=AlertState.ALARM,
        severity=Severity.WARNING,
        user_id=user_id,
        scope=f"operation:{service}/{name}",
        period_start=day.start_us,
        period_end=day.end_us,
        actual=0,
        occurred_at=cause.occurred_at,
        raised_at=cause.received_at,
        late=cause.received_at >= day.end_us,
        message=f"{user_id} uses {service}/{name}, for which no price is known: it is in no total until it is priced.",
    )


def anomaly_alert(
    user_id: str, hour: Period, service: str, spent: int, baseline: ServiceBaseline, cause: Cause
) -> CostAlert:
    """The alert that says that a service costs unusually much in an hour."""
    usual, limit = usd_text(baseline.usual), usd_text(baseline.limit)
    return CostAlert(
        kind=AlertKind.ANOMALY,
        state=AlertState.ALARM,
        severity=Severity.WARNING,
        user_id=user_id,
        scope=f"service:{service}",
        period_start=hour.start_us,
        period_end=hour.end_us,
        actual=spent,
        limit=baseline.limit,
        occurred_at=cause.occurred_at,
        raised_at=cause.received_at,
        late=cause.received_at >= hour.end_us,
        message=f"{user_id} has spent {usd_text(spent)} USD on {service} in the hour {hour.label}: usual are {usual} USD, "
        f"and more than {limit} USD is unusual for this user.",
    )


def anomaly_over(user_id: str, hour: Period, service: str, spent: int, cause: Cause) -> CostAlert:
    """The alert that says that the anomaly of a service in an earlier hour is over."""
    return CostAlert(
        kind=AlertKind.ANOMALY,
        state=AlertState.OK,
        severity=Severity.INFO,
        user_id=user_id,
        scope=f"service:{service}",
        period_start=hour.start_us,
        period_end=hour.end_us,
        actual=spent,
        occurred_at=cause.occurred_at,
        raised_at=cause.received_at,
        message=f"What {user_id} spends on {service} is usual again after the hour {hour.label}.",
    )


def forecast_alert(
    user_id: str, month: Period, total: int, projected: int, budget: int, version: int, cause: Cause
) -> CostAlert:
    """The alert that says that the month will exceed the budget if it goes on like this."""
    return CostAlert(
        kind=AlertKind.FORECAST_EXCEEDED,
        state=AlertState.ALARM,
        severity=Severity.WARNING,
        user_id=user_id,
        scope=TOTAL_SCOPE,
        period_start=month.start_us,
        period_end=month.end_us,
        actual=total,
        limit=budget,
        budget_version=version,
        occurred_at=cause.occurred_at,
        raised_at=cause.received_at,
        message=f"{user_id} has spent {usd_text(total)} USD in {month.label} and will come to about "
        f"{usd_text(projected)} USD by its end, if the days left are like the latest: more than the budget "
        f"({usd_text(budget)} USD).",
    )
