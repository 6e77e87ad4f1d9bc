"""What each of many days came to: for statistics."""

from __future__ import annotations

from collections.abc import Sequence

from costledger.schemas.periods import MICROSECONDS_PER_HOUR, Period
from costledger.sinks.analytics.pieces import cut
from costledger.sinks.analytics.totals import columns
from costledger.sinks.database import Connection
from costledger.sinks.queries import query


def amounts_of_days(connection: Connection, user_id: str, days: Sequence[Period]) -> list[int]:
    """What each day came to, in 1e-12 USD, from the roll-ups alone: one statement, one range of UTC days.

    Exact where the zone's days begin on a UTC hour; elsewhere an hour counts where it begins.
    """
    pieces = cut(tuple((_hour_floor(day.start_us), _hour_floor(day.end_us)) for day in days))
    hours = columns("hour_", pieces.hours)
    of_days: dict[int, int] = {}
    amounts = [0] * len(days)
    parameters = {
        "user_id": user_id,
        "first_day": min((one.first for one in pieces.days), default=0),
        "end_day": max((one.end for one in pieces.days), default=0),
        "hour_firsts": hours["hour_firsts"],
        "hour_ends": hours["hour_ends"],
    }
    for of_hours, number, amount in connection.execute(query("analytics_amounts"), parameters):
        if of_hours:
            piece = pieces.hours[number - 1]
            amounts[piece.number] += int(amount) * piece.weight
        else:
            of_days[number] = int(amount)
    for piece in pieces.days:
        for day in range(piece.first, piece.end):
            amounts[piece.number] += of_days.get(day, 0) * piece.weight
    return amounts


def _hour_floor(instant_us: int) -> int:
    return instant_us - instant_us % MICROSECONDS_PER_HOUR
