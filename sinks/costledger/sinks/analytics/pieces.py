"""Intervals cut into what the roll-ups have: whole UTC days, whole UTC hours, and what is left of an hour. Pure.

A zone's day begins on a full UTC hour nearly everywhere: then days and hours are all there is. Where it begins within
an hour (Asia/Kolkata, Asia/Kathmandu), no roll-up knows on which side an event was, and a rest is left: less than an
hour at either end.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from costledger.schemas.periods import MICROSECONDS_PER_HOUR

#: First and end of a piece, and the number of the interval that it belongs to.
Piece = tuple[int, int, int]


@dataclass(slots=True)
class Pieces:
    """`days` and `hours` are numbers since 1970, `rests` microseconds; all half-open, none empty."""

    days: list[Piece] = field(default_factory=list)
    hours: list[Piece] = field(default_factory=list)
    rests: list[Piece] = field(default_factory=list)


def cut(bounds: Iterable[tuple[int, int]]) -> Pieces:
    """The pieces of intervals [start_us, end_us), which are numbered from 0. Each instant is in one piece."""
    pieces = Pieces()
    for number, (start_us, end_us) in enumerate(bounds):
        _cut_one(pieces, number, start_us, end_us)
    return pieces


def _cut_one(pieces: Pieces, number: int, start_us: int, end_us: int) -> None:
    # Rounded up at the start and down at the end.
    first_hour, end_hour = -(-start_us // MICROSECONDS_PER_HOUR), end_us // MICROSECONDS_PER_HOUR
    if first_hour > end_hour:
        # Within one hour.
        _add(pieces.rests, start_us, end_us, number)
        return
    _add(pieces.rests, start_us, first_hour * MICROSECONDS_PER_HOUR, number)
    _add(pieces.rests, end_hour * MICROSECONDS_PER_HOUR, end_us, number)
    first_day, end_day = -(-first_hour // 24), end_hour // 24
    if first_day >= end_day:
        _add(pieces.hours, first_hour, end_hour, number)
        return
    _add(pieces.hours, first_hour, first_day * 24, number)
    _add(pieces.days, first_day, end_day, number)
    _add(pieces.hours, end_day * 24, end_hour, number)


def _add(pieces: list[Piece], first: int, end: int, number: int) -> None:
    if first < end:
        pieces.append((first, end, number))
