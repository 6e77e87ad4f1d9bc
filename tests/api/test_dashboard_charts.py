"""The geometry of the charts: nothing outside its plot, no number that is none, ticks that people can read."""

from __future__ import annotations

import math
from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from costledger.api.dashboard.charts.gauge import GAUGE_NARROW, GAUGE_WIDE, gauge
from costledger.api.dashboard.charts.month import MonthForecast, month_chart
from costledger.api.dashboard.charts.scales import (
    NARROW,
    TICKS_MAX,
    WIDE,
    Frame,
    Scale,
    Tick,
    nice_ticks,
    text_width,
    without_overlaps,
)
from costledger.api.dashboard.charts.stacked import (
    SERIES_MAX,
    Column,
    amount_of,
    choose_series,
    stacked_chart,
)

USD = st.one_of(
    st.just(Decimal(0)),
    st.decimals(-(10**14), 10**14, allow_nan=False, allow_infinity=False, places=12),
    st.decimals(-1, 1, allow_nan=False, allow_infinity=False, places=12),
)
POSITIVE = USD.map(abs)
FRAMES = st.sampled_from([WIDE, NARROW])
COLUMNS = st.lists(
    st.dictionaries(st.sampled_from([f"service-{number}" for number in range(30)]), USD, max_size=12),
    min_size=1,
    max_size=6,
).map(lambda rows: [Column(f"c{number}", f"column {number}", row) for number, row in enumerate(rows)])


def within(frame: Frame, *points: tuple[float, float]) -> bool:
    """Whether all points are finite and in the drawing."""
    return all(
        math.isfinite(x) and math.isfinite(y) and -0.01 <= x <= frame.width + 0.01 and -0.01 <= y <= frame.height + 0.01
        for x, y in points
    )


@given(low=USD, high=USD)
def test_ticks_are_nice_and_hold_the_range(low: Decimal, high: Decimal) -> None:
    """Ticks are 1, 2 or 5 times a power of ten apart, few, ascending, and reach around the range and zero."""
    low, high = min(low, high), max(low, high)
    ticks = nice_ticks(low, high)
    assert ticks[0] <= min(low, 0)
    assert ticks[-1] >= max(high, 0)
    assert 0 in ticks
    assert 2 <= len(ticks) <= TICKS_MAX + 2
    steps = {after - before for before, after in pairwise(ticks)}
    assert len(steps) == 1
    (step,) = steps
    assert step.scaleb(-step.adjusted()).normalize() in {Decimal(1), Decimal(2), Decimal(5)}


def test_ticks_of_nothing() -> None:
    """An empty chart has an axis from 0 to 1."""
    assert (nice_ticks(Decimal(0), Decimal(0))[0], nice_ticks(Decimal(0), Decimal(0))[-1]) == (0, 1)


@given(low=USD, high=USD, amount=USD)
def test_a_scale_stays_on_its_line(low: Decimal, high: Decimal, amount: Decimal) -> None:
    """Whatever the amount, its place is between the ends; larger amounts are never nearer to the start."""
    low, high = min(low, high), max(low, high)
    scale = Scale(low, high + 1, 200, 10)
    assert 10 <= scale.at(amount) <= 200
    assert scale.at(low) == 200
    assert scale.at(amount + 1) <= scale.at(amount)


@settings(max_examples=60)
@given(columns=COLUMNS, frame=FRAMES)
def test_bars_lie_in_the_plot_and_add_up(columns: list[Column], frame: Frame) -> None:
    """Every bar is within the axes, has no negative height, and bars of a column do not overlap."""
    series = choose_series(columns)
    chart = stacked_chart(columns, series, frame)
    for bar in chart.bars:
        assert within(frame, (bar.x, bar.y), (bar.x + bar.width, bar.y + bar.height))
        assert bar.width > 0
        assert bar.height >= 0
        assert chart.plot.left - 0.01 <= bar.x
        assert bar.x + bar.width <= chart.plot.right + 0.01
        assert chart.plot.top - 0.01 <= bar.y
        assert bar.y + bar.height <= chart.plot.bottom + 0.01
    for x in {bar.x for bar in chart.bars}:
        stack = sorted((bar for bar in chart.bars if bar.x == x), key=lambda bar: (bar.y, bar.height))
        for upper, lower in pairwise(stack):
            assert upper.y + upper.height <= lower.y + 0.02
    assert chart.plot.top <= chart.zero_y <= chart.plot.bottom


@settings(max_examples=60)
@given(columns=COLUMNS)
def test_series_hold_every_service_once(columns: list[Column]) -> None:
    """At most seven services have a colour and the rest one; nothing of a column's sum is lost."""
    series = choose_series(columns)
    members = [name for one in series for name in one.members]
    assert sorted(members) == sorted({name for column in columns for name in column.amounts})
    assert len(series) <= SERIES_MAX + 1
    assert [one.index for one in series] == list(range(1, len(series) + 1))
    for column in columns:
        assert sum((amount_of(column, one) for one in series), Decimal(0)) == sum(column.amounts.values(), Decimal(0))


