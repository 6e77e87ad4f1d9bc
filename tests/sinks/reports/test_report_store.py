"""A report is made once: stored, cached, the same for whoever asks, until it is made anew on purpose."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from typing import Any

import psycopg
import pytest
import redis
from tests.fixtures.fix_kafka import KafkaServer
from tests.sinks.conftest import PARTITIONS, Ledger, Topic, make_event
from tests.sinks.reports.report_model import begin, fill, microseconds, utc

from costledger.schemas.errors import InvalidValue
from costledger.schemas.redis_keys import report_key
from costledger.schemas.settings import Settings
from costledger.schemas.topics import TopicNames
from costledger.sinks.database import connect
from costledger.sinks.reports import (
    Report,
    ReportKind,
    StoredReport,
    get_report,
    list_reports,
    make_due_report,
    making,
    read_stored,
    report_period,
)
from costledger.sinks.reports.document import digest, to_document
from costledger.sinks.reports.reading import read_report
from costledger.sinks.reports.rendering import render
from costledger.sinks.reports.store import cache_owed, cached_report, open_redis

DAY = date(2026, 11, 22)
PERIOD = report_period(ReportKind.DAILY, DAY, "UTC")
DUE = microseconds(2026, 11, 23, 9)
LATER = microseconds(2026, 11, 23, 12)
KEY = report_key("daily", "2026-11-22")


class Desk:
    """Somebody who asks for the report of a day."""

    def __init__(self, ledger: Ledger, settings: Settings) -> None:
        self.settings = settings
        self.ledger = ledger
        self.connection = connect(ledger.url, "tests", 10)
        self.redis = open_redis(settings)

    def ask(self, now_us: int = LATER, **other: Any) -> StoredReport:
        return get_report(self.connection, self.redis, self.settings, PERIOD, now_us, **other)

    def spend(self, amount: int) -> None:
        """One more event of the day, which is the only one that there is then."""
        self.ledger.connection.execute("ALTER TABLE ledger.entries DISABLE TRIGGER USER")
        fill(self.ledger, [make_event("u", amount=amount, occurred_at=utc(2026, 11, 22, 12))])

    def close(self) -> None:
        self.connection.close()
        self.redis.close()


@pytest.fixture
def desk(kafka: KafkaServer, names: TopicNames, ledger: Ledger, redis_url: str) -> Iterator[Desk]:
    """A ledger with one event of the day, which has all of Kafka."""
    prefix = names.events.removesuffix("cost.events")
    settings = Settings(
        bootstrap_servers=kafka.bootstrap_servers, topic_prefix=prefix, database_url=ledger.url, redis_url=redis_url
    )
    begin(ledger, utc(2026, 11, 1), names.events, PARTITIONS)
    found = Desk(ledger, settings)
    found.spend(3 * 10**12)
    yield found
    found.close()


def test_a_stored_report_stays_as_it_was_made(desk: Desk) -> None:
    """Late events change nothing until it is made anew; ledger, Redis and every asker have the same, each revision."""
    first = desk.ask()
    assert (first.revision, first.report.totals.amount, first.report.watermark.complete) == (1, 3 * 10**12, True)
    desk.spend(10**12)
    assert desk.ask() == first
    assert make_due_report(desk.connection, desk.settings, PERIOD, LATER) == first
    assert cached_report(desk.redis, PERIOD) == read_stored(desk.connection, None, PERIOD) == first
    assert json.loads(render(first, "json"))["totals"]["total"] == "3.00"
    second = desk.ask(refresh=True)
    assert (second.revision, second.report.totals.amount) == (2, 4 * 10**12)
    assert second.made_at > first.made_at
    assert desk.ask() == cached_report(desk.redis, PERIOD) == second
    content, kept = desk.ledger.all("SELECT content, content_sha256 FROM ledger.reports")[0]
    assert content == to_document(second.report)
    assert kept == digest(content)
    assert 29 * 86_400 < int(desk.redis.ttl(KEY)) <= 30 * 86_400  # type: ignore[arg-type]  # a client that is not async
    (entry,) = list_reports(desk.connection)
    assert (entry.kind, entry.date, entry.revision, entry.total) == ("daily", "2026-11-22", 2, "4.00")
    assert list_reports(desk.connection, ReportKind.WEEKLY) == []


def test_what_is_asked_for_too_early_is_not_stored(desk: Desk) -> None:
    """Before the time of the report it is provisional; while the day lasts there is none."""
    early = desk.ask(DUE - 1)
    assert (early.revision, early.report.totals.amount) == (0, 3 * 10**12)
    assert "Provisional" in render(early, "text")
    assert desk.ask(DUE - 1, refresh=True).revision == 0
    assert desk.ledger.one("SELECT count(*) FROM ledger.reports") == 0
    assert desk.redis.get(KEY) is None
    assert desk.ask(DUE).revision == 1
    with pytest.raises(InvalidValue, match="over"):
        desk.ask(PERIOD.end_us - 1)


def test_a_ledger_that_is_behind_is_waited_for(desk: Desk, topic: Topic) -> None:
    """What Kafka had received must be there; after an hour the job makes the report, marked; by hand it is not stored."""
    topic.send([make_event("u", amount=1)])
    # The message came now, which is after the day in question or before it, depending on the clock of the test.
    now = desk.ledger.one("SELECT now()")
    period = report_period(ReportKind.DAILY, now.date(), "UTC").before()
    coming = report_period(ReportKind.DAILY, now.date(), "UTC")
    due = coming.end_us + 9 * 3_600_000_000

    def by_hand(of: Any, at_us: int) -> StoredReport:
        return get_report(desk.connection, desk.redis, desk.settings, of, at_us)

    assert by_hand(period, due).report.watermark.complete
    behind = by_hand(coming, due)
    assert (behind.revision, behind.report.watermark.complete, behind.report.watermark.missing) == (0, False, 1)
    assert make_due_report(desk.connection, desk.settings, coming, due + 3_599_000_000) is None
    made = make_due_report(desk.connection, desk.settings, coming, due + 3_600_000_000)
    assert made is not None
    assert (made.revision, made.report.watermark.complete) == (1, False)
    assert "Incomplete" in render(made, "html")
    assert by_hand(coming, due + 3_700_000_000) == made
    desk.ledger.connection.execute("UPDATE ledger.sink_offsets SET next_offset = 1")
    anew = get_report(desk.connection, desk.redis, desk.settings, coming, due, refresh=True)
    assert (anew.revision, anew.report.watermark.complete) == (2, True)


def test_without_kafka_nobody_knows(desk: Desk) -> None:
    """The report says so, and is not stored by hand."""
    settings = desk.settings.model_copy(update={"topic_prefix": "nothing-there."})
    found = get_report(desk.connection, desk.redis, settings, PERIOD, LATER)
    assert (found.revision, found.report.watermark.complete, found.report.watermark.missing) == (0, False, None)
    assert "Kafka" in (found.report.watermark.problem or "")


def test_redis_gets_what_it_is_owed(desk: Desk) -> None:
    """Away while a report is made anew: the old copy is replaced later, not served for ever."""
    desk.ask()
    desk.spend(10**12)
    with redis.Redis.from_url("redis://127.0.0.1:1") as away:
        anew = get_report(desk.connection, away, desk.settings, PERIOD, LATER, refresh=True)
        assert read_stored(desk.connection, away, PERIOD) == anew
        with pytest.raises(redis.RedisError):
            cache_owed(desk.connection, away, desk.settings)
    assert cache_owed(desk.connection, desk.redis, desk.settings) == 1
    assert cached_report(desk.redis, PERIOD) == anew
    assert cache_owed(desk.connection, desk.redis, desk.settings) == 0


def test_a_copy_that_is_not_right_is_not_served(desk: Desk) -> None:
    """Redis may hold anything: then the report comes from the ledger. Nor is it that of a day of another zone."""
    stored = desk.ask()
    kept = str(desk.redis.get(KEY))
    vienna = report_period(ReportKind.DAILY, DAY, "Europe/Vienna")
    assert cached_report(desk.redis, vienna) is None
    assert read_stored(desk.connection, desk.redis, vienna) is None
    for damaged in ("", "[]", "no JSON", "{}", kept.replace('"3.00"', '"4.00"')):
        desk.redis.set(KEY, damaged)
        assert cached_report(desk.redis, PERIOD) is None
        assert read_stored(desk.connection, desk.redis, PERIOD) == stored


def test_of_many_that_make_it_at_once_one_is_stored(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight that all have found none: all get the very same report."""
    together = threading.Barrier(8)

    def read_together(*arguments: Any) -> Report:
        together.wait(20)
        return read_report(*arguments)

    monkeypatch.setattr(making, "read_report", read_together)

    def ask(_number: int) -> StoredReport:
        with connect(desk.ledger.url, "tests", 10) as connection:
            return get_report(connection, desk.redis, desk.settings, PERIOD, LATER)

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(ask, range(8)))
    assert all(one == found[0] for one in found)
    assert found[0].revision == 1
    assert desk.ledger.one("SELECT count(*) FROM ledger.reports") == 1


def test_the_database_guards_reports(desk: Desk) -> None:
    """The writer cannot delete one; the analyst reads them in a view."""
    desk.ask()
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        desk.connection.execute("DELETE FROM ledger.reports")
    analyst = desk.ledger.connection
    with analyst.transaction():
        analyst.execute("SET LOCAL ROLE costledger_analyst")
        rows = analyst.execute("SELECT kind, report_date, content -> 'totals' ->> 'total' FROM analyst.reports")
        assert rows.fetchall() == [("daily", DAY, "3.00")]
