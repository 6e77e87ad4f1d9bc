"""What the templates show, made of answers and budgets by pure functions: every figure is a text already."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final, Literal

from costledger.api.dashboard import formats
from costledger.api.dashboard.charts.gauge import GAUGE_NARROW, GAUGE_WIDE, Gauge, gauge
from costledger.api.dashboard.charts.month import MonthChart, MonthForecast, month_chart
from costledger.api.dashboard.charts.scales import NARROW, WIDE
from costledger.api.dashboard.charts.stacked import (
    Column,
    Series,
    StackedChart,
    amount_of,
    choose_series,
    stacked_chart,
)
from costledger.api.dashboard.formats import Money, money
from costledger.api.models.analytics import CostsAnswer, HistoryPeriod, PeriodName
from costledger.schemas.budgets import BudgetLimits
from costledger.schemas.money import to_usd
from costledger.schemas.periods import zone

Standing = Literal["calm", "warning", "over"]
PERIOD_NAMES: Final[Mapping[PeriodName, str]] = {"day": "7 days", "week": "4 weeks", "month": "12 months"}


@dataclass(frozen=True, slots=True)
class ThresholdView:
    """One threshold of the budget."""

    percent: str
    amount: Money
    reached: bool


@dataclass(frozen=True, slots=True)
class ForecastView:
    """The end of the month."""

    total: Money
    low: Money
    high: Money
    interval_percent: int
    note: str
    standing: Standing


@dataclass(frozen=True, slots=True)
class SummaryView:
    """The month so far against its budget."""

    month: str
    total: Money
    budget: Money
    share: str
    left: str
    standing: Standing
    standing_text: str
    thresholds: tuple[ThresholdView, ...]
    gauges: tuple[Gauge, ...]
    forecast: ForecastView | None
    trend: str
    trend_text: str
    unpriced: int
    as_of: datetime
    time_zone: str


@dataclass(frozen=True, slots=True)
class CostsView:
    """Costs over time, as charts and as a table: one row for a period, one column for a series."""

    period: PeriodName
    series: tuple[Series, ...]
    charts: tuple[StackedChart, ...]
    rows: tuple[tuple[str, tuple[Money, ...], Money], ...]
    total: Money
    empty: bool


@dataclass(frozen=True, slots=True)
class MonthView:
    """The month day by day, and its forecast."""

    charts: tuple[MonthChart, ...]
    rows: tuple[tuple[str, Money, Money], ...]
    budget: Money
    budget_drawn: bool
    forecast: ForecastView | None
    empty: bool


def summary_view(answer: CostsAnswer, limits: BudgetLimits) -> SummaryView:
    """The summary of an answer for the month."""
    total, budget = newest_total(answer), to_usd(limits.monthly)
    thresholds = tuple((percent, to_usd(amount)) for percent, amount in limits.thresholds)
    forecast = answer.forecast
    band = None if forecast is None else (Decimal(forecast.low), Decimal(forecast.high))
    standing, text = _standing(total, budget, thresholds)
    trend = Decimal(answer.current.trend_to_date_percent)
    return SummaryView(
        month=_local(answer.current.start, answer.time_zone, "%B %Y"),
        total=money(total),
        budget=money(budget),
        share=formats.percent(total / budget * 100) if budget else "no budget",
        left=_left(total, budget),
        standing=standing,
        standing_text=text,
        thresholds=tuple(
            ThresholdView(f"{formats.plain_percent(percent)} %", money(amount), total >= amount)
            for percent, amount in thresholds
        ),
        gauges=tuple(gauge(total, budget, thresholds, band, frame) for frame in (GAUGE_WIDE, GAUGE_NARROW)),
        forecast=forecast_view(answer, budget),
        trend=formats.percent(trend, signed=True),
        trend_text=_trend_text(trend),
        unpriced=answer.current.unpriced_events,
        as_of=answer.generated_at,
        time_zone=answer.time_zone,
    )


def newest_total(answer: CostsAnswer) -> Decimal:
    """The running period's total in USD: that of real time where it is ahead of the ledger's.

    Where Redis was lost it is behind until it is built again, and the ledger's stands.
    """
    total, live = Decimal(answer.current.total), answer.current.live_total
    return total if live is None else max(total, Decimal(live))


def forecast_view(answer: CostsAnswer, budget: Decimal) -> ForecastView | None:
    """The forecast of an answer beside a budget in USD."""
    forecast = answer.forecast
    if forecast is None:
        return None
    low, high = Decimal(forecast.low), Decimal(forecast.high)
    standing: Standing = "over" if low > budget else "warning" if high > budget else "calm"
    words = {
        "over": "above the budget, in all likelihood",
        "warning": "may pass the budget",
        "calm": "within the budget",
    }
    return ForecastView(
        money(Decimal(forecast.total)),
        money(low),
        money(high),
        forecast.interval_percent,
        words[standing],
        standing,
    )


def costs_view(answer: CostsAnswer) -> CostsView:
    """The history of an answer."""
    columns = [_column(answer.period, period, answer.time_zone, answer.generated_at) for period in answer.history]
    series = choose_series(columns)
    totals = [Decimal(period.total) for period in answer.history]
    rows = tuple(
        (column.title, tuple(money(amount_of(column, one)) for one in series), money(total))
        for column, total in zip(columns, totals, strict=True)
    )
    return CostsView(
        answer.period,
        series,
        tuple(stacked_chart(columns, series, frame) for frame in (WIDE, NARROW)),
        rows,
        money(sum(totals, Decimal(0))),
        empty=not has_costs(answer),
    )


def has_costs(answer: CostsAnswer) -> bool:
    """Whether anything was spent, or given back, in the answer's history."""
    return any(Decimal(amount) for period in answer.history for amount in period.by_service.values())


