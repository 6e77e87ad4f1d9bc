"""The forecast of a running period: what is spent, and paths of what is still to come."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date, timedelta
from typing import Final

import numpy as np

from costledger.api.forecasting.estimate import (
    HISTORY_DAYS_MAX,
    HOURS_PER_DAY,
    INTERVAL_PERCENT,
    PeriodForecast,
    Spending,
)
from costledger.api.forecasting.history import History, fit
from costledger.api.forecasting.monthly import monthly_charges
from costledger.api.forecasting.paths import SEED, simulate
from costledger.api.forecasting.today import rest_of_today

METHOD: Final = "weekday medians, Theil-Sen trend, block bootstrap"
METHOD_FIRST_DAY: Final = "run rate of the first day"
#: A day that has brought nothing by then is taken for one without spend.
_RESTS_SHARE_MIN: Final = 0.5


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
    if not any(totals[-HISTORY_DAYS_MAX - 1 :]):
        return None
    known_days = _days_with_history(spending)
    history = _history(spending, known_days)
    charges = monthly_charges(history.values, history.days_of_month)
    ordinary = replace(history, values=history.values - charges[history.days_of_month])
    ahead = [spending.today + timedelta(days=day) for day in range(spending.days_after_today + 1)]
    weekdays = np.array([day.weekday() for day in ahead])
    today, passed = float(totals[-1]) / history.scale, spending.share_passed()
    rng = np.random.default_rng(SEED)
    paths = simulate(rng, ordinary, fit(ordinary), weekdays, _rests(today, passed))
    # Of a charge of today a part may be there, and the rest is to come.
    charge = float(charges[ahead[0].day])
    charged = _charged(today - passed * float(np.median(paths[:, 0])), charge)
    rest = charge - charged + rest_of_today(rng, paths[:, 0], today - charged, passed, hour_shares is not None)
    rest += paths[:, 1:].sum(axis=1) + sum(charges[day.day] for day in ahead[1:])
    if min(totals) >= 0:
        rest = np.maximum(rest, 0)
    low, middle, high = (float(value) * history.scale for value in np.quantile(rest, (0.1, 0.5, 0.9)))
    spent = spending.spent
    return PeriodForecast(
        total=spent + round(middle),
        low=spent + round(low),
        high=spent + round(high),
        interval_percent=INTERVAL_PERCENT,
        method=METHOD if known_days else METHOD_FIRST_DAY,
        history_days=known_days,
    )


def _rests(today: float, passed: float) -> bool | None:
    """Whether today is a day without spend; None while the day is young."""
    if today:
        return False
    return True if passed >= _RESTS_SHARE_MIN else None


def _charged(unusual: float, charge: float) -> float:
    """How much of a charge is in what today has cost beside the usual: none, a part or all of it."""
    return charge * min(max(unusual / charge, 0.0), 1.0) if charge else 0.0


def _days_with_history(spending: Spending) -> int:
    """Days before today from the first with spend on; 0 where today is the first."""
    days = spending.totals[:-1][-HISTORY_DAYS_MAX:]
    return next((len(days) - at for at, total in enumerate(days) if total), 0)


def _history(spending: Spending, known_days: int) -> History:
    """Those days in shares of a mean day. On the first day of all: one day at today's pace."""
    if known_days:
        days = np.array([float(total) for total in spending.totals[-known_days - 1 : -1]])
    else:
        days = np.array([float(spending.totals[-1]) / max(spending.share_passed(), 1 / HOURS_PER_DAY)])
    scale = float(np.abs(days).mean())
    past = [spending.today - timedelta(days=before) for before in range(len(days), 0, -1)]
    return History(
        values=days / scale,
        weekdays=np.array([day.weekday() for day in past]),
        days_of_month=np.array([day.day for day in past]),
        scale=scale,
    )
