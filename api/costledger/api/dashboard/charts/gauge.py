"""The month so far against its budget: a bar, with the thresholds and the forecast marked on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from costledger.api.dashboard.charts.scales import Frame, Plot, Scale, Tick, text_width, without_overlaps
from costledger.api.dashboard.formats import plain_percent

GAUGE_WIDE: Final = Frame("wide", 1160, 52)
GAUGE_NARROW: Final = Frame("narrow", 320, 52)
_BAR_TOP: Final = 4.0
_BAR_HEIGHT: Final = 20.0
#: A forecast far beyond the budget would leave nothing to see of it: it is cut there.
_FORECAST_SHARE_MAX: Final = 2
_ROOM: Final = Decimal("1.04")


@dataclass(frozen=True, slots=True)
class Mark:
    """A threshold on the bar: `x`, the percentage, its amount in USD and whether it was reached."""

    x: float
    percent: Decimal
    amount: Decimal
    reached: bool


@dataclass(frozen=True, slots=True)
class Gauge:
    """What is drawn. `band` is the forecast from x to x, None without one; `budget_x` is None where it is 0."""

    frame: Frame
    bar: Plot
    fill_x: float
    budget_x: float
    band: tuple[float, float] | None
    marks: tuple[Mark, ...]
    labels: tuple[Tick, ...]


def gauge(
    total: Decimal,
    budget: Decimal,
    thresholds: Sequence[tuple[Decimal, Decimal]],
    forecast: tuple[Decimal, Decimal] | None,
    frame: Frame,
) -> Gauge:
    """The bar of a total and a budget in USD; `thresholds` are (percent, USD), `forecast` is (low, high)."""
    bar = Plot(1, _BAR_TOP, frame.width - 1, _BAR_TOP + _BAR_HEIGHT)
    largest = max(total, budget, Decimal(0))
    if forecast is not None:
        largest = max(largest, min(forecast[1], largest * _FORECAST_SHARE_MAX))
    scale = Scale(Decimal(0), largest * _ROOM if largest else Decimal(1), bar.left, bar.right)
    marks = tuple(Mark(scale.at(amount), percent, amount, total >= amount) for percent, amount in thresholds)
    within = [mark for mark in marks if mark.amount <= scale.high]
    # The budget itself keeps its label, then the higher thresholds.
    ranked = sorted(within, key=lambda mark: (mark.percent != 100, -mark.percent))
    labels = [Tick(_inside(mark.x, f"{plain_percent(mark.percent)} %", frame), _label(mark)) for mark in ranked]
    band = None if forecast is None else (scale.at(forecast[0]), scale.at(forecast[1]))
    return Gauge(frame, bar, scale.at(total), scale.at(budget), band, marks, tuple(without_overlaps(labels)))


def _label(mark: Mark) -> str:
    return f"{plain_percent(mark.percent)} %"


def _inside(x: float, text: str, frame: Frame) -> float:
    half = text_width(text) / 2
    return round(min(max(x, half), frame.width - half), 2)