def test_thirty_services_are_seven_and_the_rest() -> None:
    """The seven dearest keep their names."""
    column = Column("c", "c", {f"service-{number:02d}": Decimal(number) for number in range(30)})
    series = choose_series([column])
    assert [one.name for one in series] == [
        *(f"service-{number}" for number in range(29, 22, -1)),
        "Other services (23)",
    ]


def test_eight_services_need_no_rest() -> None:
    """One left over has the last colour to itself."""
    series = choose_series([Column("c", "c", {f"service-{number}": Decimal(number) for number in range(1, 9)})])
    assert [one.name for one in series][-1] == "service-1"


def test_credits_hang_below_zero() -> None:
    """A negative amount is drawn from the line of zero downwards."""
    column = Column("c", "c", {"paid": Decimal(10), "credit": Decimal(-4)})
    chart = stacked_chart([column], choose_series([column]), WIDE)
    paid, credit = chart.bars
    assert paid.y + paid.height == pytest.approx(chart.zero_y)
    assert credit.y == pytest.approx(chart.zero_y)
    assert credit.height == pytest.approx(paid.height * 0.4, abs=0.1)


@given(st.lists(st.tuples(st.floats(0, 700), st.text(min_size=1, max_size=12)), max_size=40))
def test_labels_do_not_touch(marks: list[tuple[float, str]]) -> None:
    """What is kept has room; the first one is always kept."""
    ticks = [Tick(position, text) for position, text in marks]
    kept = without_overlaps(ticks)
    assert not ticks or ticks[0] in kept
    for one, other in pairwise(kept):
        assert other.position - one.position >= (text_width(one.text) + text_width(other.text)) / 2


@given(
    days=st.lists(USD, max_size=31),
    share=st.decimals(-1, 2, allow_nan=False, allow_infinity=False, places=3),
    ends=st.none() | st.tuples(USD, USD, USD),
    budget=POSITIVE,
    frame=FRAMES,
)
def test_the_month_stays_in_its_plot(
    days: list[Decimal],
    share: Decimal,
    ends: tuple[Decimal, Decimal, Decimal] | None,
    budget: Decimal,
    frame: Frame,
) -> None:
    """Line, band and budget are finite and inside, from no day at all to 31, with zero and negative totals."""
    forecast = None if ends is None else MonthForecast(sorted(ends)[1], min(ends), max(ends))
    chart = month_chart(days, 31, share, forecast, budget, frame)
    assert within(frame, *chart.line, *chart.area, *chart.band, *chart.expected)
    assert len(chart.line) == len(days) + 1
    assert [x for x, _ in chart.line] == sorted(x for x, _ in chart.line)
    assert bool(chart.band) == (forecast is not None)
    if chart.budget_y is not None:
        assert chart.plot.top <= chart.budget_y <= chart.plot.bottom


def test_a_budget_far_above_is_not_drawn() -> None:
    """It would flatten the line; where it is near, it is drawn."""
    days = [Decimal("0.01")]
    assert month_chart(days, 30, Decimal(1), None, Decimal(10), WIDE).budget_y is None
    assert month_chart([Decimal(9)], 30, Decimal(1), None, Decimal(10), WIDE).budget_y is not None


@given(
    total=USD,
    budget=POSITIVE,
    percents=st.lists(st.integers(0, 99_999), min_size=1, max_size=16, unique=True).map(sorted),
    band=st.none() | st.tuples(USD, USD),
    frame=st.sampled_from([GAUGE_WIDE, GAUGE_NARROW]),
)
def test_the_gauge_stays_in_its_frame(
    total: Decimal,
    budget: Decimal,
    percents: list[int],
    band: tuple[Decimal, Decimal] | None,
    frame: Frame,
) -> None:
    """Fill, marks and band are finite and on the bar, whatever was spent and allowed."""
    thresholds = [(Decimal(percent), budget * percent / 100) for percent in percents]
    ends = None if band is None else (min(band), max(band))
    drawn = gauge(total, budget, thresholds, ends, frame)
    places = [drawn.fill_x, drawn.budget_x, *(mark.x for mark in drawn.marks), *(drawn.band or ())]
    assert all(math.isfinite(x) and drawn.bar.left <= x <= drawn.bar.right for x in places)
    assert [mark.x for mark in drawn.marks] == sorted(mark.x for mark in drawn.marks)
    for tick in drawn.labels:
        half = text_width(tick.text) / 2
        assert tick.position - half >= -0.01
        assert tick.position + half <= frame.width + 0.01
    if total > 0 and budget > 0:
        assert (drawn.fill_x >= drawn.budget_x) == (total >= budget) or abs(drawn.fill_x - drawn.budget_x) < 0.02
