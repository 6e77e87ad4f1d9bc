"""Hours, days, weeks and months tile time in every zone, whatever its clocks do."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import pairwise
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from costledger.schemas import InvalidValue
from costledger.schemas.events import OCCURRED_AT_END_US, OCCURRED_AT_MIN_US
from costledger.schemas.periods import (
    MICROSECONDS_PER_HOUR,
    Period,
    PeriodKind,
    period_at,
    period_of_label,
    periods_between,
    zone,
)
from costledger.schemas.times import from_microseconds, to_microseconds

HOUR, DAY, WEEK, MONTH = PeriodKind
ZONES = sorted(name for name in available_timezones() if not name.startswith(("posix", "right", "local", "Factory")))
instants = st.integers(OCCURRED_AT_MIN_US, OCCURRED_AT_END_US - 1)


def at(text: str) -> int:
    """Unix microseconds of RFC 3339 text."""
    return to_microseconds(datetime.fromisoformat(text).astimezone(UTC))


def hours(period: Period) -> float:
    """The length of a period."""
    return (period.end_us - period.start_us) / MICROSECONDS_PER_HOUR


def bounds(period: Period) -> tuple[str, str]:
    """Start and end in the period's own zone."""
    where = ZoneInfo(period.time_zone)
    start, end = (from_microseconds(instant).astimezone(where) for instant in (period.start_us, period.end_us))
    return start.isoformat(), end.isoformat()


def transitions(name: str) -> list[int]:
    """The instants between 2000 and 2040 at which a zone changes its offset, to the microsecond."""
    where, step = ZoneInfo(name), 6 * MICROSECONDS_PER_HOUR

    def offset(instant: int) -> object:
        return from_microseconds(instant).astimezone(where).utcoffset()

    found = []
    for early in range(at("2000-01-01T00:00:00Z"), at("2040-01-01T00:00:00Z"), step):
        low, high = early, early + step
        if offset(low) != offset(high):
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (middle, high) if offset(middle) == offset(low) else (low, middle)
            found.append(high)
    return found


def check_tiles(kind: PeriodKind, instant: int, name: str) -> None:
    """The period holds the instant, touches its neighbours, and its label leads back to it."""
    period = period_at(kind, instant, name)
    assert instant in period
    assert period.start_us < period.end_us
    assert period.next().start_us == period.end_us
    assert period.previous().end_us == period.start_us
    assert period_at(kind, period.start_us, name) == period
    assert period_at(kind, period.end_us - 1, name) == period
    again = period_of_label(kind, period.label, name)
    assert again.label == period.label
    # An hour may come twice: its label gives the first.
    assert again == period or (kind is HOUR and again.start_us < period.start_us)
    if kind is HOUR:
        assert hours(period) <= 1


@given(st.sampled_from(PeriodKind), instants, st.sampled_from(ZONES))
@settings(max_examples=1500, deadline=None)
@example(DAY, at("2018-11-04T03:00:00Z"), "America/Sao_Paulo")
@example(DAY, at("2011-12-30T10:00:00Z"), "Pacific/Apia")
@example(HOUR, at("2026-04-04T15:10:00Z"), "Australia/Lord_Howe")
@example(DAY, at("2010-11-07T02:35:00Z"), "America/St_Johns")
def test_periods_tile_time(kind: PeriodKind, instant: int, name: str) -> None:
    """In every zone, every instant is in one period, and periods follow each other without gap or overlap."""
    check_tiles(kind, instant, name)


@pytest.mark.parametrize(
    "name",
    [
        "Europe/Berlin",
        "America/Sao_Paulo",
        "America/Havana",
        "America/St_Johns",
        "Australia/Lord_Howe",
        "Pacific/Apia",
        "Asia/Pyongyang",
        "America/Caracas",
        "Africa/Casablanca",
        "Antarctica/Troll",
        "Asia/Gaza",
    ],
)
def test_periods_tile_time_around_every_change(name: str) -> None:
    """At each change of offset, an instant before, on it, and up to two days around it."""
    changes = transitions(name)
    assert changes
    for change in changes[:40]:
        for minutes in (-1501, -61, -31, -1, 0, 1, 29, 31, 61, 1501):
            for kind in PeriodKind:
                check_tiles(kind, change + minutes * 60_000_000, name)
        for kind in PeriodKind:
            check_tiles(kind, change - 1, name)


@given(st.sampled_from(PeriodKind), instants, st.integers(0, 40 * 24 * MICROSECONDS_PER_HOUR), st.sampled_from(ZONES))
@settings(deadline=None)
def test_periods_between_cover_exactly(kind: PeriodKind, start: int, length: int, name: str) -> None:
    """The first holds the start, the last the instant before the end, each begins where the one before ends."""
    periods = list(periods_between(kind, start, start + length, name))
    if length == 0:
        assert periods == []
        return
    assert start in periods[0]
    assert start + length - 1 in periods[-1]
    assert all(one.end_us == other.start_us for one, other in pairwise(periods))


