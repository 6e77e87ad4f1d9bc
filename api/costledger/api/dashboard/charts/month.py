"""The running month day by day, added up, and what it will come to: a line, a band, and the budget across."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from costledger.api.dashboard.charts.scales import (
    Frame,
    Plot,
    Scale,
    Tick,
    nice_ticks,
    text_width,
    without_overlaps,
)
from costledger.api.dashboard.formats import usd_axis

_AXIS_HEIGHT: Final = 26.0
_TOP: Final = 14.0
#: A budget so many times above all that is drawn would flatten it: then it is said in words alone.
_BUDGET_SHARE_MAX: Final = 4

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class MonthChart:
    """What is drawn: polylines as lists of points; `band` is a closed shape, empty without a forecast."""

    frame: Frame
    plot: Plot
    line: tuple[Point, ...]
    area: tuple[Point, ...]
    band: tuple[Point, ...]
    expected: tuple[Point, ...]
    budget_y: float | None
    y_ticks: tuple[Tick, ...]
    x_ticks: tuple[Tick, ...]
    zero_y: float


@dataclass(frozen=True, slots=True)
class MonthForecast:
    """USD at the end of the month."""

    total: Decimal
    low: Decimal
    high: Decimal


def month_chart(
    days: Sequence[Decimal],
    days_in_month: int,
    day_share: Decimal,
    forecast: MonthForecast | None,
    budget: Decimal,
    frame: Frame,
) -> MonthChart:
    """The chart of a month. `days` are the costs of its days until today, which is `day_share` (0 to 1) over."""
    sums = _added_up(days)
    drawn = [*sums, *((forecast.low, forecast.high) if forecast else ())]
    high = max([*drawn, Decimal(0)])
    with_budget = budget > 0 and budget <= max(high, Decimal("0.01")) * _BUDGET_SHARE_MAX
    ticks = nice_ticks(min([*drawn, Decimal(0)]), max(high, budget) if with_budget else high)
    labels = [usd_axis(tick) for tick in ticks]
    left = max(text_width(label) for label in labels) + 10
    plot = Plot(left, _TOP, frame.width - 6, frame.height - _AXIS_HEIGHT)
    y = Scale(ticks[0], ticks[-1], plot.bottom, plot.top)
    x = Scale(Decimal(0), Decimal(days_in_month), plot.left, plot.right)
    # A day's sum is reached at its end; today's, now.
    ends = [Decimal(index + 1) for index in range(len(days))]
    if ends:
        ends[-1] = Decimal(len(days) - 1) + min(max(day_share, Decimal(0)), Decimal(1))
    line = [(x.at(Decimal(0)), y.at(Decimal(0)))]
    line += [(x.at(end), y.at(total)) for end, total in zip(ends, sums, strict=True)]
    now = line[-1]
    zero = y.at(Decimal(0))
    band: tuple[Point, ...] = ()
    expected: tuple[Point, ...] = ()
    if forecast is not None:
        band = (now, (plot.right, y.at(forecast.high)), (plot.right, y.at(forecast.low)))
        expected = (now, (plot.right, y.at(forecast.total)))
    days_marked = [1, *range(5, days_in_month + 1, 5)]
    middles = [Tick(x.at(Decimal(day) - Decimal("0.5")), str(day)) for day in days_marked]
    return MonthChart(
        frame,
        plot,
        tuple(line),
        (*line, (now[0], zero)),
        band,
        expected,
        y.at(budget) if with_budget else None,
        tuple(Tick(y.at(tick), label) for tick, label in zip(ticks, labels, strict=True)),
        tuple(without_overlaps(middles)),
        zero,
    )


def _added_up(days: Sequence[Decimal]) -> list[Decimal]:
    sums, total = [], Decimal(0)
    for amount in days:
        total += amount
        sums.append(total)
    return sums
