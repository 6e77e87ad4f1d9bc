"""The forecast of a running period: what always holds, and what it makes of plain patterns."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from datetime import date, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from costledger.api.forecasting import HISTORY_DAYS_MAX, PeriodForecast, forecast_period
from costledger.schemas.errors import InvalidValue

USD = 10**12
NOVEMBER = (date(2026, 11, 1), date(2026, 11, 30))
CALL_MS_MAX = 10


def forecast(
    totals: Sequence[int],
    today: date,
    period: tuple[date, date] = NOVEMBER,
    share: float = 0.5,
    hour_shares: Sequence[float] | None = None,
) -> PeriodForecast | None:
    """The forecast where the last total is that of today."""
    return forecast_period(
        today - timedelta(days=len(totals) - 1),
        totals,
        period_first_day=period[0],
        period_last_day=period[1],
        today_share=share,
        hour_shares=hour_shares,
    )


def said(*arguments: Any, **named: Any) -> PeriodForecast:
    """The forecast, which must be there."""
    found = forecast(*arguments, **named)
    assert found is not None
    return found


def days(count: int, today: date, cost: Callable[[date], float], share: float = 0.5) -> list[int]:
    """Totals of so many days before today and of today up to now, in USD by a function of the day."""
    dates = [today - timedelta(days=before) for before in range(count, -1, -1)]
    totals = [round(cost(day) * USD) for day in dates]
    totals[-1] = round(cost(today) * share * USD)
    return totals


def month_of(cost: Callable[[date], float]) -> float:
    """What November comes to, in 1e-12 USD."""
    return sum(cost(NOVEMBER[0] + timedelta(days=day)) for day in range(30)) * USD


amounts = st.integers(0, 10**30) | st.just(0)
shares = st.floats(0, 1)


@given(st.lists(amounts, max_size=140), st.integers(0, 29), shares, st.booleans())
@settings(max_examples=150, deadline=None)
def test_it_is_never_below_what_is_spent(totals: list[int], day: int, share: float, hours_known: bool) -> None:
    """Without negative amounts: spent <= low <= total <= high, whatever the history; None where nothing was spent."""
    today = NOVEMBER[0] + timedelta(days=day)
    found = forecast(totals, today, share=share, hour_shares=[1.0] * 24 if hours_known else None)
    if not any(totals[-HISTORY_DAYS_MAX - 1 :]):
        assert found is None
        return
    assert found is not None
    assert sum(totals[-(day + 1) :]) <= found.low <= found.total <= found.high
    assert found.interval_percent == 80
    assert 0 <= found.history_days <= HISTORY_DAYS_MAX


@given(st.lists(st.integers(-(10**24), 10**24), min_size=1, max_size=140), st.integers(0, 29), shares)
@settings(max_examples=150, deadline=None)
def test_credits_break_nothing(totals: list[int], day: int, share: float) -> None:
    """With negative amounts the interval is still around the forecast."""
    found = forecast(totals, NOVEMBER[0] + timedelta(days=day), share=share)
    if found is not None:
        assert found.low <= found.total <= found.high


@given(st.lists(st.integers(-(10**30), 10**30), min_size=1, max_size=130))
@settings(max_examples=100, deadline=None)
def test_at_the_end_it_is_what_was_spent(totals: list[int]) -> None:
    """At the end of the last day the interval has collapsed to the exact sum, beyond what a float can hold."""
    found = forecast(totals, NOVEMBER[1], share=1.0)
    if any(totals[-HISTORY_DAYS_MAX - 1 :]):
        assert found is not None
        assert found.low == found.total == found.high == sum(totals[-30:])


def test_the_same_data_give_the_same_answer() -> None:
    """Nothing in it is left to chance between two calls."""
    totals = [(7 * day % 11) * USD for day in range(60)]
    assert said(totals, date(2026, 11, 12)) == said(totals, date(2026, 11, 12))


def test_it_has_no_scale() -> None:
    """A thousand times the spend is a thousand times the forecast."""
    totals = [(5 + 7 * day % 11) * USD for day in range(60)]
    one, thousand = said(totals, date(2026, 11, 12)), said([1000 * total for total in totals], date(2026, 11, 12))
    for name in ("total", "low", "high"):
        assert getattr(thousand, name) == pytest.approx(1000 * getattr(one, name), rel=1e-9)


def test_steady_spend_goes_on() -> None:
    """5 USD a day are 150 in a month, nearly certain."""
    found = said(days(60, date(2026, 11, 11), lambda _day: 5), date(2026, 11, 11))
    assert found.total == pytest.approx(150 * USD, rel=0.01)
    assert found.high - found.low < 0.2 * found.total
    assert found.history_days == 60


@pytest.mark.parametrize("day", range(2, 30, 3))
def test_weekends_are_seen(day: int) -> None:
    """Quiet weekends are neither missed nor counted as a fall, on whatever day of the month it is asked."""
    cost = lambda one: 10.0 if one.weekday() < 5 else 1.0  # noqa: E731
    today = date(2026, 11, day)
    found = said(days(70, today, cost), today)
    assert found.total == pytest.approx(month_of(cost), rel=0.04)


def test_growth_goes_on() -> None:
    """What grows by half a dollar each day is not taken for steady."""
    cost = lambda one: 10 + 0.5 * (one - date(2026, 9, 1)).days  # noqa: E731
    today = date(2026, 11, 10)
    found = said(days(70, today, cost), today)
    assert found.total == pytest.approx(month_of(cost), rel=0.05)


@pytest.mark.parametrize("factor", [0.25, 4.0])
def test_a_new_level_is_followed(factor: float) -> None:
    """Six days after a shift the old level is no longer expected."""
    rng = np.random.default_rng(4)
    noise = rng.uniform(0.9, 1.1, 400)
    cost = lambda one: 10 * (factor if one >= date(2026, 11, 5) else 1) * noise[one.timetuple().tm_yday]  # noqa: E731
    today = date(2026, 11, 11)
    found = said(days(60, today, cost), today)
    assert found.total == pytest.approx(month_of(cost), rel=0.1)
    assert found.low < month_of(cost) < found.high


def test_an_outlier_does_not_drag_it() -> None:
    """One day of a hundred times the usual changes the forecast of the rest by less than a tenth."""
    today = date(2026, 11, 16)
    plain = days(60, today, lambda one: 10 + one.day % 3)
    struck = plain.copy()
    struck[-20] *= 100
    assert said(struck, today).total == pytest.approx(said(plain, today).total, rel=0.1)


def test_a_monthly_charge_is_expected_once() -> None:
    """A charge on each 1st is not spread over the month that it is in, and is foreseen before it comes."""
    cost = lambda one: 5.0 + (300 if one.day == 1 else 0)  # noqa: E731
    within = said(days(80, date(2026, 11, 5), cost), date(2026, 11, 5))
    assert within.total == pytest.approx(month_of(cost), rel=0.03)
    week = (date(2026, 11, 30), date(2026, 12, 6))
    before = said(days(80, week[0], cost), week[0], period=week)
    assert before.total == pytest.approx((7 * 5 + 300) * USD, rel=0.03)


def test_a_monthly_charge_that_varies_is_no_credit() -> None:
    """A charge smaller than the one before it does not let the forecast fall below what is spent."""
    cost = lambda one: {9: 500.0, 10: 100.0, 11: 300.0}.get(one.month, 0.0) if one.day == 1 else 0.01  # noqa: E731
    found = said(days(80, date(2026, 11, 5), cost), date(2026, 11, 5))
    assert 300 * USD < found.low <= found.total <= found.high < 400 * USD


def test_a_pause_is_likely_to_last() -> None:
    """After forty days without spend none is expected; that it may come again is in the interval."""
    today = date(2026, 11, 15)
    found = said(days(90, today, lambda one: 10.0 if one < date(2026, 10, 6) else 0.0), today)
    assert found.total == 0
    assert found.high > 0


@pytest.mark.parametrize("known", [0, 1, 2, 3, 5])
def test_little_history_gives_a_wide_interval(known: int) -> None:
    """With up to five days the forecast is about the run rate, and the interval says how little that is."""
    today = date(2026, 11, 20)
    little = said(days(known, today, lambda _day: 10), today)
    much = said(days(60, today, lambda _day: 10), today)
    assert little.total == pytest.approx(10 * (known + 11) * USD, rel=0.15)
    assert little.history_days == known
    assert (little.high - little.low) > 3 * (much.high - much.low)
    assert little.low < 10 * (known + 11) * USD < little.high
    if known <= 1:
        assert little.high - little.low > 1.2 * 105 * USD


def test_more_history_narrows_the_interval() -> None:
    """Each of 1, 3, 7, 21 and 60 days leaves less open."""
    today = date(2026, 11, 20)
    widths = []
    for known in (1, 3, 7, 21, 60):
        found = said(days(known, today, lambda one: 10 + one.day % 4), today)
        widths.append((found.high - found.low) / 10)
    assert widths == sorted(widths, reverse=True)


def test_leading_days_without_spend_are_no_history() -> None:
    """A user who began three days ago is not one who rested for three months."""
    today = date(2026, 11, 20)
    begun = days(3, today, lambda _day: 10)
    assert said([0] * 90 + begun, today) == said(begun, today)


def test_the_hours_of_a_day_are_used() -> None:
    """Where all spend comes before noon, a day is nearly over at noon."""
    today = date(2026, 11, 20)
    morning = [1.0] * 12 + [0.0] * 12
    totals = [*days(40, today, lambda _day: 24)[:-1], 24 * USD]
    known = said(totals, today, period=(today, today), hour_shares=morning)
    unknown = said(totals, today, period=(today, today))
    assert known.total < 26 * USD < unknown.total


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"totals": [1, 2.5]}, "totals"),
        ({"totals": [True]}, "totals"),
        ({"today_share": 1.5}, "today_share"),
        ({"period_last_day": date(2026, 10, 1)}, "period_last_day"),
        ({"first_day": date(2026, 12, 1)}, "totals"),
        ({"hour_shares": [1.0] * 23}, "hour_shares"),
        ({"hour_shares": [0.0] * 24}, "hour_shares"),
        ({"hour_shares": [-1.0] + [1.0] * 23}, "hour_shares"),
    ],
)
def test_wrong_arguments_are_named(change: dict[str, Any], field: str) -> None:
    """Each error names the argument."""
    arguments: dict[str, Any] = {
        "first_day": date(2026, 11, 1),
        "totals": [1, 2, 3],
        "period_first_day": NOVEMBER[0],
        "period_last_day": NOVEMBER[1],
        "today_share": 0.5,
    }
    with pytest.raises(InvalidValue, match=field):
        forecast_period(**{**arguments, **change})


def test_it_is_quick() -> None:
    """A month with 120 days of history takes less than 10 ms of the processor, the median of 30 calls."""
    totals = [(10 + 7 * day % 5) * USD for day in range(HISTORY_DAYS_MAX + 1)]
    taken = []
    for _ in range(30):
        began = time.process_time()
        said(totals, date(2026, 11, 2))
        taken.append(1000 * (time.process_time() - began))
    assert statistics.median(taken) < CALL_MS_MAX