@pytest.mark.parametrize(
    ("name", "instant", "label", "length", "start"),
    [
        ("Europe/Berlin", "2026-03-29T10:00:00Z", "2026-03-29", 23, "2026-03-29T00:00:00+01:00"),
        ("Europe/Berlin", "2026-10-25T10:00:00Z", "2026-10-25", 25, "2026-10-25T00:00:00+02:00"),
        ("Asia/Kathmandu", "2026-11-22T18:15:00Z", "2026-11-23", 24, "2026-11-23T00:00:00+05:45"),
        ("America/Sao_Paulo", "2018-11-04T12:00:00Z", "2018-11-04", 23, "2018-11-04T01:00:00-02:00"),
        ("Pacific/Apia", "2011-12-30T09:59:59Z", "2011-12-29", 24, "2011-12-29T00:00:00-10:00"),
        ("Pacific/Apia", "2011-12-30T10:00:00Z", "2011-12-31", 24, "2011-12-31T00:00:00+14:00"),
        ("America/Havana", "2026-11-01T12:00:00Z", "2026-11-01", 25, "2026-11-01T00:00:00-04:00"),
        ("Australia/Lord_Howe", "2026-04-05T00:00:00Z", "2026-04-05", 24.5, "2026-04-05T00:00:00+11:00"),
        ("America/St_Johns", "2010-11-07T12:00:00Z", "2010-11-07", 25, "2010-11-07T00:00:00-02:30"),
    ],
)
def test_known_days(name: str, instant: str, label: str, length: float, start: str) -> None:
    """Days of 23, 24, 24.5 and 25 hours, days without midnight, and the day that Samoa left out."""
    period = period_at(DAY, at(instant), name)
    assert (period.label, hours(period), bounds(period)[0]) == (label, length, start)


def test_the_day_that_samoa_left_out() -> None:
    """The 29th is followed by the 31st; the label of the 30th leads to the day that followed."""
    day = period_of_label(DAY, "2011-12-29", "Pacific/Apia")
    assert day.next().label == "2011-12-31"
    assert period_of_label(DAY, "2011-12-30", "Pacific/Apia") == day.next()
    assert hours(period_of_label(MONTH, "2011-12", "Pacific/Apia")) == 30 * 24


def test_the_hour_that_comes_twice() -> None:
    """Berlin's 02 in October is two hours with one label; the label gives the first."""
    first = period_at(HOUR, at("2026-10-25T00:30:00Z"), "Europe/Berlin")
    second = first.next()
    assert (first.label, second.label) == ("2026-10-25T02", "2026-10-25T02")
    assert bounds(first) == ("2026-10-25T02:00:00+02:00", "2026-10-25T02:00:00+01:00")
    assert period_of_label(HOUR, first.label, "Europe/Berlin") == first
    assert second.next().label == "2026-10-25T03"


def test_the_hour_that_is_skipped() -> None:
    """Berlin has no 02 in March; its label leads to 03."""
    before = period_at(HOUR, at("2026-03-29T00:59:59Z"), "Europe/Berlin")
    assert (before.label, before.next().label) == ("2026-03-29T01", "2026-03-29T03")
    assert period_of_label(HOUR, "2026-03-29T02", "Europe/Berlin") == before.next()


def test_hours_where_clocks_move_by_half_an_hour() -> None:
    """Lord Howe: 01:00 to 02:00, then 01:30 to 02:00 once more; in spring 02:30 to 03:00."""
    first = period_at(HOUR, at("2026-04-04T14:59:00Z"), "Australia/Lord_Howe")
    assert [(p.label, hours(p)) for p in (first, first.next(), first.next().next())] == [
        ("2026-04-05T01", 1),
        ("2026-04-05T01", 0.5),
        ("2026-04-05T02", 1),
    ]
    spring = period_at(HOUR, at("2026-10-03T15:31:00Z"), "Australia/Lord_Howe")
    assert (spring.label, hours(spring), spring.previous().label) == ("2026-10-04T02", 0.5, "2026-10-04T01")


def test_hours_begin_on_the_zones_own_hour() -> None:
    """Kathmandu's hours begin at a quarter past."""
    assert from_microseconds(period_at(HOUR, at("2026-11-23T09:00:00Z"), "Asia/Kathmandu").start_us).minute == 15


@pytest.mark.parametrize(
    ("day", "label"),
    [
        ("2026-11-22", "2026-W47"),
        ("2026-11-23", "2026-W48"),
        ("2026-12-31", "2026-W53"),
        ("2027-01-01", "2026-W53"),
        ("2027-01-03", "2026-W53"),
        ("2027-01-04", "2027-W01"),
        ("2024-12-29", "2024-W52"),
        ("2024-12-30", "2025-W01"),
    ],
)
def test_weeks_are_iso_weeks(day: str, label: str) -> None:
    """Weeks begin on Monday and belong to the year of their Thursday."""
    week = period_at(WEEK, at(f"{day}T12:00:00Z"))
    assert week.label == label
    assert from_microseconds(week.start_us).isoweekday() == 1


@pytest.mark.parametrize(("label", "days"), [("2024-02", 29), ("2026-02", 28), ("2026-12", 31), ("2100-02", 28)])
def test_months_have_their_days(label: str, days: int) -> None:
    """Leap years and the turn of the year."""
    assert hours(period_of_label(MONTH, label)) == days * 24


@pytest.mark.parametrize(
    ("kind", "label"),
    [
        (HOUR, "2026-11-23"),
        (DAY, "2026-11"),
        (DAY, "2026-02-30"),
        (WEEK, "2026-W54"),
        (WEEK, "2026-11-23"),
        (MONTH, "2026-13"),
        (MONTH, ""),
    ],
)
def test_labels_that_are_none_are_refused(kind: PeriodKind, label: str) -> None:
    """The label and the kind are named."""
    with pytest.raises(InvalidValue, match=f"period is '{label}'; it must be the label of a {kind}"):
        period_of_label(kind, label)


@pytest.mark.parametrize(
    "name",
    [
        "localtime",
        "Factory",
        "right/UTC",
        "posix/UTC",
        "",
        "Mars/Olympus",
        "../../etc/passwd",
        "/etc/passwd",
        "Europe",
        "a\x00b",
        "x" * 5000,
        "\ud800",
    ],
)
def test_zones_that_are_none_are_refused(name: str) -> None:
    """Unknown names, paths and folders are refused as a wrong time zone."""
    with pytest.raises(InvalidValue, match=r"time_zone is .*IANA"):
        zone(name)
