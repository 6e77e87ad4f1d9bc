"""The forecast of a running period: what is spent, and paths of what is still to come."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import numpy as np

from costledger.api.forecasting.estimate import HISTORY_DAYS_MAX, INTERVAL_PERCENT, PeriodForecast, Spending

_PATHS = 500


def forecast_period(
    first_day: date,
    totals: Sequence[int],
    *,
    period_first_day: date,
    period_last_day: date,
    today_share: float,
    hour_shares: Sequence[float] | None = None,
) -> PeriodForecast | None:
    """What the running period will come to by its last day, with an interval of 80 %; None where nothing was spent.

    `totals`: integers of 1e-12 USD, one for each consecutive day (days without spend are 0), oldest first, from
    `first_day` up to and including *today*, whose total is what was spent so far. Days of the period's time zone. The
    more the better, up to 120 days (`HISTORY_DAYS_MAX`; older ones are not looked at). The period's first and last day
    are both included; today must be in it. `today_share`: how much of today has passed, 0 to 1. `hour_shares`:
    optional, 24 relative weights of the hours of a day (sums of past spend by hour will do).

    The same arguments give the same answer. Wrong ones raise `InvalidValue`.
    """
    spending = Spending(first_day, totals, period_first_day, period_last_day, today_share, hour_shares)
    if not any(totals):
        return None
    spent = spending.spent
    days = np.array([float(total) for total in totals[-HISTORY_DAYS_MAX:]])
    rest_of_today = 1 - spending.share_passed()
    rest_days = spending.days_after_today + rest_of_today
    past = days[:-1] if len(days) > 1 else days / max(spending.share_passed(), 1 / 24)
    draws = np.random.default_rng(0).choice(past, (_PATHS, spending.days_after_today + 1))
    draws[:, 0] *= rest_of_today
    low, middle, high = np.quantile(draws.sum(axis=1), (0.1, 0.5, 0.9)) if rest_days else (0.0, 0.0, 0.0)
    return PeriodForecast(
        total=spent + round(middle),
        low=spent + round(low),
        high=spent + round(high),
        interval_percent=INTERVAL_PERCENT,
        method="bootstrap",
        history_days=len(past),
    )
