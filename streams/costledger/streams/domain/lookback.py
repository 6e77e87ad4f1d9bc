"""What days of the past cost, read from their stored forms without making objects of the rest.

Whenever a user has events in a new hour, rules look back at five weeks of hours. Where there was a C compiler these are read by a
compiled twin (`_lookback`), with the same answers, and nothing is decoded.

Keys are those of hours (`Buckets.hour_key`), amounts 1e-12 USD. Bytes that no day was stored as raise ValueError or another error of
decoding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgpack

from costledger.schemas.twins import twin_of
from costledger.streams.domain.amounts import amounts_of, spent_by_service

#: The module of the compiled twin, with functions of the same names; or None.
_compiled: Any = twin_of(__name__, "this_module")
#: No hour has a key so large.
_KEY_MAX: Final = 2**62


def totals_between(days: Sequence[bytes], start: int = 0, end: int = _KEY_MAX) -> list[int]:
    """The totals of the hours with keys from `start` up to `end`, without it, day by day."""
    if _compiled is not None:
        return _compiled.totals_between(days, start, end)  # type: ignore[no-any-return]
    return [sum(spent.values()) for day in days for key, spent, _ in _hours(day) if start <= key < end]


def flags_of(day: bytes) -> list[tuple[int, int]]:
    """(key, flags) of each hour that has any."""
    if _compiled is not None:
        return _compiled.flags_of(day)  # type: ignore[no-any-return]
    return [(key, flags) for key, _, flags in _hours(day) if flags]


def hour_in(day: bytes, key: int) -> bytes | None:
    """An hour as it is stored; None where the day has none of this key."""
    if _compiled is not None:
        return _compiled.hour_in(day, key)  # type: ignore[no-any-return]
    hours: dict[int, bytes] = msgpack.unpackb(day, strict_map_key=False)[0]
    return hours.get(key)


def spent_at(days: Sequence[bytes | None], keys: Sequence[int | None]) -> dict[str, list[int]]:
    """By service what it cost in an hour of each day, given by its key; 0 where there is none.

    Services that are in none of the hours are left out.
    """
    if _compiled is not None:
        return _compiled.spent_at(days, keys)  # type: ignore[no-any-return]
    costs: dict[str, list[int]] = {}
    for place, (day, wanted) in enumerate(zip(days, keys, strict=True)):
        found = [] if day is None else [spent for key, spent, _ in _hours(day) if key == wanted]
        for service, amount in found[0].items() if found else ():
            costs.setdefault(service, [0] * len(days))[place] = amount
    return costs


def latest_costs(days: Sequence[bytes], costs_max: int) -> dict[str, list[int]]:
    """By service what it cost in hours in which it cost anything, of days from the latest back.

    Of each service the first `costs_max` at most: an empty list of one that cost nothing.
    """
    if _compiled is not None:
        return _compiled.latest_costs(days, costs_max)  # type: ignore[no-any-return]
    costs: dict[str, list[int]] = {}
    for day in days:
        # By key: days of earlier releases have their hours in the order in which they were met.
        for _, spent, _ in sorted(_hours(day), key=_key, reverse=True):
            for service, amount in spent.items():
                known = costs.setdefault(service, [])
                if amount > 0 and len(known) < costs_max:
                    known.append(amount)
    return costs


_Hour = tuple[int, dict[str, int], int]


def _hours(day: bytes) -> Iterator[_Hour]:
    """Key, what each service cost, and flags of each hour, as stored."""
    hours, _ = msgpack.unpackb(day, strict_map_key=False)
    for key, hour in hours.items():
        rows, flags, *_ = msgpack.unpackb(hour)
        yield key, spent_by_service(amounts_of(rows)), flags


def _key(hour: _Hour) -> int:
    return hour[0]