def month_view(answer: CostsAnswer, days: Sequence[Decimal], limits: BudgetLimits) -> MonthView:
    """The running month; `days` are the costs of its local days until today, in USD."""
    budget, forecast = to_usd(limits.monthly), None
    if answer.forecast is not None:
        forecast = MonthForecast(*(Decimal(getattr(answer.forecast, name)) for name in ("total", "low", "high")))
    start = answer.current.start.astimezone(zone(answer.time_zone))
    last = (answer.current.end - timedelta(microseconds=1)).astimezone(zone(answer.time_zone))
    now = answer.generated_at.astimezone(zone(answer.time_zone))
    share = Decimal(now.hour * 3600 + now.minute * 60 + now.second) / 86_400
    charts = tuple(month_chart(days, last.day, share, forecast, budget, frame) for frame in (WIDE, NARROW))
    rows, total = [], Decimal(0)
    for index, amount in enumerate(days):
        total += amount
        rows.append((f"{index + 1} {start:%B}", money(amount), money(total)))
    return MonthView(
        charts,
        tuple(rows),
        money(budget),
        charts[0].budget_y is not None,
        forecast_view(answer, budget),
        empty=not any(days) and forecast is None,
    )


def _standing(total: Decimal, budget: Decimal, thresholds: Sequence[tuple[Decimal, Decimal]]) -> tuple[Standing, str]:
    reached = [percent for percent, amount in thresholds if total >= amount and total > 0]
    if total > budget or (total and total == budget):
        return "over", "Budget used up" if total == budget else "Over budget"
    if reached:
        return "warning", f"{formats.plain_percent(max(reached))} % reached"
    return "calm", "Within budget"


def _left(total: Decimal, budget: Decimal) -> str:
    rest = budget - total
    return f"{formats.usd(rest)} left" if rest >= 0 else f"{formats.usd(-rest)} over"


def _trend_text(trend: Decimal) -> str:
    if not trend:
        return "no change, or no costs then to compare with"
    return f"{'more' if trend > 0 else 'less'} than in the same part of last month"


def _column(period: PeriodName, one: HistoryPeriod, time_zone: str, now: datetime) -> Column:
    start, last = one.start, one.end - timedelta(microseconds=1)
    if period == "day":
        label, title = _local(start, time_zone, "%a %-d"), _local(start, time_zone, "%A, %-d %B %Y")
    elif period == "week":
        label = f"{formats.day(start, time_zone)}"
        title = f"{formats.day(start, time_zone)} to {formats.day(last, time_zone)} {_local(last, time_zone, '%Y')}"
    else:
        label, title = _local(start, time_zone, "%b"), _local(start, time_zone, "%B %Y")
    running = one.start <= now < one.end
    amounts = {service: Decimal(amount) for service, amount in one.by_service.items()}
    return Column(label, f"{title} (so far)" if running else title, amounts, running)


def _local(instant: datetime, time_zone: str, form: str) -> str:
    return instant.astimezone(zone(time_zone)).strftime(form)
