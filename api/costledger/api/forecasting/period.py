"""The forecast of a running period: what is spent, and paths of what is still to come."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta

import numpy as np

from costledger.api.forecasting.estimate import HISTORY_DAYS_MAX, INTERVAL_PERCENT, PeriodForecast, Spending
from costledger.api.forecasting.history import DAYS_PER_WEEK, History, fit
from costledger.api.forecasting.paths import SEED, simulate
from costledger.api.forecasting.today import rest_of_today

METHOD = "theil-sen, weekday medians, block bootstrap"
METHOD_FIRST_DAY = "run rate of the first day"


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
    history = _history(spending)
    passed = spending.share_passed()
    ahead = (spending.today.weekday() + np.arange(spending.days_after_today + 1)) % DAYS_PER_WEEK
    scale = history.scale
    today = float(totals[-1]) / scale
    fitted = fit(history)
    rng = np.random.default_rng(SEED)
    paths = simulate(rng, history, fitted, ahead)
    rest = rest_of_today(rng, paths[:, 0], today, passed, hour_shares is not None) + paths[:, 1:].sum(axis=1)
    if min(totals) >= 0:
        rest = np.maximum(rest, 0)
    low, middle, high = np.quantile(rest, (0.1, 0.5, 0.9))
    spent = spending.spent
    return PeriodForecast(
        total=spent + round(middle * scale),
        low=spent + round(low * scale),
        high=spent + round(high * scale),
        interval_percent=INTERVAL_PERCENT,
        method=METHOD,
        history_days=len(history.values),
    )


def _history(spending: Spending) -> History:
    days = np.array([float(total) for total in spending.totals[:-1][-HISTORY_DAYS_MAX:]])
    spent = np.flatnonzero(days)
    if not len(spent):
        whole = float(spending.totals[-1]) / max(spending.share_passed(), 1 / 24)
        days = np.array([whole])
    else:
        days = days[spent[0] :]
    scale = float(np.abs(days).mean()) or 1.0
    first = spending.today - timedelta(days=len(days))
    return History(days / scale, (first.weekday() + np.arange(len(days))) % DAYS_PER_WEEK, scale)
