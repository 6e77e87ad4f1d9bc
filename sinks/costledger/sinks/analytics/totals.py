"""Sums of one user over intervals: one statement on the roll-ups, however many intervals there are."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from costledger.schemas.events import ID_TIME_TOLERANCE_MILLISECONDS
from costledger.schemas.ids import event_id_floor
from costledger.schemas.periods import Period
from costledger.schemas.times import from_microseconds
from costledger.sinks.analytics.periods import Interval
from costledger.sinks.analytics.pieces import Piece, Pieces, cut
from costledger.sinks.database import Connection
from costledger.sinks.queries import query


@dataclass(frozen=True, slots=True)
class Sums:
    """One service and operation in an interval: quantity in 1e-9 units, amounts in 1e-12 USD, of any size.

    `events` and `unpriced` are net of what was taken back; `amount` is of the priced events. `maximum`: the largest
    amount ever recorded for one event, also if taken back later; None where no event had an amount, or it was not asked
    for.
    """

    service: str
    operation: str
    events: int
    unpriced: int
    quantity: int
    amount: int
    maximum: int | None

    @property
    def is_something(self) -> bool:
        """False where hours were added and taken away, and nothing is left of them."""
        return bool(self.events or self.unpriced or self.quantity or self.amount or self.maximum is not None)

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


def sums_of_intervals(
    connection: Connection, user_id: str, intervals: Iterable[Interval | Period], with_maximum: Collection[int] = ()
) -> list[list[Sums]]:
    """For each interval the sums by service and operation, in that order; exact; without events an empty list.

    From the roll-ups; only where an interval begins or ends within a UTC hour are the entries of a part of that hour
    read as well, in a second statement. Maxima are of the intervals with those numbers (from 0) alone.
    """
    bounds = tuple((one.start_us, one.end_us) for one in intervals)
    pieces = cut(bounds, tuple(with_maximum))
    rows = connection.execute(query("analytics_totals"), {"user_id": user_id, **parameters(pieces)}).fetchall()
    if pieces.rests:
        users = [user_id] * len(pieces.rests)
        rows += connection.execute(query("analytics_rests"), {"users": users, **rests(pieces.rests)}).fetchall()
    found: list[dict[tuple[str, str], Sums]] = [{} for _ in bounds]
    for number, *values in rows:
        sums = _sums(values, number in with_maximum)
        known = found[number].get((sums.service, sums.operation))
        found[number][sums.service, sums.operation] = sums if known is None else known.plus(sums)
    return [[one[key] for key in sorted(one) if one[key].is_something] for one in found]


def parameters(pieces: Pieces) -> dict[str, str]:
    """Days and hours as the arrays that the statements take."""
    return {**columns("day_", pieces.days), **columns("hour_", pieces.hours)}


def columns(prefix: str, pieces: Sequence[Piece]) -> dict[str, str]:
    """Pieces as array literals, one for each column: written and read faster than lists are converted."""
    return {
        f"{prefix}firsts": _literal(one.first for one in pieces),
        f"{prefix}ends": _literal(one.end for one in pieces),
        f"{prefix}numbers": _literal(one.number for one in pieces),
        f"{prefix}weights": _literal(one.weight for one in pieces),
    }


def rests(pieces: Sequence[Piece]) -> dict[str, object]:
    """Rests as the arrays that analytics_rests takes, but for their users."""
    tolerance_us = ID_TIME_TOLERANCE_MILLISECONDS * 1000
    return {
        **columns("", pieces),
        "firsts": [from_microseconds(one.first) for one in pieces],
        "ends": [from_microseconds(one.end) for one in pieces],
        "first_ids": [event_id_floor(one.first - tolerance_us) for one in pieces],
        # The last millisecond is in, whatever follows it in the id.
        "end_ids": [event_id_floor(one.end + tolerance_us + 1000) for one in pieces],
    }


def _literal(numbers: Iterable[int]) -> str:
    return "{" + ",".join(map(str, numbers)) + "}"


def _sums(values: list[Any], with_maximum: bool) -> Sums:
    service, operation, events, unpriced, quantity, amount, largest = values
    maximum = int(largest) if with_maximum and largest is not None else None
    return Sums(service, operation, events, unpriced, int(quantity), int(amount), maximum)
