"""What each of many days came to: for statistics."""

from __future__ import annotations

from collections.abc import Sequence

from costledger.schemas.periods import MICROSECONDS_PER_HOUR, Period
from costledger.sinks.analytics.pieces import cut
from costledger.sinks.database import Connection
from costledger.sinks.queries import query


def amounts_of_days(connection: Connection, user_id: str, days: Sequence[Period]) -> list[int]:
    """What each day came to, in 1e-12 USD, from the roll-ups alone: one statement, one range of UTC days.

    Exact where the zone's days begin on a UTC hour; elsewhere an hour counts where it begins.
    """
    pieces = cut(tuple((_hour_floor(day.start_us), _hour_floor(day.end_us)) for day in days))
    # What lies between a day's end and midnight lies there for the next day's start too: it is read once.
    ranges = list(dict.fromkeys((one.first, one.end) for one in pieces.hours))
    parameters = {
        "user_id": user_id,
        "first_day": min((one.first for one in pieces.days), default=0),
        "end_day": max((one.end for one in pieces.days), default=0),
        "hour_firsts": [first for first, _ in ranges],
        "hour_ends": [end for _, end in ranges],
    }
    of_days: dict[int, int] = {}
    of_ranges: dict[tuple[int, int], int] = {}
    for of_hours, number, amount in connection.execute(query("analytics_amounts"), parameters):
        if of_hours:
            of_ranges[ranges[number - 1]] = int(amount)
        else:
            of_days[number] = int(amount)
    amounts = [0] * len(days)
    for one in pieces.hours:
        amounts[one.number] += of_ranges.get((one.first, one.end), 0) * one.weight
    for one in pieces.days:
        for day in range(one.first, one.end):
            amounts[one.number] += of_days.get(day, 0) * one.weight
    return amounts


def _hour_floor(instant_us: int) -> int:
    return instant_us - instant_us % MICROSECONDS_PER_HOUR
