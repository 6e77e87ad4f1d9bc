"""When reports are due, in any zone and over changes of the clocks. Pure: the clock is an argument."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.sinks.reports.report_model import microseconds, utc

from costledger.schemas.errors import InvalidValue
from costledger.schemas.periods import PeriodKind, period_at
from costledger.schemas.settings import Settings
from costledger.schemas.times import rfc3339, to_microseconds
from costledger.sinks.reports.periods import (
    DAILY_CATCH_UP_MAX,
    WEEKLY_CATCH_UP_MAX,
    ReportKind,
    ReportPeriod,
    Schedule,
    report_period,
    require_ended,
)
from costledger.sinks.reports.sweep import CATCH_UP_MAX, due_hours, own_hours

HOUR_US = 3_600_000_000
ZONES = ("UTC", "Europe/Vienna", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "America/Santiago")


def schedule(time_zone: str = "UTC", **other: Any) -> Schedule:
    return Schedule.of(Settings(jobs_time_zone=time_zone, **other))


def names(periods: list[ReportPeriod]) -> list[str]:
    return [f"{period.kind.value} {period.date}" for period in periods]


@pytest.mark.parametrize(
    ("day", "start", "end", "due"),
    [
        # Clocks go forward on the 29th of March, back on the 25th of October, both at 01:00 UTC.
        (date(2026, 3, 28), "2026-03-27T23:00:00Z", "2026-03-28T23:00:00Z", "2026-03-29T07:00:00Z"),
        (date(2026, 3, 29), "2026-03-28T23:00:00Z", "2026-03-29T22:00:00Z", "2026-03-30T07:00:00Z"),
        (date(2026, 10, 24), "2026-10-23T22:00:00Z", "2026-10-24T22:00:00Z", "2026-10-25T08:00:00Z"),
        (date(2026, 10, 25), "2026-10-24T22:00:00Z", "2026-10-25T23:00:00Z", "2026-10-26T08:00:00Z"),
    ],
)
def test_a_day_is_the_zones_own(day: date, start: str, end: str, due: str) -> None:
    """23 and 25 hours are days too, and 09:00 stays 09:00 on the wall."""
    period = report_period(ReportKind.DAILY, day, "Europe/Vienna")
    assert (rfc3339(period.start_us), rfc3339(period.end_us)) == (start, end)
    assert rfc3339(schedule("Europe/Vienna").due_us(period)) == due


@pytest.mark.parametrize(
    ("at", "day", "due"),
    [
        ("02:30", date(2026, 3, 28), "2026-03-29T01:00:00Z"),  # skipped: the first instant after the gap
        ("02:30", date(2026, 10, 24), "2026-10-25T00:30:00Z"),  # twice: the first of the two
        ("00:00", date(2026, 10, 24), "2026-10-24T22:00:00Z"),  # as soon as the day is over
    ],
)
def test_a_time_that_is_skipped_or_twice_is_due_once(at: str, day: date, due: str) -> None:
    """At the first instant after the gap, and at the first of the two."""
    schedule_of = schedule("Europe/Vienna", report_daily_at=at)
    period = report_period(ReportKind.DAILY, day, "Europe/Vienna")
    due_us = schedule_of.due_us(period)
    assert rfc3339(due_us) == due
    done: set[tuple[str, date]] = set()
    made = []
    for minute in range(-180, 240):
        for found in schedule_of.due(due_us + minute * 60_000_000, period.start_us, done):
            done.add((found.kind.value, found.date))
            made.append((minute, found.date))
    assert [one for one in made if one[1] == day] == [(0, day)]


def test_a_week_is_the_seven_days_before() -> None:
    """Its date is the day after, a Monday by default; the label names the first and the last of the seven."""
    period = report_period(ReportKind.WEEKLY, date(2026, 3, 30), "Europe/Vienna")
    assert period.label == "2026-03-23 to 2026-03-29"
    assert period.end_us - period.start_us == 167 * HOUR_US
    assert rfc3339(schedule("Europe/Vienna").due_us(period)) == "2026-03-30T08:00:00Z"
    assert period.before().end_us == period.start_us
    assert schedule("Europe/Vienna").latest(ReportKind.WEEKLY, microseconds(2026, 4, 6, 7, 59)) == period
    assert schedule("Europe/Vienna").latest(ReportKind.WEEKLY, microseconds(2026, 4, 6, 8)).date == date(2026, 4, 6)


def test_nothing_is_due_before_its_time_nor_of_before_the_ledger() -> None:
    """The first report is that of the day on which the ledger began."""
    began = microseconds(2026, 11, 18, 15)
    due = schedule().due
    assert due(microseconds(2026, 11, 19, 8, 59), began, ()) == []
    assert names(due(microseconds(2026, 11, 19, 9), began, ())) == ["daily 2026-11-18"]
    done = {("daily", date(2026, 11, 18))}
    assert due(microseconds(2026, 11, 19, 23), began, done) == []
    # A Monday at 10:00: the day before (due at 09:00) and the week.
    done |= {("daily", date(2026, 11, day)) for day in (19, 20, 21)}
    assert names(due(microseconds(2026, 11, 23, 9, 59), began, done)) == ["daily 2026-11-22"]
    assert names(due(microseconds(2026, 11, 23, 10), began, done)) == ["daily 2026-11-22", "weekly 2026-11-23"]


def test_a_downtime_is_made_up_for_within_bounds() -> None:
    """Ten weeks away: the last seven days and four weeks, the oldest first, nothing older."""
    found = schedule().due(microseconds(2026, 11, 24, 12), microseconds(2026, 1, 1), ())
    assert names([one for one in found if one.kind is ReportKind.DAILY]) == [
        f"daily 2026-11-{day}" for day in range(17, 24)
    ]
    assert names([one for one in found if one.kind is ReportKind.WEEKLY]) == [
        f"weekly {date(2026, 11, 23) - timedelta(weeks=weeks)}" for weeks in (3, 2, 1, 0)
    ]


@settings(max_examples=40, deadline=None)
@given(
    zone=st.sampled_from(ZONES),
    start=st.datetimes(utc(2026, 1, 20).replace(tzinfo=None), utc(2027, 12, 1).replace(tzinfo=None)),
    at=st.sampled_from(["00:00", "02:30", "09:00", "23:59"]),
    steps_minutes=st.lists(st.integers(1, 3 * 1440), min_size=1, max_size=40),
)
def test_every_period_is_made_once_whenever_one_looks(zone: str, start: Any, at: str, steps_minutes: list[int]) -> None:
    """However often and irregularly: no day twice, none before it is over, and none is left out but by the bounds."""
    schedule_of = schedule(zone, report_daily_at=at, report_weekly_at=f"MON {at}")
    now_us = began_us = to_microseconds(start.replace(tzinfo=utc(2026, 1, 1).tzinfo))
    done: set[tuple[str, date]] = set()
    last_us = now_us
    for step in steps_minutes:
        now_us += step * 60_000_000
        for period in schedule_of.due(now_us, began_us, done):
            assert (period.kind.value, period.date) not in done
            assert period.end_us <= schedule_of.due_us(period) <= now_us
            assert period.end_us > began_us
            done.add((period.kind.value, period.date))
        assert schedule_of.due(now_us, began_us, done) == []
        newest = schedule_of.latest(ReportKind.DAILY, now_us)
        assert newest.end_us <= began_us or ("daily", newest.date) in done
        if now_us - last_us < (DAILY_CATCH_UP_MAX - 1) * 24 * HOUR_US:
            before = newest.before()
            assert before.end_us <= began_us or ("daily", before.date) in done
        last_us = now_us
    assert WEEKLY_CATCH_UP_MAX == 4


@pytest.mark.parametrize(
    ("day", "now", "field"),
    [(date(2026, 11, 24), utc(2026, 11, 24, 23, 59), "date"), (date(1999, 1, 1), utc(2026, 11, 24), "date")],
)
def test_a_period_that_is_not_over_is_refused(day: date, now: Any, field: str) -> None:
    """Its figures would change; and the calendar has an end."""
    with pytest.raises(InvalidValue, match=field):
        require_ended(report_period(ReportKind.DAILY, day, "UTC"), to_microseconds(now))


def test_a_day_that_a_zone_left_out_has_no_report() -> None:
    """Samoa went from the 29th to the 31st of December 2011."""
    found = schedule("Pacific/Apia").due(microseconds(2012, 1, 3), microseconds(2011, 1, 1), ())
    days = [period.date.isoformat() for period in found if period.kind is ReportKind.DAILY]
    assert days[-4:] == ["2011-12-29", "2011-12-31", "2012-01-01", "2012-01-02"]


def test_hours_are_swept_once_with_a_bound() -> None:
    """Five minutes after their end, the oldest first, at most 24 after a downtime."""
    began = microseconds(2026, 11, 24, 9, 30)
    assert due_hours(microseconds(2026, 11, 24, 10, 4), began, ()) == []
    (first,) = due_hours(microseconds(2026, 11, 24, 10, 5), began, ())
    assert first.label == "2026-11-24T09"
    assert [hour.label[-2:] for hour in due_hours(microseconds(2026, 11, 24, 12, 5), began, {first.start_us})] == [
        "10",
        "11",
    ]
    many = due_hours(microseconds(2026, 12, 24, 12, 5), began, ())
    assert len(many) == CATCH_UP_MAX
    assert many[-1].label == "2026-12-24T11"
    assert many == sorted(many, key=lambda hour: hour.start_us)


def test_users_have_hours_of_their_own_zone() -> None:
    """Whole hours from UTC share the hour; in India it is the one that ended half an hour before."""
    hour = period_at(PeriodKind.HOUR, microseconds(2026, 11, 24, 9))
    found = own_hours(hour, ["Europe/Vienna", "Asia/Kolkata", "America/New_York"])
    assert found == {
        (hour.start_us - HOUR_US // 2, hour.end_us - HOUR_US // 2): ["Asia/Kolkata"],
        (hour.start_us, hour.end_us): ["America/New_York", "Europe/Vienna", "UTC"],
    }
