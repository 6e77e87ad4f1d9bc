"""The back-test: cuts generated series at several days of a period, forecasts, and compares with what came.

The yardstick is the naive run rate: what is spent so far over the share of the period that has passed, since the first
day of history where the period began before it.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import date, timedelta
from typing import Any, Final

import numpy as np
from tests.api.forecasting.series import KINDS, Series, make_series

from costledger.api.forecasting import PeriodForecast, forecast_period
from costledger.schemas.periods import PeriodKind

#: Days of the month at which a month is cut, and of the week at which a week is.
MONTH_CUTS: Final = (2, 4, 8, 12, 16, 20, 24, 28)
WEEK_CUTS: Final = (0, 2, 4, 5)
ALL: Final = "all"
MONTHS: Final = tuple(date(2026, month, 1) for month in range(1, 13))


@dataclass(frozen=True)
class Outcome:
    """One forecast and the truth. Errors are shares of the truth where that is not 0."""

    kind: str
    period: str
    truth: int
    spent: int
    naive: float
    forecast: PeriodForecast
    #: What such a period costs on the average of the series: makes series of all sizes comparable.
    usual: float
    seconds: float

    @property
    def covered(self) -> bool:
        """Whether the truth was within the interval."""
        return self.forecast.low <= self.truth <= self.forecast.high

    def error(self, predicted: float) -> float | None:
        """Absolute error as a share of the truth; None where the truth is not positive."""
        return abs(predicted - self.truth) / self.truth if self.truth > 0 else None


@dataclass(frozen=True)
class Summary:
    """Of many outcomes: absolute percentage errors (median, mean, weighted by the truth) and coverage in percent."""

    kind: str
    period: str
    cases: int
    median_error_percent: float
    naive_median_error_percent: float
    mean_error_percent: float
    naive_mean_error_percent: float
    weighted_error_percent: float
    naive_weighted_error_percent: float
    coverage_percent: float
    interval_width_percent: float

    def errors(self) -> tuple[float, ...]:
        """Median, mean and weighted error, each of the forecast and of the run rate."""
        return (
            *(self.median_error_percent, self.naive_median_error_percent),
            *(self.mean_error_percent, self.naive_mean_error_percent),
            *(self.weighted_error_percent, self.naive_weighted_error_percent),
        )

    def to_dict(self) -> dict[str, Any]:
        """For JSON, with one decimal."""
        return {name: round(value, 1) if isinstance(value, float) else value for name, value in asdict(self).items()}


def period_days(kind: PeriodKind, today: date) -> tuple[date, date]:
    """First and last day of the period that holds today."""
    if kind is PeriodKind.DAY:
        return today, today
    if kind is PeriodKind.WEEK:
        first = today - timedelta(days=today.weekday())
        return first, first + timedelta(days=6)
    first = today.replace(day=1)
    return first, (first + timedelta(days=32)).replace(day=1) - timedelta(days=1)


def run_backtest(seed: int, rounds: int, kinds: Iterable[str] = KINDS) -> list[Outcome]:
    """`rounds` series of each kind for each cut of a month, a week and a day."""
    outcomes = []
    for number, kind in enumerate(kinds):
        rng = np.random.default_rng([seed, number])
        for _ in range(rounds):
            outcomes += [_outcome(kind, period, today, rng) for period, today in _cuts(rng)]
    return [outcome for outcome in outcomes if outcome is not None]


def _cuts(rng: np.random.Generator) -> Iterator[tuple[PeriodKind, date]]:
    month = MONTHS[rng.integers(len(MONTHS))]
    for day in MONTH_CUTS:
        yield PeriodKind.MONTH, month + timedelta(days=day - 1)
    monday = month + timedelta(days=int(rng.integers(28)))
    monday -= timedelta(days=monday.weekday())
    for day in WEEK_CUTS:
        yield PeriodKind.WEEK, monday + timedelta(days=day)
    yield PeriodKind.DAY, month + timedelta(days=int(rng.integers(28)))


def _outcome(kind: str, period: PeriodKind, today: date, rng: np.random.Generator) -> Outcome | None:
    series = make_series(kind, rng, today)
    first, last = period_days(period, today)
    cut = series.index(today)
    today_share = float(rng.uniform(0.1, 0.95))
    spent_today = _spent_today(series, cut, today_share, rng)
    known = (*series.totals[series.born : cut], spent_today)
    # What happened before the history began is not part of the question.
    start = max(series.index(first), series.born)
    truth = sum(series.totals[start : series.index(last) + 1])
    spent = sum(series.totals[start:cut]) + spent_today
    began = time.process_time()
    forecast = forecast_period(
        series.first_day + timedelta(days=series.born),
        known,
        period_first_day=first,
        period_last_day=last,
        today_share=today_share,
        hour_shares=series.hour_shares if period is PeriodKind.DAY else None,
    )
    seconds = time.process_time() - began
    if forecast is None:
        return None
    days = series.index(last) - start + 1
    passed = (cut - start + today_share) / days
    usual = float(np.mean(np.abs(np.array(series.totals[series.born :], dtype=float)))) * days
    return Outcome(kind, period.value, truth, spent, spent / passed, forecast, usual, seconds)


def _spent_today(series: Series, cut: int, share: float, rng: np.random.Generator) -> int:
    """Part of today's total: hours by the profile, but never quite."""
    weights = np.array(series.hour_shares) * rng.gamma(4.0, 0.25, 24)
    passed = np.clip(share * 24 - np.arange(24), 0, 1)
    return int(series.totals[cut] * float((weights * passed).sum() / weights.sum()))


def summarise(outcomes: Sequence[Outcome], kind: str, period: str) -> Summary:
    """Errors and coverage of these outcomes. Widths of intervals are in percent of a usual period; medians."""
    errors = [(o.error(o.forecast.total), o.error(o.naive)) for o in outcomes if o.truth > 0]
    ours, naive = np.array(errors, dtype=float).T * 100
    usual = np.array([o.usual for o in outcomes])
    truth = np.array([float(o.truth) for o in outcomes]) / usual
    ours_scaled = np.array([float(o.forecast.total) for o in outcomes]) / usual
    naive_scaled = np.array([o.naive for o in outcomes]) / usual
    widths = np.array([float(o.forecast.high - o.forecast.low) for o in outcomes]) / usual
    return Summary(
        kind=kind,
        period=period,
        cases=len(outcomes),
        median_error_percent=float(np.median(ours)),
        naive_median_error_percent=float(np.median(naive)),
        mean_error_percent=float(ours.mean()),
        naive_mean_error_percent=float(naive.mean()),
        weighted_error_percent=float(100 * np.abs(ours_scaled - truth).sum() / np.abs(truth).sum()),
        naive_weighted_error_percent=float(100 * np.abs(naive_scaled - truth).sum() / np.abs(truth).sum()),
        coverage_percent=float(100 * np.mean([o.covered for o in outcomes])),
        interval_width_percent=float(100 * np.median(widths)),
    )


def summaries(outcomes: Sequence[Outcome]) -> list[Summary]:
    """By kind and period, then over all periods, then over all kinds."""
    groups: dict[tuple[str, str], list[Outcome]] = {}
    for outcome in outcomes:
        for kind in (outcome.kind, ALL):
            for period in (outcome.period, ALL):
                groups.setdefault((kind, period), []).append(outcome)
    ordered = sorted(groups, key=lambda group: (group[0] == ALL, group[1] == ALL))
    return [summarise(groups[group], *group) for group in ordered]
