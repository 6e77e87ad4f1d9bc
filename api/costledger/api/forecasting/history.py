"""The past as numbers: days before today from the first spend on, their weekday pattern, their level and its trend."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

DAYS_PER_WEEK: Final = 7
#: Fewer days do not tell a weekday from chance.
WEEKDAY_HISTORY_DAYS_MIN: Final = 21
#: Fewer days do not tell a trend from chance.
TREND_HISTORY_DAYS_MIN: Final = 14
#: A trend is sought in as many of the last days.
TREND_HISTORY_DAYS_MAX: Final = 90
#: The level of a trend is that of as many of the last days.
LEVEL_HISTORY_DAYS_MAX: Final = 21
#: Days on each side of a shift of the level.
_SHIFT_DAYS_MIN: Final = 3
#: Standard scores (rank tests) beyond which a shift or a trend is believed.
_SHIFT_SCORE_MIN: Final = 3.2
_TREND_SCORE_MIN: Final = 2.0
#: A new level is at least so far from the old one, as a share of the larger of the two.
_SHIFT_SHARE_MIN: Final = 0.25
#: How far from where the ranks put it a shift is sought.
_SHIFT_SEARCH_DAYS: Final = 5
_SHIFTS_MAX: Final = 3
#: A weekday that costs less than this share of a mean day tells nothing about the level.
_FACTOR_MIN: Final = 0.25
#: A falling trend leaves at least this share of the level.
_LEVEL_MIN: Final = 0.2


@dataclass(frozen=True, slots=True)
class History:
    """Days before today, oldest first, from the first with spend on. `values` are shares of a mean day (`scale`)."""

    values: Floats
    weekdays: Integers
    days_of_month: Integers
    scale: float


@dataclass(frozen=True, slots=True)
class Fit:
    """What the history says: factors of the weekdays (mean 1), and the level of each past day and of today.

    `level_days` is on how many days the level of today rests. A trend is one of the level's square root: `slope` is its
    change from day to day, `root` its value today; both 0 without a trend.
    """

    week: Floats
    levels: Floats
    level: float
    root: float
    slope: float
    level_days: int


def fit(history: History) -> Fit:
    """Weekday pattern, shifts and trend. With little history: no pattern, no trend, the mean."""
    values, days = history.values, len(history.values)
    week = weekday_factors(values, history.weekdays)
    factors = week[history.weekdays]
    telling = np.flatnonzero((factors >= _FACTOR_MIN) & (values != 0))
    adjusted = values[telling] / factors[telling]
    begins = [0, *(int(telling[at]) for at in shifts(adjusted))]
    levels = np.empty(days)
    for begin, end in zip(begins, [*begins[1:], days], strict=True):
        levels[begin:end] = ratio_level(values[begin:end], factors[begin:end])
    begin = begins[-1]
    line_from = max(begin, days - TREND_HISTORY_DAYS_MAX)
    used = telling >= line_from
    slope, root = theil_sen(telling[used] - days, np.sqrt(np.abs(adjusted[used])), _TREND_SCORE_MIN)
    if slope and root > 0:
        levels[line_from:] = on_trend(root, slope, np.arange(line_from - days, 0))
        levels[begin:line_from] = levels[line_from]
        return Fit(week, levels, root**2, root, slope, days - line_from)
    return Fit(week, levels, float(levels[-1]), 0.0, 0.0, days - begin)


def on_trend(root: float, slope: Floats | float, days: Integers | Floats) -> Floats:
    """The level so many days from today: its square root is on a line.

    Between a line and exponential growth: use grows by either. A falling trend leaves a part of the level.
    """
    levels: Floats = np.maximum(root + slope * days, root * np.sqrt(_LEVEL_MIN)) ** 2
    return levels


def ratio_level(values: Floats, factors: Floats) -> float:
    """What a mean day costs where day i costs `factors[i]` times as much."""
    return float(values.sum() / max(factors.sum(), 1e-9))


def weekday_factors(values: Floats, weekdays: Integers) -> Floats:
    """How much each weekday (Monday first) costs of a mean day: medians over the weeks, shrunk where they differ by chance.

    Each day is compared with the mean of the seven days around it, so that neither trend nor shift is taken for a
    pattern. All 1 where there are less than three weeks, or most days have no spend.
    """
    ones = np.ones(DAYS_PER_WEEK)
    if len(values) < WEEKDAY_HISTORY_DAYS_MIN:
        return ones
    around = np.convolve(values, np.full(DAYS_PER_WEEK, 1 / DAYS_PER_WEEK), mode="valid")
    inner = slice(DAYS_PER_WEEK // 2, DAYS_PER_WEEK // 2 + len(around))
    usable = around > 0.05 * np.abs(values).mean()
    ratios, days = values[inner][usable] / around[usable], weekdays[inner][usable]
    if len(ratios) < WEEKDAY_HISTORY_DAYS_MIN - DAYS_PER_WEEK + 1:
        return ones
    medians, noise = np.ones(DAYS_PER_WEEK), np.zeros(DAYS_PER_WEEK)
    for weekday in range(DAYS_PER_WEEK):
        own = ratios[days == weekday]
        if len(own) < 2:
            return ones
        medians[weekday] = np.median(own)
        # The squared error of a median: that of normal noise, from the median absolute deviation.
        noise[weekday] = 1.57 * (1.4826 * np.median(np.abs(own - medians[weekday]))) ** 2 / len(own)
    medians = np.maximum(medians, 0.0)
    if medians.sum() < 0.5 * DAYS_PER_WEEK:
        return ones
    medians *= DAYS_PER_WEEK / medians.sum()
    between = float(np.mean((medians - 1) ** 2))
    kept = max(0.0, 1 - float(noise.mean()) * 2 / between) if between > 0 else 0.0
    return 1 + kept * (medians - 1)


def shifts(values: Floats) -> list[int]:
    """Where the level changes for good: first days of new levels, in order; a rank test, so outliers count once."""
    found: list[int] = []
    begin = 0
    for _ in range(_SHIFTS_MAX):
        split = _shift(values[begin:])
        if split is None:
            break
        begin += split
        found.append(begin)
    return found


def _shift(values: Floats) -> int | None:
    days = len(values)
    if days < 2 * _SHIFT_DAYS_MIN + 2:
        return None
    order = values.argsort(kind="stable")
    ranks = np.empty(days)
    ranks[order] = np.arange(1, days + 1)
    before = np.arange(_SHIFT_DAYS_MIN, days - _SHIFT_DAYS_MIN + 1)
    after = days - before
    excess = np.abs(np.cumsum(ranks)[before - 1] - before * (days + 1) / 2)
    scores = excess / np.sqrt(before * after * (days + 1) / 12)
    best = int(scores.argmax())
    if scores[best] < _SHIFT_SCORE_MIN:
        return None
    # Ranks say that there is a shift; where it is, the distances from the two levels say better.
    near = before[max(best - _SHIFT_SEARCH_DAYS, 0) : best + _SHIFT_SEARCH_DAYS + 1].tolist()
    step, split = min((_distance(values[:at]) + _distance(values[at:]), int(at)) for at in near)
    old, new = float(np.median(values[:split])), float(np.median(values[split:]))
    if abs(new - old) < _SHIFT_SHARE_MIN * max(abs(old), abs(new)):
        return None
    # A steady climb looks like a step to a rank test: whichever fits better.
    positions = np.arange(days)
    slope, base = theil_sen(positions, values, least_score=0)
    if np.abs(values - base - slope * positions).sum() <= step:
        return None
    return int(split)


def _distance(values: Floats) -> float:
    return float(np.abs(values - np.median(values)).sum())


def theil_sen(days: Integers, values: Floats, least_score: float) -> tuple[float, float]:
    """Change from day to day, and the value at day 0: the median slope over all pairs; 0 where Kendall's test finds none.

    What is just beyond chance is taken in part.
    """
    count = len(values)
    if count < TREND_HISTORY_DAYS_MIN:
        return 0.0, 0.0
    early, late = np.triu_indices(count, 1)
    rises = values[late] - values[early]
    score = abs(float(np.sign(rises).sum())) / np.sqrt(count * (count - 1) * (2 * count + 5) / 18)
    if score <= least_score:
        return 0.0, 0.0
    slope = float(np.median(rises / (days[late] - days[early]))) * (1 - (least_score / score) ** 2)
    # Where a line bends, its last part counts.
    recent = days >= days[-1] - LEVEL_HISTORY_DAYS_MAX
    return slope, float(np.median((values - slope * days)[recent]))
