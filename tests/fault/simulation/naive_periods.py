"""Hours, days and months by walking through quarters of an hour and reading the clock of the zone: slow and plain.

A day begins at the first quarter at which the zone's clock shows its date or a later one, and lasts until the next day
begins: where clocks go back over midnight, the second evening is part of the next day. An hour is a run of quarters
with one label and one offset. Times are Unix microseconds.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from functools import cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

QUARTER_US = 900_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Span(NamedTuple):
    """A period: [start_us, end_us) and its label."""

    start_us: int
    end_us: int
    label: str


def local(instant_us: int, zone: str) -> datetime:
    """What the clock of a zone shows."""
    return (_EPOCH + timedelta(microseconds=instant_us)).astimezone(ZoneInfo(zone))


@cache
def day_start(day: date, zone: str) -> int:
    """The first instant of a day."""
    at = (day - date(1970, 1, 1)).days * 86_400_000_000 - 15 * 4 * QUARTER_US
    while local(at, zone).date() < day:
        at += QUARTER_US
    return at


@cache
def _day_of(quarter: int, zone: str) -> Span:
    at = quarter * QUARTER_US
    day = local(at, zone).date() - timedelta(days=1)
    while day_start(day + timedelta(days=1), zone) <= at:
        day += timedelta(days=1)
    return Span(day_start(day, zone), day_start(day + timedelta(days=1), zone), day.isoformat())


@cache
def _month_of(quarter: int, zone: str) -> Span:
    first = date.fromisoformat(_day_of(quarter, zone).label).replace(day=1)
    after = first.replace(year=first.year + first.month // 12, month=first.month % 12 + 1)
    return Span(day_start(first, zone), day_start(after, zone), first.isoformat()[:7])


@cache
def _hour_of(quarter: int, zone: str) -> Span:
    def shown(at: int) -> tuple[str, timedelta | None]:
        clock = local(at, zone)
        return f"{clock:%Y-%m-%dT%H}", clock.utcoffset()

    start = quarter * QUARTER_US
    end = start + QUARTER_US
    label = shown(start)
    while shown(start - QUARTER_US) == label:
        start -= QUARTER_US
    while shown(end) == label:
        end += QUARTER_US
    return Span(start, end, label[0])


def hour_of(instant_us: int, zone: str) -> Span:
    """The hour that holds an instant."""
    return _hour_of(instant_us // QUARTER_US, zone)


def day_of(instant_us: int, zone: str) -> Span:
    """The day that holds an instant."""
    return _day_of(instant_us // QUARTER_US, zone)


def month_of(instant_us: int, zone: str) -> Span:
    """The month that holds an instant."""
    return _month_of(instant_us // QUARTER_US, zone)
