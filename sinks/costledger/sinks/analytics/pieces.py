"""Intervals put together from what the roll-ups have: whole UTC days, whole UTC hours, and what is left of an hour. Pure.

A zone's day begins on a full UTC hour nearly everywhere: then days and hours are all there is. Where it begins within
an hour (Asia/Kolkata, Asia/Kathmandu), no roll-up knows on which side an event was, and a rest is left: a part of an
hour at either end.

Two ways, and the one that reads less is taken. *Within*: the days and hours inside the interval. *Around*: each end is
moved to the nearest midnight, and the hours between are added or, with the weight -1, taken away: a day in Vienna is the
UTC day, one hour more at its start and one less at its end: 3 pieces, not 24. Sums bear that; maxima do not.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, NamedTuple

from costledger.schemas.periods import MICROSECONDS_PER_HOUR

_HOURS_PER_DAY: Final = 24


class Piece(NamedTuple):
    """The half-open range [first, end), to be added (weight 1) to or taken (-1) from the interval of this number."""

    first: int
    end: int
    number: int
    weight: int


@dataclass(slots=True)
class Pieces:
    """`days` and `hours` are numbers since 1970, `rests` Unix microseconds. None is empty."""

    days: list[Piece] = field(default_factory=list)
    hours: list[Piece] = field(default_factory=list)
    rests: list[Piece] = field(default_factory=list)

    @property
    def effort(self) -> int:
        """Hours to read, each with rows of its own; a rest is as dear as a day of them."""
        return sum(one.end - one.first for one in self.hours) + _HOURS_PER_DAY * len(self.rests)

    def add(self, other: Pieces) -> None:
        """Take over all pieces of another."""
        self.days += other.days
        self.hours += other.hours
        self.rests += other.rests


@lru_cache(maxsize=256)
def cut(bounds: tuple[tuple[int, int], ...], with_maximum: tuple[int, ...] = ()) -> Pieces:
    """The pieces of intervals [start_us, end_us), numbered from 0; an empty interval has none.

    Those whose numbers are in `with_maximum` are made of what is within them alone. Remembered, since many users of a
    zone ask for the same periods: nobody changes what is returned.
    """
    pieces = Pieces()
    for number, (start_us, end_us) in enumerate(bounds):
        if start_us >= end_us:
            continue
        best = _within(number, start_us, end_us)
        if number not in with_maximum:
            best = min(best, _around(number, start_us, end_us), key=lambda one: one.effort)
        pieces.add(best)
    return pieces


def _within(number: int, start_us: int, end_us: int) -> Pieces:
    pieces = Pieces()
    # Rounded up at the start and down at the end.
    first_hour, end_hour = -(-start_us // MICROSECONDS_PER_HOUR), end_us // MICROSECONDS_PER_HOUR
    if first_hour > end_hour:
        # Within one hour.
        _add(pieces.rests, start_us, end_us, number)
        return pieces
    _add(pieces.rests, start_us, first_hour * MICROSECONDS_PER_HOUR, number)
    _add(pieces.rests, end_hour * MICROSECONDS_PER_HOUR, end_us, number)
    first_day, end_day = -(-first_hour // _HOURS_PER_DAY), end_hour // _HOURS_PER_DAY
    if first_day >= end_day:
        _add(pieces.hours, first_hour, end_hour, number)
        return pieces
    _add(pieces.hours, first_hour, first_day * _HOURS_PER_DAY, number)
    _add(pieces.days, first_day, end_day, number)
    _add(pieces.hours, end_day * _HOURS_PER_DAY, end_hour, number)
    return pieces


def _around(number: int, start_us: int, end_us: int) -> Pieces:
    pieces = Pieces()
    start_day, end_day = _edge(pieces, start_us, number, 1), _edge(pieces, end_us, number, -1)
    _add(pieces.days, start_day, end_day, number)
    return pieces


def _edge(pieces: Pieces, instant_us: int, number: int, weight: int) -> int:
    """Add what lies from an instant to the nearest midnight, by way of the nearest hour; returns that midnight's day.

    For the start of an interval `weight` is 1: what comes before the midnight is in, what comes after it is not. At
    the end, -1, it is the other way round.
    """
    hour = (instant_us + MICROSECONDS_PER_HOUR // 2) // MICROSECONDS_PER_HOUR
    day = (hour + _HOURS_PER_DAY // 2) // _HOURS_PER_DAY
    _add_between(pieces.rests, instant_us, hour * MICROSECONDS_PER_HOUR, number, weight)
    _add_between(pieces.hours, hour, day * _HOURS_PER_DAY, number, weight)
    return day


def _add_between(pieces: list[Piece], one: int, other: int, number: int, weight: int) -> None:
    if one < other:
        pieces.append(Piece(one, other, number, weight))
    elif other < one:
        pieces.append(Piece(other, one, number, -weight))


def _add(pieces: list[Piece], first: int, end: int, number: int) -> None:
    if first < end:
        pieces.append(Piece(first, end, number, 1))
