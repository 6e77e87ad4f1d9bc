"""Paths of what is still to come: a bootstrap of past days, by blocks, put on the level and the weekdays to come."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from costledger.api.forecasting.history import (
    DAYS_PER_WEEK,
    WEEKDAY_HISTORY_DAYS_MIN,
    Fit,
    Floats,
    History,
    Integers,
    on_trend,
)

PATHS: Final = 600
#: Days that are drawn together: what follows each other in the past follows each other in a path.
_BLOCK_DAYS: Final = 7
#: So many days weigh half as much as those of today.
_HALF_LIFE_DAYS: Final = 45.0
#: A trend does not go on for ever: each day to come adds this much less than the one before it.
_DAMPING: Final = 0.985
#: Coefficient of variation of daily spend where nothing is known yet, and how many days of history that weighs.
PRIOR_SPREAD: Final = 0.6
PRIOR_DAYS: Final = 4.0
#: Uncertainty of the level beside what the days themselves tell: how far it wanders in a day.
_DRIFT_PER_DAY: Final = 0.013
#: The same for a level that is younger than three weeks: its weekends and its growth are not seen yet.
_UNSEEN_SPREAD: Final = 0.35
#: Below this share of a mean day a fitted value says nothing about proportions.
_FIT_MIN: Final = 0.02
#: How far a trend may go on, relative to what it was: standard deviation.
_SLOPE_SPREAD: Final = 0.8
#: A day of past days is not more uncertain than so many times their mean: one outlier must not blow up the interval.
_SPREAD_MAX: Final = 2.5
SEED: Final = 20_261_124


def simulate(
    rng: np.random.Generator, history: History, fitted: Fit, weekdays: Integers, today_rests: bool | None
) -> Floats:
    """PATHS x days: what each of these days, today first, may cost (shares of a mean day).

    `today_rests`: whether today is a day without spend; None where that cannot be told yet.
    """
    days = len(weekdays)
    drawn = _drawn(rng, history, fitted, weekdays, today_rests)
    paths = drawn * fitted.week[weekdays]
    if fitted.slope:
        slopes = fitted.slope * (1 + _SLOPE_SPREAD * rng.standard_normal((PATHS, 1)))
        paths *= on_trend(fitted.root, slopes, np.cumsum(_DAMPING ** np.arange(days)))
    else:
        paths *= fitted.level
    return paths * _level_errors(rng, drawn, fitted, days)[:, None]


def _drawn(
    rng: np.random.Generator, history: History, fitted: Fit, weekdays: Integers, today_rests: bool | None
) -> Floats:
    """Past days as multiples of their own level, drawn in blocks, recent ones more often."""
    past, days = len(history.values), len(weekdays)
    fits = np.maximum(fitted.levels * fitted.week[history.weekdays], _FIT_MIN)
    ratios = history.values / fits
    weights = 0.5 ** (np.arange(past, 0, -1) / _HALF_LIFE_DAYS)
    blocks = -(-days // _BLOCK_DAYS)
    if np.ptp(fitted.week) > 0:
        index = _blocks_of_weekdays(rng, history.weekdays, weights, weekdays[::_BLOCK_DAYS])
    else:
        index = _blocks_by_state(rng, history.values == 0, weights, blocks, today_rests)
    drawn: Floats = ratios[index[:, :days]]
    prior_share = PRIOR_DAYS / (PRIOR_DAYS + past) if past < 2 * DAYS_PER_WEEK else 0.0
    if prior_share:
        sigma = np.sqrt(np.log1p(PRIOR_SPREAD**2))
        guessed = rng.lognormal(-(sigma**2) / 2, sigma, drawn.shape)
        drawn = np.where(rng.random(drawn.shape) < prior_share, guessed, drawn)
    return drawn


def _blocks_of_weekdays(rng: np.random.Generator, past: Integers, weights: Floats, wanted: Integers) -> Integers:
    """PATHS x days: indices of past days; each block begins on the weekday that it is wanted for."""
    count = len(past)
    starts = rng.choice(count, (PATHS, len(wanted)), p=weights / weights.sum())
    starts = starts + (wanted[None, :] - past[starts] + DAYS_PER_WEEK // 2) % DAYS_PER_WEEK - DAYS_PER_WEEK // 2
    index = (starts[:, :, None] + np.arange(_BLOCK_DAYS)).reshape(PATHS, -1)
    # What runs over an end goes on whole weeks from there.
    index = index - -(-np.maximum(index - (count - 1), 0) // DAYS_PER_WEEK) * DAYS_PER_WEEK
    inside: Integers = index + -(-np.maximum(-index, 0) // DAYS_PER_WEEK) * DAYS_PER_WEEK
    return inside


def _blocks_by_state(
    rng: np.random.Generator, resting: NDArray[np.bool_], weights: Floats, blocks: int, today_rests: bool | None
) -> Integers:
    """PATHS x days: indices of past days; each block follows on a day with, or without, spend like the one before it.

    So pauses and stretches of work last as long as they usually do. A state that was never left may end all the
    same, by the rule of succession.
    """
    count = len(resting)
    before = np.r_[resting[0], resting[:-1]]
    # The first block begins today, and so on a day like today where that is known.
    given, state = (before, resting[-1]) if today_rests is None else (resting, today_rests)
    states = np.full(PATHS, state)
    columns = []
    for _ in range(blocks):
        start = _starts(rng, given, states, weights)
        # What runs over the end goes back from there: the last days are followed by days like them.
        index = start[:, None] + np.arange(_BLOCK_DAYS)
        index = np.abs(np.where(index < count, index, 2 * (count - 1) - index)) % count
        columns.append(index)
        given, states = before, resting[index[:, -1]]
    return np.concatenate(columns, axis=1)


def _starts(rng: np.random.Generator, given: NDArray[np.bool_], states: NDArray[np.bool_], weights: Floats) -> Integers:
    """For each path a past day whose `given` is the path's state; now and then any day."""
    starts: Integers = rng.choice(len(given), PATHS, p=weights / weights.sum())
    for value in (False, True):
        pool = weights * (given == value)
        known = int(np.count_nonzero(pool))
        follow = (states == value) & (rng.random(PATHS) < (1 - 1 / (known + 2)) ** _BLOCK_DAYS)
        if known and follow.any():
            starts[follow] = rng.choice(len(given), int(follow.sum()), p=pool / pool.sum())
    return starts


def _level_errors(rng: np.random.Generator, drawn: Floats, fitted: Fit, days: int) -> Floats:
    """One factor around 1 a path: how wrong the level itself may be."""
    spread = min(float(drawn.std()), _SPREAD_MAX)
    known = max(fitted.level_days, 1)
    variance = (PRIOR_DAYS * PRIOR_SPREAD**2 + known * spread**2) / (PRIOR_DAYS + known) / known
    unseen = max(0.0, 1 - fitted.level_days / WEEKDAY_HISTORY_DAYS_MIN)
    variance += days * _DRIFT_PER_DAY**2 + unseen * _UNSEEN_SPREAD**2
    sigma = float(np.sqrt(np.log1p(variance)))
    factors: Floats = rng.lognormal(0.0, sigma, PATHS)
    return factors
