"""What a tick does, with a clock that is set by hand: sweeps, reports, Redis, housekeeping."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest
import redis
from prometheus_client import CollectorRegistry
from pydantic import SecretStr
from tests.sinks.conftest import PARTITIONS, Ledger, make_event
from tests.sinks.reports.report_model import begin, fill, utc

from costledger.schemas.settings import Settings
from costledger.schemas.times import to_microseconds
from costledger.schemas.topics import TopicNames
from costledger.sinks.database import Connection, connect
from costledger.sinks.jobs.observation import SchedulerMetrics
from costledger.sinks.jobs.queue import defer_in
from costledger.sinks.jobs.ticking import Ticker
from costledger.sinks.reports import watermark
from costledger.sinks.reports.handover import DELIVER_TASK
from costledger.sinks.reports.store import open_redis

HOUR = utc(2026, 11, 24, 9)
USD = 10**12
Row = tuple[Any, ...]


class Clockwork:
    """A ticker whose clock is `now`."""

    def __init__(self, ledger: Ledger, settings: Settings, client: redis.Redis) -> None:
        self.now = utc(2026, 11, 24, 10, 6)
        self.ledger = ledger
        self.registry = CollectorRegistry()
        self.metrics = SchedulerMetrics(self.registry)
        self.ticker = Ticker(
            settings,
            lambda: connect(ledger.url, "tests", 10),
            client,
            self.metrics,
            lambda: to_microseconds(self.now),
        )

    def tick(self, now: datetime | None = None) -> None:
        self.now = now or self.now
        self.ticker.tick()

    def metric(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(name, labels)

    def sweeps(self) -> list[Row]:
        return self.ledger.all(
            "SELECT period_start, complete, content FROM ledger.reports WHERE kind = 'sweep' ORDER BY period_start"
        )


@pytest.fixture
def clockwork(ledger: Ledger, names: TopicNames, report_settings: Settings) -> Iterator[Clockwork]:
    """A ledger that began this morning, with all of an empty topic."""
    begin(ledger, utc(2026, 11, 24, 8, 30), names.events, PARTITIONS)
    client = open_redis(report_settings)
    yield Clockwork(ledger, report_settings, client)
    client.close()


def add_alert(ledger: Ledger, user: str, hour: datetime, state: str = "ALARM", percent: int | None = None) -> None:
    ledger.connection.execute(
        "INSERT INTO ledger.alerts (alert_id, kind, state, severity, user_id, scope, period_start, period_end, "
        "threshold_percent, actual, currency, occurred_at, raised_at, late, message) VALUES "
        "(gen_random_uuid(), 'HOURLY_SPIKE', %s, 'CRITICAL', %s, 'total', %s, %s, %s, 1, 'USD', %s, now(), false, '')",
        (state, user, hour, hour + timedelta(hours=1), percent, hour),
    )


def set_budget(ledger: Ledger, user: str, limit: int | None, zone: str = "UTC", version: int = 1) -> None:
    ledger.connection.execute(
        "INSERT INTO ledger.users (user_id, time_zone) VALUES (%s, %s) "
        "ON CONFLICT (user_id) DO UPDATE SET time_zone = excluded.time_zone",
        (user, zone),
    )
    ledger.connection.execute(
        "INSERT INTO ledger.budgets (user_id, version, tier, currency, time_zone, hourly_spike_limit, updated_at) "
        "VALUES (%s, %s, 'free', 'USD', %s, %s, now())",
        (user, version, zone, limit),
    )


def test_a_spike_that_nobody_was_told_of_is_said(
    clockwork: Clockwork, ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    """In the log, in a metric and in the ledger, once; never as an alert. What was told in any way is not missed."""
    spend = {
        "missed": 21 * USD,
        "told": 30 * USD,
        "goes-on": 40 * USD,
        "over-and-again": 50 * USD,
        "by-usual-alone": 22 * USD,
        "at-the-limit": 20 * USD,
        "own-limit": 6 * USD,
        "high-limit": 60 * USD,
        "india": 1,
    }
    events = [
        make_event(user, amount=amount, occurred_at=HOUR + timedelta(minutes=5)) for user, amount in spend.items()
    ]
    # In India the hour is half past to half past: 25 USD from 08:30 to 09:30, of which the UTC hour has a part.
    events.append(make_event("india", amount=25 * USD, occurred_at=HOUR - timedelta(minutes=20)))
    events.append(make_event("india", amount=90 * USD, occurred_at=HOUR + timedelta(minutes=40)))
    fill(ledger, events)
    set_budget(ledger, "own-limit", 70)
    set_budget(ledger, "own-limit", 5, version=2)
    set_budget(ledger, "high-limit", 100)
    set_budget(ledger, "india", None, "Asia/Kolkata")
    add_alert(ledger, "told", HOUR)
    add_alert(ledger, "goes-on", HOUR - timedelta(hours=3))
    add_alert(ledger, "over-and-again", HOUR - timedelta(hours=3))
    add_alert(ledger, "over-and-again", HOUR - timedelta(hours=2), "OK")
    add_alert(ledger, "by-usual-alone", HOUR, percent=500)
    alerts = ledger.one("SELECT count(*) FROM ledger.alerts")
    with caplog.at_level(logging.ERROR):
        clockwork.tick()
        clockwork.tick()
    ((_, complete, content),) = [row for row in clockwork.sweeps() if row[0] == HOUR]
    assert complete
    missed = {one["user_id"]: one["total"] for one in content["missed_spikes"]}
    assert missed == {
        "over-and-again": "50.00",
        "india": "25.000000000001",
        "by-usual-alone": "22.00",
        "missed": "21.00",
        "own-limit": "6.00",
    }
    assert (content["spikes"], content["missed"]) == (7, 5)
    assert content["missed_spikes"][-1]["limit"] in {"5.00", "20.00"}
    # Said once each, with the user's own hour.
    said = [record.getMessage() for record in caplog.records if "no alert told" in record.getMessage()]
    assert sum("missed has" in text for text in said) == 1
    assert any("india has" in text and text.endswith("from 2026-11-24T08:30:00Z") for text in said)
    assert clockwork.metric("costledger_sweep_missed_spikes_total") == 5
    assert ledger.one("SELECT count(*) FROM ledger.alerts") == alerts
    assert ledger.one("SELECT count(*) FROM ledger.alert_deliveries") == 0


def test_the_gauges_are_those_of_the_last_hour(clockwork: Clockwork, ledger: Ledger) -> None:
    """Total and users of the hour, and the month up to its end; the same in a scheduler that did no sweep itself."""
    fill(
        ledger,
        [
            make_event("u", amount=USD // 4, occurred_at=HOUR),
            make_event("v", amount=USD, occurred_at=HOUR + timedelta(minutes=59)),
            make_event("v", amount=5 * USD, occurred_at=HOUR - timedelta(minutes=1)),
            make_event("w", amount=50 * USD, occurred_at=utc(2026, 11, 1)),
            make_event("w", amount=500 * USD, occurred_at=utc(2026, 10, 31, 23, 59)),
            make_event("w", amount=500 * USD, occurred_at=HOUR + timedelta(hours=1)),
        ],
    )
    clockwork.tick()
    with connect(ledger.url, "tests", 10) as connection:
        with connection.transaction():
            defer_in(connection, "tests:none", {})
        clockwork.metrics.refresh(connection)
    assert clockwork.metric("costledger_hourly_total_usd") == 1.25
    assert clockwork.metric("costledger_hourly_active_users") == 2
    assert clockwork.metric("costledger_hourly_spike_users") == 0
    assert clockwork.metric("costledger_month_total_usd") == 56.25
    assert clockwork.metric("costledger_scheduler_jobs", state="todo") == 1


def test_hours_are_made_up_for_and_waited_for(clockwork: Clockwork, ledger: Ledger) -> None:
    """Each hour once, from the one in which the ledger began; a ledger that is behind is waited for, half an hour."""
    assert clockwork.sweeps() == []
    clockwork.tick(HOUR + timedelta(hours=3, minutes=4))
    assert [start.hour for start, *_ in clockwork.sweeps()] == [8, 9, 10]
    ledger.connection.execute("UPDATE ledger.sink_offsets SET topic = 'elsewhere.' || topic")
    moved = clockwork.ticker
    moved._settings = moved._settings.model_copy(update={"topic_prefix": "elsewhere."})
    clockwork.tick(HOUR + timedelta(hours=3, minutes=29))
    assert len(clockwork.sweeps()) == 3
    clockwork.tick(HOUR + timedelta(hours=3, minutes=30))
    assert [(start.hour, complete) for start, complete, _ in clockwork.sweeps()][-1] == (11, False)


def test_reports_wait_for_the_ledger_and_then_for_nobody(clockwork: Clockwork, ledger: Ledger) -> None:
    """Behind at nine: made at ten, and marked; the others are not held up. Handed over once."""
    moved = clockwork.ticker
    there = moved._settings
    moved._settings = there.model_copy(update={"topic_prefix": "elsewhere."})
    clockwork.tick(utc(2026, 11, 25, 9, 1))
    made = "SELECT report_date::text, complete FROM ledger.reports WHERE kind = 'daily' AND handed_over_at IS NOT NULL"
    assert ledger.all(made) == []
    clockwork.tick(utc(2026, 11, 25, 10))
    clockwork.tick(utc(2026, 11, 25, 10, 1))
    assert ledger.all(made) == [("2026-11-24", False)]
    assert clockwork.metric("costledger_scheduler_reports_total", kind="daily") == 1
    assert ledger.one("SELECT count(*) FROM jobs.procrastinate_jobs") == 1
    moved._settings = there
    clockwork.tick(utc(2026, 11, 26, 9))
    assert ledger.all(f"{made} ORDER BY 1")[1:] == [("2026-11-25", True)]


def test_a_part_that_fails_holds_no_other_up(
    clockwork: Clockwork, ledger: Ledger, caplog: pytest.LogCaptureFixture
) -> None:
    """Without Redis the report is made and sent all the same; Redis gets it when it is back."""
    ticker = clockwork.ticker
    there = ticker._redis
    ticker._redis = redis.Redis.from_url("redis://127.0.0.1:1")
    with caplog.at_level(logging.CRITICAL):
        clockwork.tick(utc(2026, 11, 25, 9))
    assert clockwork.metric("costledger_scheduler_failures_total", work="cache") == 1
    assert ledger.one("SELECT handed_over_at IS NOT NULL FROM ledger.reports WHERE kind = 'daily'")
    assert there.keys() == []
    ticker._redis = there
    clockwork.tick()
    assert there.keys() == ["costledger:report:daily:2026-11-24"]


def test_without_kafka_a_tick_asks_it_once(
    clockwork: Clockwork, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many hours and days are due: those that may still wait do so, the others are done and marked."""
    asked: list[int] = []
    needed = watermark._needed

    def counted(settings: Settings, topic: str, until_us: int) -> Any:
        asked.append(until_us)
        return needed(settings, topic, until_us)

    monkeypatch.setattr(watermark, "_needed", counted)
    ticker = clockwork.ticker
    ticker._settings = ticker._settings.model_copy(update={"bootstrap_servers": "127.0.0.1:1"})
    clockwork.tick(utc(2026, 11, 25, 9, 6))
    assert len(asked) == 1
    sweeps = clockwork.sweeps()
    assert [start.hour for start, *_ in sweeps] == [*range(9, 24), *range(8)]  # not yet that of 8, it may wait
    assert not any(complete for _, complete, _ in sweeps)
    assert ledger.one("SELECT count(*) FROM ledger.reports WHERE kind = 'daily'") == 0


