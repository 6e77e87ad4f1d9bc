"""The figures of reports, from a real ledger, against a naive model of the same events."""

from __future__ import annotations

import itertools
from datetime import date, timedelta
from typing import Any

from tests.sinks.conftest import Ledger, make_event
from tests.sinks.reports.report_model import COMPLETE, Model, fill, taken_back, usage, utc

from costledger.schemas.settings import Settings
from costledger.sinks.database import connect
from costledger.sinks.reports.content import Report, divided, median
from costledger.sinks.reports.document import from_document, to_document
from costledger.sinks.reports.periods import ReportKind, ReportPeriod, report_period
from costledger.sinks.reports.reading import read_report

DAY = date(2026, 10, 25)  # clocks go back in Europe: a day of 25 hours


def read(ledger: Ledger, period: ReportPeriod, **settings: Any) -> Report:
    with connect(ledger.url, "tests", 10) as connection:
        return read_report(connection, Settings(**settings), period, COMPLETE)


ZONES = ("UTC", "Europe/Vienna", "Asia/Kolkata", "Australia/Lord_Howe")


def test_a_report_is_the_sum_of_the_events(ledger: Ledger, seed: int) -> None:
    """Whole hours and half ones, days of 23 to 25 hours, reversals, credits, unpriced events: to the last picodollar."""
    events = usage(seed, utc(2026, 9, 1), utc(2026, 10, 28), 3000)
    # More of them around the ends of the day: there entries, hours and days meet.
    for day, hour in ((24, 13), (24, 18), (25, 13), (25, 18)):
        events += usage(seed + hour + day, utc(2026, 10, day, hour), utc(2026, 10, day, hour + 2), 200)
    fill(ledger, events)
    model = Model(events)
    for kind, time_zone in itertools.product(ReportKind, ZONES):
        period = report_period(kind, DAY, time_zone)
        report = read(ledger, period)
        users = model.users(period)
        active = [line for line in users if line.events > 0]
        assert report.totals.amount == model.amount(period)
        assert report.totals.active_users == len(active)
        assert report.totals.events == sum(line.events for line in model.services(period))
        assert report.totals.unpriced == sum(line.unpriced for line in model.services(period))
        assert (report.totals.maximum, report.totals.maximum_user) == (active[0].amount, active[0].name)
        assert report.totals.average == divided(model.amount(period), len(active))
        assert list(report.services.shown) == model.services(period)
        assert list(report.operations.shown) == model.operations(period)
        assert list(report.users) == users[:10]
        assert report.comparison.previous == model.amount(period.before())
        earlier = [period.earlier(weeks) for weeks in range(1, 9)]
        known = [one for one in earlier if one.end > utc(2026, 9, 1)]
        assert report.comparison.usual_periods == len(known) > 0
        assert report.comparison.usual == median([model.amount(one) for one in known])
        assert from_document(to_document(report)) == report


def test_cost_per_file_counts_everything_once(ledger: Ledger, seed: int) -> None:
    """A user's amount over the distinct files: however many events a file has, and whatever the others cost."""
    events = usage(seed, utc(2026, 10, 15), utc(2026, 10, 27), 1500)
    fill(ledger, events)
    period = report_period(ReportKind.WEEKLY, DAY, "UTC")
    with_files, without = Model(events).files(period)
    above = [one for one in with_files if one.amount > 10**12 * one.files]
    files = read(ledger, period).files
    assert files is not None
    assert list(files.above) == above[:10]
    assert len(above) > 0
    assert (files.users_above, files.users_with_files) == (len(above), len(with_files))
    assert files.files == sum(one.files for one in with_files)
    assert files.users_without_files == sum(line.events > 0 for line in without)
    assert files.amount_without_files == sum(line.amount for line in without)


def test_a_join_multiplies_nothing(ledger: Ledger) -> None:
    """Two files with three events each, two services, two budgets, two alerts: 3 USD over two files are 1.50 each."""
    at = utc(2026, 10, 20, 12)
    half = 5 * 10**11
    events = [
        make_event("u", amount=half, occurred_at=at, service=service, metadata={"file_id": file})
        for file in ("a", "b")
        for service in ("openai", "aws-s3", "openai")
    ]
    gone = make_event("u", amount=half, occurred_at=at, metadata={"file_id": "c"})
    fill(ledger, [*events, gone, taken_back(gone)])
    for version in (1, 2):
        ledger.connection.execute(
            "INSERT INTO ledger.budgets (user_id, version, tier, currency, time_zone, updated_at) "
            "VALUES ('u', %s, 'free', 'USD', 'UTC', now())",
            (version,),
        )
    report = read(ledger, report_period(ReportKind.WEEKLY, DAY, "UTC"))
    assert report.files is not None
    (user,) = report.files.above
    assert (user.amount, user.files, user.per_file) == (3 * 10**12, 2, 15 * 10**11)
    assert report.totals.amount == 3 * 10**12
    assert report.totals.active_users == 1


