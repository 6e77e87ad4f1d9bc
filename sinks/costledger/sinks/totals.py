"""Sums of events by user, service, operation and hour or day (UTC): pure, exact, sorted.

A reversing entry takes back the event that it names: it counts as one event less, and as one unpriced event less
where it has no amount. Its quantity and amount have their own signs. The largest amount of one event is not taken back:
from sums nobody could tell which one was the next.

Sorted, because two transactions that update the same rows in different orders deadlock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from costledger.schemas.event_reading import ReadEvent, quantity_of
from costledger.schemas.periods import MICROSECONDS_PER_HOUR
from costledger.schemas.twins import twin_of

#: user, number of the hour (or day) since 1970, service, operation
Key = tuple[str, int, str, str]
#: events, unpriced, quantity in 1e-9 units, amount in 1e-12 USD, largest amount of one event (or `NO_MAXIMUM`)
Sums = list[int]
Totals = dict[Key, Sums]

#: `add_hourly` of the compiled twin, or None.
_compiled: Callable[[Totals, Iterable[ReadEvent], int], None] | None = twin_of(__name__, "add_hourly")

#: Below every amount that an event can have: there was none.
NO_MAXIMUM: Final = -(2**63)

_HOURS_PER_DAY: Final = 24
_MAXIMUM: Final = 4


def hourly(events: Iterable[ReadEvent]) -> Totals:
    """The events summed by hour."""
    totals: Totals = {}
    add_hourly(totals, events)
    return totals


def add_hourly(totals: Totals, events: Iterable[ReadEvent]) -> None:
    """Add events to sums by hour."""
    if _compiled is not None:
        _compiled(totals, events, NO_MAXIMUM)
        return
    for _, user_id, charge, quantity, _, amount, occurred_at, tail in events:
        key = (user_id, occurred_at // MICROSECONDS_PER_HOUR, charge.service, charge.operation)
        sums = totals.get(key)
        if sums is None:
            totals[key] = sums = [0, 0, 0, 0, NO_MAXIMUM]
        count = 1 if tail.reverses_event_id is None else -1
        sums[0] += count
        sums[2] += quantity_of(quantity)
        if amount is None:
            sums[1] += count
        else:
            sums[3] += amount
            if amount > sums[_MAXIMUM] and count > 0:
                sums[_MAXIMUM] = amount


def daily(by_hour: Totals) -> Totals:
    """Hourly sums summed by day."""
    totals: Totals = {}
    for (user, hour, service, operation), sums in by_hour.items():
        key = (user, hour // _HOURS_PER_DAY, service, operation)
        known = totals.get(key)
        if known is None:
            totals[key] = list(sums)
        else:
            for place in range(_MAXIMUM):
                known[place] += sums[place]
            known[_MAXIMUM] = max(known[_MAXIMUM], sums[_MAXIMUM])
    return totals


def as_arrays(totals: Totals) -> dict[str, str]:
    """The parameters of `upsert_hourly.sql` and `upsert_daily.sql`: one array per column, rows sorted by key.

    Array literals, written out here: the driver takes several times as long for lists, and nothing else goes on meanwhile.
    """
    rows = _by_key(totals)
    sums = [sums for _, sums in rows]
    maxima = [one[_MAXIMUM] for one in sums]
    return {
        "users": _texts([key[0] for key, _ in rows]),
        "periods": _numbers([key[1] for key, _ in rows]),
        "services": _texts([key[2] for key, _ in rows]),
        "operations": _texts([key[3] for key, _ in rows]),
        "events": _numbers([one[0] for one in sums]),
        "unpriced": _numbers([one[1] for one in sums]),
        "quantities": _numbers([one[2] for one in sums]),
        "amounts": _numbers([one[3] for one in sums]),
        "maxima": _numbers([None if maximum == NO_MAXIMUM else maximum for maximum in maxima]),
    }


def _by_key(totals: Totals) -> list[tuple[Key, Sums]]:
    """User by user: most of the comparisons are then of short texts and numbers."""
    by_user: dict[str, list[tuple[Key, Sums]]] = {}
    for row in totals.items():
        by_user.setdefault(row[0][0], []).append(row)
    return [row for user in sorted(by_user) for row in sorted(by_user[user])]


def _numbers(numbers: list[int] | list[int | None]) -> str:
    """Integers of any size as an array literal; None is null."""
    # Python writes a list of integers as PostgreSQL does an array, but for the brackets and the null.
    return "{" + str(numbers)[1:-1].replace("None", "NULL") + "}"


def _texts(texts: list[str]) -> str:
    """Texts as an array literal, each quoted: nothing in them means anything then but quotes and backslashes."""
    # Few of them are different.
    quoted = {text: '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"' for text in set(texts)}
    return "{" + ",".join([quoted[text] for text in texts]) + "}"
