"""What may still come today: days like today, judged by what today has brought so far."""

from __future__ import annotations

from typing import Final

import numpy as np

from costledger.api.forecasting.history import Floats

#: How far the share of a day's spend that is there by now is off, at half of the day: with and without its hours known.
_SHARE_ERROR_HOURS_KNOWN: Final = 0.10
_SHARE_ERROR: Final = 0.28
#: How likely it is, whatever the history says, that today is a day of its own.
_NOVELTY: Final = 0.2
_SHARE_MIN: Final = 0.02


def rest_of_today(
    rng: np.random.Generator, whole_days: Floats, spent: float, passed: float, hours_known: bool
) -> Floats:
    """For each path what is still to come today: `whole_days` are what today might cost by the history alone.

    Bayes by weighing: a day counts for as much as what is spent so far is likely on it. Beside them stands today's
    own pace, which counts the more the less the history explains it.
    """
    left = 1 - passed
    if left <= 0:
        return np.zeros(len(whole_days))
    error = _SHARE_ERROR_HOURS_KNOWN if hours_known else _SHARE_ERROR
    share_error = 2 * error * np.sqrt(passed * left)
    days = _days_like_today(rng, whole_days, spent, passed, share_error)
    shares_left = np.clip(left + share_error * rng.standard_normal(len(days)), 0, 1)
    rest: Floats = days * shares_left
    return rest


def _days_like_today(rng: np.random.Generator, days: Floats, spent: float, passed: float, share_error: float) -> Floats:
    count = len(days)
    if passed <= _SHARE_MIN:
        return days
    if spent == 0:
        # A day without spend is one of those, or begins late.
        likely = np.where(days == 0, 1.0, (1 - passed) ** 2)
        return rng.choice(days, count, p=likely / likely.sum())
    spread = share_error / passed
    away = np.log(np.maximum(days * passed, 1e-12) / spent) if spent > 0 else np.full(count, np.inf)
    likely = np.exp(-0.5 * (away / spread) ** 2) + 1e-9
    pace = spent / passed * np.exp(spread * rng.standard_normal(count))
    own = _NOVELTY / (_NOVELTY + (1 - _NOVELTY) * likely.mean())
    drawn = rng.choice(days, count, p=likely / likely.sum())
    mixed: Floats = np.where(rng.random(count) < own, pace, drawn)
    return mixed
