"""Periods and the pieces that they are put together from: pure."""

from __future__ import annotations

import itertools
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costledger.schemas.errors import InvalidValue
from costledger.schemas.periods import MICROSECONDS_PER_HOUR, PeriodKind
from costledger.schemas.times import from_microseconds, to_microseconds
from costledger.sinks.analytics import HISTORY_PERIODS, days_until, history_periods, period_bounds
from costledger.sinks.analytics.periods import same_point_before
from costledger.sinks.analytics.pieces import Pieces, cut

HOUR = MICROSECONDS_PER_HOUR
ZONES = [
    "UTC",
    "Europe/Vienna",
    "America/New_York",
    "Asia/Kathmandu",
    "Asia/Kolkata",
    "Pacific/Auckland",
    "Pacific/Apia",
]
instants = st.integers(
    to_microseconds(datetime(2024, 1, 1, tzinfo=UTC)), to_microseconds(datetime(2027, 1, 1, tzinfo=UTC))
)


def us(text: str, zone: str = "UTC") -> int:
    """A civil time of a zone as Unix microseconds."""
    return to_microseconds(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)))


def covered(pieces: Pieces, number: int) -> dict[int, int]:
    """Where the sum of the weights changes, and by how much, in microseconds; 0 where nothing does."""
    changes: dict[int, int] = {}
    for unit, kind in ((24 * HOUR, pieces.days), (HOUR, pieces.hours), (1, pieces.rests)):
        for piece in kind:
            if piece.number == number:
                changes[piece.first * unit] = changes.get(piece.first * unit, 0) + piece.weight
                changes[piece.end * unit] = changes.get(piece.end * unit, 0) - piece.weight
    return {instant: change for instant, change in changes.items() if change}


@given(
    st.lists(st.tuples(instants, st.one_of(st.integers(0, 100 * HOUR), st.integers(0, 400 * 24 * HOUR))), max_size=4)
)
def test_pieces_add_up_to_each_interval(intervals: list[tuple[int, int]]) -> None:
    """Every instant of an interval is counted once, every other instant not at all; whatever the way."""
    bounds = tuple((start, start + length) for start, length in intervals)
    for with_maximum in ((), tuple(range(len(bounds)))):
        pieces = cut(bounds, with_maximum)
        for number, (start, end) in enumerate(bounds):
            assert covered(pieces, number) == ({start: 1, end: -1} if start < end else {})
        for piece in (*pieces.days, *pieces.hours, *pieces.rests):
            assert piece.first < piece.end
            assert piece.weight == 1 or piece.number not in with_maximum
        assert all(piece.end - piece.first < HOUR for piece in pieces.rests)


@given(st.lists(st.tuples(instants, st.integers(1, 400 * 24)), max_size=4))
def test_what_begins_and_ends_on_the_hour_has_no_rest(intervals: list[tuple[int, int]]) -> None:
    """So the entries are not asked."""
    bounds = tuple((start - start % HOUR, start - start % HOUR + hours * HOUR) for start, hours in intervals)
    assert cut(bounds).rests == cut(bounds, tuple(range(9))).rests == []


def test_a_zones_day_is_read_in_few_pieces() -> None:
    """A day in Vienna: one UTC day, an hour at either end; a day in UTC is one piece."""
    vienna = period_bounds(PeriodKind.DAY, us("2026-01-15T12:00"), "Europe/Vienna")
    pieces = cut(((vienna.start_us, vienna.end_us),))
    assert [len(pieces.days), len(pieces.hours), pieces.effort] == [1, 2, 2]
    assert sorted(piece.weight for piece in pieces.hours) == [-1, 1]
    utc = period_bounds(PeriodKind.DAY, us("2026-01-15T12:00"))
    assert cut(((utc.start_us, utc.end_us),)).effort == 0


@pytest.mark.parametrize("kind", list(HISTORY_PERIODS))
@given(now_us=instants, zone=st.sampled_from(ZONES))
def test_a_history_has_every_period_and_ends_with_the_running_one(kind: PeriodKind, now_us: int, zone: str) -> None:
    """7 days, 4 weeks or 12 months, one following the other without a gap."""
    periods = history_periods(kind, now_us, zone)
    assert len(periods) == {PeriodKind.DAY: 7, PeriodKind.WEEK: 4, PeriodKind.MONTH: 12}[kind]
    assert now_us in periods[-1]
    assert periods[-1] == period_bounds(kind, now_us, zone)
    assert all(one.end_us == other.start_us for one, other in itertools.pairwise(periods))


@given(now_us=instants, zone=st.sampled_from(ZONES))
def test_weeks_begin_on_monday_and_months_on_their_first(now_us: int, zone: str) -> None:
    """At the zone's own midnight."""
    for kind, wanted in (
        (PeriodKind.WEEK, lambda day: day.isoweekday() == 1),
        (PeriodKind.MONTH, lambda day: day.day == 1),
    ):
        local = from_microseconds(period_bounds(kind, now_us, zone).start_us).astimezone(ZoneInfo(zone))
        assert wanted(local)
        assert (local.hour, local.minute) == (0, 0)


def test_hours_have_no_history() -> None:
    """They are no period of this."""
    for ask in (history_periods, period_bounds):
        with pytest.raises(InvalidValue, match="period is 'hour'"):
            ask(PeriodKind.HOUR, 0)


def test_days_until_today() -> None:
    """So many, also across a change of clocks."""
    today = period_bounds(PeriodKind.DAY, us("2026-03-30T12:00", "Europe/Vienna"), "Europe/Vienna")
    days = days_until(today, 3)
    assert [date.fromisoformat(day.label) for day in days] == [date(2026, 3, 28) + timedelta(days=n) for n in range(3)]
    assert [(day.end_us - day.start_us) // HOUR for day in days] == [24, 23, 24]


@pytest.mark.parametrize(
    ("kind", "now", "point"),
    [
        (PeriodKind.DAY, "2026-11-24T18:30", "2026-11-23T18:30"),
        (PeriodKind.WEEK, "2026-11-24T18:30", "2026-11-17T18:30"),
        (PeriodKind.MONTH, "2026-11-24T18:30", "2026-10-24T18:30"),
        (PeriodKind.MONTH, "2026-03-31T18:30", "2026-03-01T00:00"),
        (PeriodKind.MONTH, "2026-03-01T00:00", "2026-02-01T00:00"),
    ],
)
def test_the_same_point_of_the_previous_period(kind: PeriodKind, now: str, point: str) -> None:
    """After as much time as has passed; of a shorter period, its end."""
    running = period_bounds(kind, us(now))
    assert same_point_before(running, us(now)).end_us == us(point)
    assert same_point_before(running, us(now)).start_us == running.previous().start_us