@pytest.mark.parametrize("damage", ["settings", "content"])
def test_a_part_that_fails_in_any_way_is_counted(
    clockwork: Clockwork, ledger: Ledger, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    """Recipients that are none, a stored report that is none: said, the traceback once; the other parts are done."""
    ticker = clockwork.ticker
    work = "reports"
    if damage == "settings":
        ticker._settings = ticker._settings.model_copy(update={"report_recipients": SecretStr("costs")})
    else:
        work = "cache"
        ledger.connection.execute(
            "INSERT INTO ledger.reports (kind, period_start, period_end, report_date, time_zone, complete, content, "
            "content_sha256, updated_at) VALUES ('daily', '2026-11-01', '2026-11-02', '2026-11-01', 'UTC', true, '{}', "
            "sha256(''), '2026-11-02')"
        )
    with caplog.at_level(logging.ERROR):
        clockwork.tick(utc(2026, 11, 25, 9))
        clockwork.tick()
    assert clockwork.metric("costledger_scheduler_failures_total", work=work) == 2
    said = [record for record in caplog.records if record.getMessage().startswith(f"{work} failed")]
    assert [bool(record.exc_info) for record in said] == [True, False]
    if damage == "settings":
        assert ticker._redis.keys() == ["costledger:report:daily:2026-11-24"]
    else:
        assert ledger.one("SELECT handed_over_at IS NOT NULL FROM ledger.reports WHERE period_start = '2026-11-24'")


def test_a_connection_that_breaks_ends_one_part(clockwork: Clockwork, ledger: Ledger) -> None:
    """PostgreSQL ends the session: that part is tried again later, the others go on with a new connection."""
    ticker = clockwork.ticker
    made: list[Connection] = []

    def connect_badly() -> Connection:
        made.append(connect(ledger.url, "tests", 10))
        if len(made) == 1:
            assert ledger.one(f"SELECT pg_terminate_backend({made[0].info.backend_pid}, 5000)")
        return made[-1]

    ticker._connect = connect_badly
    clockwork.tick(utc(2026, 11, 25, 9))
    assert clockwork.metric("costledger_scheduler_failures_total", work="housekeeping") == 1
    assert ledger.one("SELECT handed_over_at IS NOT NULL FROM ledger.reports WHERE kind = 'daily'")
    assert len(made) == 2
    assert all(connection.closed for connection in made)


def test_a_report_whose_job_failed_is_sent_all_the_same(clockwork: Clockwork, ledger: Ledger) -> None:
    """The next tick gives the delivery another job, once."""
    clockwork.tick(utc(2026, 11, 25, 9))
    ledger.connection.execute("UPDATE jobs.procrastinate_jobs SET status = 'failed'")
    clockwork.tick()
    clockwork.tick()
    jobs = ledger.all("SELECT status::text, task_name FROM jobs.procrastinate_jobs ORDER BY id")
    assert jobs == [("failed", DELIVER_TASK), ("todo", DELIVER_TASK)]


def test_the_house_is_kept(clockwork: Clockwork, ledger: Ledger) -> None:
    """Partitions of this month and the next are there ahead of time; failed jobs are deleted after their days."""
    with connect(ledger.url, "tests", 10) as connection, connection.transaction():
        defer_in(connection, "tests:none", *({"n": n} for n in range(3)))
    first, second, _ = (one for (one,) in ledger.all("SELECT id FROM jobs.procrastinate_jobs ORDER BY id"))
    ledger.connection.execute(
        "UPDATE jobs.procrastinate_jobs SET status = 'failed' WHERE id IN (%s, %s)", (first, second)
    )
    ledger.connection.execute(
        "UPDATE jobs.procrastinate_events SET at = now() - interval '15 days' WHERE job_id = %s", (first,)
    )
    clockwork.tick(utc(2030, 12, 31, 23))
    assert ledger.all("SELECT id FROM jobs.procrastinate_jobs ORDER BY id")[0] == (second,)
    names = ledger.all("SELECT to_regclass('ledger.entries_2030_12'), to_regclass('ledger.entries_2031_01')")
    assert names == [("ledger.entries_2030_12", "ledger.entries_2031_01")]


def test_nothing_is_due_before_the_ledger_begins(ledger: Ledger, report_settings: Settings) -> None:
    """No sink has written yet: no reports, no sweeps, no errors."""
    client = open_redis(report_settings)
    clockwork = Clockwork(ledger, report_settings, client)
    clockwork.tick(utc(2026, 11, 30, 12))
    client.close()
    assert ledger.one("SELECT count(*) FROM ledger.reports") == 0


def test_a_report_that_cannot_be_made_holds_no_other_up(clockwork: Clockwork, ledger: Ledger) -> None:
    """Those of later days are made, and it is tried ever less often; in the end it is made."""
    ledger.connection.execute(
        "INSERT INTO ledger.reports (kind, period_start, period_end, report_date, time_zone, complete, content, "
        "content_sha256, updated_at) VALUES ('daily', '2026-11-24', '2026-11-25', '2026-11-24', 'UTC', true, '{}', "
        "sha256(''), '2026-11-25')"
    )
    made = "SELECT report_date::text FROM ledger.reports WHERE kind = 'daily' AND handed_over_at IS NOT NULL"
    now = utc(2026, 11, 26, 9)
    for minute, failures in ((0, 1), (1, 2), (2, 3), (3, 3), (4, 3), (5, 4)):
        clockwork.tick(now + timedelta(minutes=minute))
        assert clockwork.metric("costledger_scheduler_failures_total", work="reports") == failures
        assert ledger.all(made) == [("2026-11-25",)]
    ledger.connection.execute("DELETE FROM ledger.reports WHERE report_date = '2026-11-24'")
    clockwork.tick(now + timedelta(minutes=15))
    assert ledger.all(f"{made} ORDER BY 1") == [("2026-11-24",), ("2026-11-25",)]


def test_another_time_zone_makes_no_report_again(
    clockwork: Clockwork, ledger: Ledger, report_settings: Settings
) -> None:
    """The report of a day is sent once, in the zone that was set then."""
    clockwork.tick(utc(2026, 11, 25, 12))
    elsewhere = Clockwork(
        ledger, report_settings.model_copy(update={"jobs_time_zone": "Europe/Vienna"}), clockwork.ticker._redis
    )
    elsewhere.tick(utc(2026, 11, 25, 12, 1))
    elsewhere.tick(utc(2026, 11, 26, 12))
    made = ledger.all("SELECT report_date::text, time_zone FROM ledger.reports WHERE kind = 'daily' ORDER BY 1, 2")
    assert made == [("2026-11-24", "UTC"), ("2026-11-25", "Europe/Vienna")]
