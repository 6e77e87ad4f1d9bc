"""Charges that come on the same day of every month: subscriptions, fees. Known when two months show them."""

from __future__ import annotations

from typing import Final

import numpy as np

from costledger.api.forecasting.history import Floats, Integers

#: Fewer months may be chance.
_MONTHS_MIN: Final = 2
#: A charge is so many times what the usual days around it cost, so many times their spread, and so many
#: mean days of the whole history.
_TIMES_USUAL_MIN: Final = 1.0
_TIMES_SPREAD_MIN: Final = 5.0
_MEAN_DAYS_MIN: Final = 2.0
_RECURRING_SHARE_MIN: Final = 0.5
_WINDOW_DAYS: Final = 15
_DAYS_OF_MONTH: Final = 31


def monthly_charges(values: Floats, days_of_month: Integers) -> Floats:
    """What each day of the month (index 1 to 31) costs beside ordinary days; 0 where it is like others.

    `values` are in mean days. A day of the month counts only if it stood out, in the same direction, each time in the history.
    """
    charges = np.zeros(_DAYS_OF_MONTH + 1)
    if len(values) <= _DAYS_OF_MONTH:
        return charges
    half = _WINDOW_DAYS // 2
    padded = np.pad(values, half, mode="reflect")
    usual = np.median(np.lib.stride_tricks.sliding_window_view(padded, _WINDOW_DAYS), axis=1)
    excess = values - usual
    least = np.maximum(
        _TIMES_USUAL_MIN * np.abs(usual) + _TIMES_SPREAD_MIN * float(np.median(np.abs(excess))), _MEAN_DAYS_MIN
    )
    for sign in (1, -1):
        stands_out = sign * excess > least
        recurring = 0
        for day in set(days_of_month[stands_out].tolist()):
            same = days_of_month == day
            if same.sum() >= _MONTHS_MIN and stands_out[same].all():
                charges[day] = np.median(excess[same])
                recurring += int(same.sum())
        # Where most days that stand out do not come again, those that seem to do so by chance.
        if recurring < _RECURRING_SHARE_MIN * stands_out.sum():
            charges[sign * charges > 0] = 0
    return charges
