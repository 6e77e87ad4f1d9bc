"""What hours of the past cost: read whenever a service is met in a new hour, over five weeks of hours.

Where there was a C compiler by a compiled twin (`_lookback`), with the same answers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from costledger.schemas.twins import twin_of
from costledger.streams.domain.totals import DayTotals, HourTotals

#: The three functions of the compiled twin, in the order in which they stand here; or None.
_compiled: tuple[Callable[..., list[int]], Callable[..., dict[str, list[int]]], Callable[..., list[int]]] | None = (
    twin_of(__name__, "functions")
)


def costs_at(hours: Sequence[HourTotals | None], service: str) -> list[int]:
    """What a service cost in each of these hours (1e-12 USD); 0 where there is none."""
    if _compiled is not None:
        return _compiled[0](hours, service)
    return [0 if hour is None else hour.spent_on(service) for hour in hours]


def latest_costs(days: Sequence[DayTotals], costs_max: int) -> dict[str, list[int]]:
    """By service what it cost in hours in which it cost anything (1e-12 USD), of days from the latest back.

    Of each service the first `costs_max` at most.
    """
    if _compiled is not None:
        return _compiled[1](days, costs_max)
    costs: dict[str, list[int]] = {}
    for day in days:
        # By key: the order in which hours were met is not the order of time.
        for key in sorted(day.hours, reverse=True):
            spent: dict[str, int] = {}
            for (service, _), amount in day.hours[key].amounts.items():
                spent[service] = spent.get(service, 0) + amount
            for service, amount in spent.items():
                known = costs.setdefault(service, [])
                if amount > 0 and len(known) < costs_max:
                    known.append(amount)
    return costs


def totals_between(days: Sequence[DayTotals], start: int, end: int) -> list[int]:
    """The totals (1e-12 USD) of the hours with keys from `start` up to `end`, without it, day by day."""
    if _compiled is not None:
        return _compiled[2](days, start, end)
    return [hour.total for day in days for key, hour in day.hours.items() if start <= key < end]
