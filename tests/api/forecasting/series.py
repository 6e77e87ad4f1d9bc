"""Generated daily spend of known kinds: what a back-test of the forecast is run on. Amounts in 1e-12 USD.

Every kind draws its own parameters, so that no setting of the forecast fits one series by chance. What is random
comes from the generator that is handed in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Generator = np.random.Generator

PICODOLLARS_PER_USD: Final = 10**12
#: The longest history, and the longest month after it.
DAYS: Final = 120 + 31
LAUNCH_DAYS_MAX: Final = 5


@dataclass(frozen=True)
class Series:
    """Every day of a history and of the period after it; days before `born` are not handed to the forecast."""

    kind: str
    first_day: date
    totals: tuple[int, ...]
    #: How spend is spread over the hours of a day: 24 shares that add up to 1.
    hour_shares: tuple[float, ...]
    #: Index of the first day that there is.
    born: int = 0

    def index(self, day: date) -> int:
        """Where a day is in `totals`."""
        return (day - self.first_day).days


def _noise(rng: Generator, spread: float) -> Floats:
    """Factors around 1 with this coefficient of variation."""
    sigma = np.sqrt(np.log1p(spread**2))
    return rng.lognormal(-(sigma**2) / 2, sigma, DAYS)


def _weekdays(rng: Generator, first_day: date) -> Floats:
    """Factors of a week with quiet weekends."""
    week = np.r_[rng.uniform(0.8, 1.2, 5), rng.uniform(0.0, 0.5, 2)]
    return week[(first_day.weekday() + np.arange(DAYS)) % 7]


def _flat(rng: Generator, _first_day: date, _cut: int) -> Floats:
    return _noise(rng, rng.uniform(0.05, 0.4))


def _weekday(rng: Generator, first_day: date, _cut: int) -> Floats:
    return _weekdays(rng, first_day) * _noise(rng, rng.uniform(0.05, 0.3))


def _trend(rng: Generator, first_day: date, _cut: int) -> Floats:
    growth = rng.uniform(0.005, 0.025) * np.arange(DAYS)
    path = np.exp(growth) if rng.random() < 0.5 else 1 + growth * rng.uniform(1, 4)
    week = _weekdays(rng, first_day) if rng.random() < 0.5 else np.ones(DAYS)
    return path * week * _noise(rng, rng.uniform(0.05, 0.3))


def _intermittent(rng: Generator, _first_day: date, _cut: int) -> Floats:
    active = rng.random(DAYS) < rng.uniform(0.1, 0.5)
    return active * rng.gamma(rng.uniform(0.5, 2), 1.0, DAYS)


def _pauses(rng: Generator, _first_day: date, _cut: int) -> Floats:
    """Weeks of work and weeks, or months, of nothing."""
    active = np.zeros(DAYS, dtype=bool)
    at, working = 0, rng.random() < 0.5
    while at < DAYS:
        length = int(rng.integers(10, 35) if working else rng.integers(10, 45))
        active[at : at + length] = working
        at, working = at + length, not working
    return active * _noise(rng, rng.uniform(0.1, 0.5))


def _shift(rng: Generator, first_day: date, cut: int) -> Floats:
    """Another level since 2 to 30 days before the cut."""
    factor = rng.uniform(2, 5) ** rng.choice([-1, 1])
    since = cut - int(rng.integers(2, 31))
    week = _weekdays(rng, first_day) if rng.random() < 0.3 else np.ones(DAYS)
    return np.where(np.arange(DAYS) >= since, factor, 1.0) * week * _noise(rng, rng.uniform(0.05, 0.3))


def _launch(rng: Generator, first_day: date, cut: int) -> Floats:
    """Begun 1 to 5 days before the cut; some grow in the first days, some rest on weekends."""
    born = cut - int(rng.integers(1, LAUNCH_DAYS_MAX + 1))
    age = np.maximum(np.arange(DAYS) - born + 1, 0)
    ramp = 1 - np.exp(-age / rng.uniform(1, 3)) if rng.random() < 0.4 else np.ones(DAYS)
    week = _weekdays(rng, first_day) if rng.random() < 0.5 else np.ones(DAYS)
    return (age > 0) * ramp * week * _noise(rng, rng.uniform(0.1, 0.5))


def _month_start(rng: Generator, first_day: date, _cut: int) -> Floats:
    """A subscription that is charged on the first day of each month, over ordinary use."""
    first = np.array([(first_day + timedelta(days=i)).day == 1 for i in range(DAYS)])
    return _noise(rng, rng.uniform(0.05, 0.3)) + first * rng.uniform(5, 40)


def _outliers(rng: Generator, _first_day: date, _cut: int) -> Floats:
    """One day in thirty costs many times the usual."""
    rare = rng.random(DAYS) < 1 / 30
    return _noise(rng, rng.uniform(0.1, 0.3)) * np.where(rare, 3 + 5 * rng.pareto(1.5, DAYS).clip(0, 20), 1.0)


def _credits(rng: Generator, _first_day: date, _cut: int) -> Floats:
    """Ordinary use, and now and then money back."""
    back = (rng.random(DAYS) < 1 / 25) * rng.uniform(1, 5, DAYS)
    return _noise(rng, rng.uniform(0.05, 0.3)) - back


KINDS: Final[Mapping[str, Callable[[Generator, date, int], Floats]]] = {
    "flat": _flat,
    "weekday": _weekday,
    "trend": _trend,
    "intermittent": _intermittent,
    "pauses": _pauses,
    "level_shift": _shift,
    "launch": _launch,
    "month_start": _month_start,
    "outliers": _outliers,
    "credits": _credits,
}


def make_series(kind: str, rng: Generator, today: date) -> Series:
    """A series of this kind with 21 to 119 days of history before today (1 to 5 for a launch) and the days after."""
    cut = 119
    first_day = today - timedelta(days=cut)
    shape = KINDS[kind](rng, first_day, cut)
    level = 10.0 ** rng.uniform(-4, 4) * PICODOLLARS_PER_USD
    totals = tuple(int(value) for value in shape * level)
    hours = np.arange(24)
    profile = np.exp(rng.uniform(0, 2) * np.cos((hours - rng.integers(8, 20)) * np.pi / 12))
    profile /= profile.sum()
    born = next((i for i, total in enumerate(totals) if total), 0) if kind == "launch" else int(rng.integers(0, 99))
    return Series(kind, first_day, totals, tuple(profile.tolist()), born)