def test_the_limit_and_the_key_of_files_are_settings(ledger: Ledger) -> None:
    """A user at the limit is not above it; another key names other files."""
    at = utc(2026, 10, 20, 12)
    fill(ledger, [make_event("u", amount=10**12, occurred_at=at, metadata={"file_id": "a", "job": "j"})])
    period = report_period(ReportKind.WEEKLY, DAY, "UTC")
    for settings, above in (
        ({}, 0),
        ({"report_file_limit_usd": "0.999999999999"}, 1),
        ({"report_file_limit_usd": 0, "report_file_metadata_key": "job"}, 1),
        ({"report_file_limit_usd": 0, "report_file_metadata_key": "none"}, 0),
    ):
        files = read(ledger, period, **settings).files
        assert files is not None
        assert (files.users_above, len(files.above)) == (above, above)


def test_only_the_files_of_a_week_read_entries(ledger: Ledger) -> None:
    """A daily report comes from the roll-ups alone, and so does the total of a weekly one."""
    fill(ledger, [make_event("u", amount=7, occurred_at=utc(2026, 10, 24, 12), metadata={"file_id": "a"})])
    ledger.connection.execute("UPDATE ledger.daily_totals SET amount = 3 * amount")
    assert read(ledger, report_period(ReportKind.DAILY, date(2026, 10, 24), "UTC")).totals.amount == 21
    assert read(ledger, report_period(ReportKind.WEEKLY, DAY, "UTC")).totals.amount == 21


def test_alerts_are_counted_by_kind_in_the_period(ledger: Ledger) -> None:
    """Only those raised in the period; those that say that something is over are none."""
    inside, outside = utc(2026, 10, 24, 23, 59), utc(2026, 10, 25)
    rows = [
        ("HOURLY_SPIKE", "ALARM", inside),
        ("HOURLY_SPIKE", "OK", inside),
        ("BUDGET_THRESHOLD", "ALARM", inside),
        ("BUDGET_THRESHOLD", "ALARM", inside - timedelta(hours=3)),
        ("ANOMALY", "ALARM", outside),
    ]
    for kind, state, raised_at in rows:
        ledger.connection.execute(
            "INSERT INTO ledger.alerts (alert_id, kind, state, severity, user_id, scope, period_start, period_end, "
            "actual, currency, occurred_at, raised_at, late, message) VALUES "
            "(gen_random_uuid(), %s, %s, 'INFO', 'u', 'total', %s, %s, 1, 'USD', %s, %s, false, '')",
            (kind, state, *[raised_at] * 4),
        )
    report = read(ledger, report_period(ReportKind.DAILY, date(2026, 10, 24), "UTC"))
    assert report.alerts == (("BUDGET_THRESHOLD", 2), ("HOURLY_SPIKE", 1))


def test_what_does_not_fit_is_summed_up(ledger: Ledger) -> None:
    """An imported bill with hundreds of operations: the largest are shown, the sums stay those of the whole."""
    at = utc(2026, 10, 24, 12)
    fill(ledger, [make_event("u", amount=n, operation=f"sku-{n:03d}", occurred_at=at) for n in range(1, 121)])
    report = read(ledger, report_period(ReportKind.DAILY, date(2026, 10, 24), "UTC"))
    operations = report.operations
    assert [line.amount for line in operations.shown] == list(range(120, 70, -1))
    assert operations.others is not None
    assert (operations.others_count, operations.others.amount, operations.others.events) == (70, 70 * 71 // 2, 70)
    assert sum(line.amount for line in operations.shown) + operations.others.amount == report.totals.amount


def test_an_empty_day_has_a_report(ledger: Ledger) -> None:
    """No events, no users: zeros, and nothing that is divided by them."""
    report = read(ledger, report_period(ReportKind.WEEKLY, DAY, "UTC"))
    totals = report.totals
    assert (totals.active_users, totals.events, totals.amount, totals.average, totals.maximum) == (0, 0, 0, None, None)
    assert report.comparison.usual is None
    assert report.files is not None
    assert (report.files.files, report.files.users_above) == (0, 0)
    assert from_document(to_document(report)) == report
