"""Costs over time: one bar for a period, one colour for a service; credits hang below the line of zero."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
from costledger.api.dashboard.formats import Money, money, usd_axis

#: So many services have a colour of their own; the rest are one.
SERIES_MAX: Final = 7
OTHER: Final = "Other services"
_BAR_WIDTH_MAX: Final = 56.0
_BAR_SHARE: Final = 0.62
_AXIS_HEIGHT: Final = 26.0
_TOP: Final = 10.0


@dataclass(frozen=True, slots=True)
class Column:
    """One period: a label for the axis, a longer one for people who point at it, and its amounts by service."""

    label: str
    title: str
    amounts: Mapping[str, Decimal]
    running: bool = False


@dataclass(frozen=True, slots=True)
class Series:
    """One colour. `index` counts from 1; `members` are the services in it."""

    index: int
    name: str
    members: frozenset[str]
    total: Money


@dataclass(frozen=True, slots=True)
class Bar:
    """One rectangle."""

    x: float
    y: float
    width: float
    height: float
    series: int
    title: str
    running: bool


@dataclass(frozen=True, slots=True)
class StackedChart:
    """What is drawn."""

    frame: Frame
    plot: Plot
    bars: tuple[Bar, ...]
    y_ticks: tuple[Tick, ...]
    x_ticks: tuple[Tick, ...]
    zero_y: float


def choose_series(columns: Sequence[Column]) -> tuple[Series, ...]:
    """The services by size of their cost over all columns, largest first; those after the seventh are one series."""
    totals: dict[str, Decimal] = {}
    for column in columns:
        for service, amount in column.amounts.items():
            totals[service] = totals.get(service, Decimal(0)) + amount
    ranked = sorted(totals, key=lambda service: (-abs(totals[service]), service))
    # One left over has the last colour to itself.
    own = ranked if len(ranked) <= SERIES_MAX + 1 else ranked[:SERIES_MAX]
    series = [
        Series(index, service, frozenset({service}), money(totals[service])) for index, service in enumerate(own, 1)
    ]
    rest = ranked[len(own) :]
    if rest:
        total = sum((totals[service] for service in rest), Decimal(0))
        series.append(Series(SERIES_MAX + 1, f"{OTHER} ({len(rest)})", frozenset(rest), money(total)))
    return tuple(series)


def amount_of(column: Column, series: Series) -> Decimal:
    """What a series has in a column."""
    return sum((column.amounts[name] for name in series.members if name in column.amounts), Decimal(0))


def stacked_chart(columns: Sequence[Column], series: Sequence[Series], frame: Frame) -> StackedChart:
    """The chart of these columns; each bar lies within the plot."""
    amounts = [[amount_of(column, one) for one in series] for column in columns]
    highs = [sum((amount for amount in row if amount > 0), Decimal(0)) for row in amounts]
    lows = [sum((amount for amount in row if amount < 0), Decimal(0)) for row in amounts]
    ticks = nice_ticks(min(lows, default=Decimal(0)), max(highs, default=Decimal(0)))
    labels = [usd_axis(tick) for tick in ticks]
    left = max(text_width(label) for label in labels) + 10
    plot = Plot(left, _TOP, frame.width - 4, frame.height - _AXIS_HEIGHT)
    scale = Scale(ticks[0], ticks[-1], plot.bottom, plot.top)
    slot = plot.width / max(1, len(columns))
    width = round(min(slot * _BAR_SHARE, _BAR_WIDTH_MAX), 2)
    bars: list[Bar] = []
    for index, (column, row) in enumerate(zip(columns, amounts, strict=True)):
        x = round(plot.left + slot * (index + 0.5) - width / 2, 2)
        bars.extend(_column_bars(column, row, series, scale, x, width))
    middles = [Tick(round(plot.left + slot * (i + 0.5), 2), column.label) for i, column in enumerate(columns)]
    return StackedChart(
        frame,
        plot,
        tuple(bars),
        tuple(Tick(scale.at(tick), label) for tick, label in zip(ticks, labels, strict=True)),
        # The newest is the last to be left out.
        tuple(without_overlaps(middles[::-1])),
        scale.at(Decimal(0)),
    )


def _column_bars(
    column: Column, row: Sequence[Decimal], series: Sequence[Series], scale: Scale, x: float, width: float
) -> list[Bar]:
    bars = []
    above = below = Decimal(0)
    for one, amount in zip(series, row, strict=True):
        if not amount:
            continue
        start = above if amount > 0 else below
        top, bottom = scale.at(max(start, start + amount)), scale.at(min(start, start + amount))
        if amount > 0:
            above += amount
        else:
            below += amount
        title = f"{column.title} · {one.name}: {money(amount).text}"
        bars.append(Bar(x, top, width, round(bottom - top, 2), one.index, title, column.running))
    return bars
