"""Sums of one user over intervals: one statement on the roll-ups, however many intervals there are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from costledger.schemas.periods import MICROSECONDS_PER_HOUR, Period
from costledger.schemas.times import from_microseconds
from costledger.sinks.analytics.periods import Interval
from costledger.sinks.analytics.pieces import Piece, Pieces, cut
from costledger.sinks.database import Connection
from costledger.sinks.queries import query


@dataclass(frozen=True, slots=True)
class Sums:
    """One service and operation in an interval: quantity in 1e-9 units, amounts in 1e-12 USD, of any size.

    `events` and `unpriced` are net of what was taken back; `amount` is of the priced events. `maximum`: the largest
    amount ever recorded for one event, also if taken back later; None where no event had an amount.
    """

    service: str
    operation: str
    events: int
    unpriced: int
    quantity: int
    amount: int
    maximum: int | None

    def plus(self, other: Sums) -> Sums:
        """Both together; of the same service and operation."""
        known = [value for value in (self.maximum, other.maximum) if value is not None]
        return Sums(
            self.service,
            self.operation,
            self.events + other.events,
            self.unpriced + other.unpriced,
            self.quantity + other.quantity,
            self.amount + other.amount,
            max(known, default=None),
        )


def sums_of_intervals(connection: Connection, user_id: str, intervals: Iterable[Interval | Period]) -> list[list[Sums]]:
    """For each interval the sums by service and operation, in that order; exact; without events an empty list.

    From the roll-ups; only where an interval begins or ends within a UTC hour are the entries of the rest of that hour
    read as well, in a second statement.
    """
    bounds = [(one.start_us, one.end_us) for one in intervals]
    pieces = cut(bounds)
    rows = connection.execute(query("analytics_totals"), {"user_id": user_id, **parameters(pieces)}).fetchall()
    if pieces.rests:
        rows += connection.execute(query("analytics_rests"), {"user_id": user_id, **_rests(pieces)}).fetchall()
    found: list[dict[tuple[str, str], Sums]] = [{} for _ in bounds]
    for number, *values in rows:
        sums = _sums(values)
        known = found[number].get((sums.service, sums.operation))
        found[number][sums.service, sums.operation] = sums if known is None else known.plus(sums)
    return [[one[key] for key in sorted(one)] for one in found]


def amounts_of_days(connection: Connection, user_id: str, days: Sequence[Period]) -> list[int]:
    """What each day came to, in 1e-12 USD, from the roll-ups alone: for statistics.

    Exact where the zone's days begin on a UTC hour; elsewhere an hour counts where it begins.
    """
    pieces = cut((_hour_floor(day.start_us), _hour_floor(day.end_us)) for day in days)
    amounts = [0] * len(days)
    for number, amount in connection.execute(query("analytics_amounts"), {"user_id": user_id, **parameters(pieces)}):
        amounts[number] = int(amount)
    return amounts


def parameters(pieces: Pieces) -> dict[str, list[int]]:
    """Days and hours as the arrays that the statements take."""
    return {**_columns("day", pieces.days), **_columns("hour", pieces.hours)}


def _columns(name: str, pieces: list[Piece]) -> dict[str, list[int]]:
    return {
        f"{name}_firsts": [first for first, _, _ in pieces],
        f"{name}_ends": [end for _, end, _ in pieces],
        f"{name}_numbers": [number for _, _, number in pieces],
    }


def _rests(pieces: Pieces) -> dict[str, list[Any]]:
    return {
        "firsts": [from_microseconds(first) for first, _, _ in pieces.rests],
        "ends": [from_microseconds(end) for _, end, _ in pieces.rests],
        "numbers": [number for _, _, number in pieces.rests],
    }


def _sums(values: list[Any]) -> Sums:
    service, operation, events, unpriced, quantity, amount, maximum = values
    return Sums(
        service, operation, events, unpriced, int(quantity), int(amount), None if maximum is None else int(maximum)
    )


def _hour_floor(instant_us: int) -> int:
    return instant_us - instant_us % MICROSECONDS_PER_HOUR
