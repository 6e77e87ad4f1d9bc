"""Reconcile finds every difference, and only differences."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
import redis
from tests.fixtures.wait import wait_until
from tests.sinks.conftest import Ledger, Running, Topic, make_event, random_events

from costledger.deploy.commands.reconcile import show
from costledger.schemas.budgets import Budget
from costledger.schemas.events import CostEvent
from costledger.schemas.periods import PeriodKind, period_at
from costledger.schemas.settings import Settings
from costledger.schemas.times import to_microseconds
from costledger.sinks.budgets import save_budget
from costledger.sinks.reconcile import Report, reconcile
from costledger.sinks.reconcile import run as reconcile_run


@pytest.fixture
def events(
    settings: Settings, ledger: Ledger, topic: Topic, start_sink: Callable[..., Running], seed: int
) -> list[CostEvent]:
    """Events in the ledger, with duplicates and quarantined messages beside them."""
    events = random_events(seed, 500)
    topic.send([*events, *events[:20]])
    topic.send_raw([(b"k", b"rubbish")] * 3)
    conflict = replace(events[0], source="another")
    topic.send([conflict])
    sink = start_sink(settings)
    wait_until(lambda: ledger.consumed() == topic.produced, 30, "all offsets are in the ledger")
    assert sink.stop() == 0
    return events


def put(ledger: Ledger, change: str, values: tuple[int, ...] = ()) -> None:
    """Put in a copy of the first priced entry by id, with the last one, and `change`; the roll-ups know of it."""
    with ledger.connection.transaction():
        ledger.connection.execute(
            "CREATE TEMP TABLE one ON COMMIT DROP AS SELECT * FROM ledger.entries WHERE amount > 0 ORDER BY event_id LIMIT 1"
        )
        ledger.connection.execute(
            f"UPDATE one SET event_id = overlay(gen_random_uuid()::text PLACING 'ffffffff' FROM 1)::uuid, {change}".encode(),
            values,
        )
        ledger.connection.execute("INSERT INTO ledger.entries SELECT * FROM one")
        for table, bucket in (("hourly_totals", "hour"), ("daily_totals", "day")):
            at = (
                "date_trunc('hour', one.occurred_at, 'UTC')"
                if bucket == "hour"
                else "(one.occurred_at AT TIME ZONE 'UTC')::date"
            )
            ledger.connection.execute(
                f"UPDATE ledger.{table} AS t SET events = t.events + 1, quantity = t.quantity + one.quantity, "
                "amount = t.amount + one.amount FROM one WHERE (t.user_id, t.service, t.operation) = "
                f"(one.user_id, one.service, one.operation) AND t.{bucket} = {at}".encode()
            )


def tamper(ledger: Ledger, statement: str) -> None:
    """Do what nobody may: with the triggers off, as a superuser."""
    ledger.connection.execute("SET session_replication_role = replica")
    ledger.connection.execute(statement.encode())
    ledger.connection.execute("RESET session_replication_role")


def differing(report: Report) -> dict[str, tuple[int, int]]:
    """Number and size of the differences, by check."""
    return {
        check.name: (check.differences, check.difference_picodollars) for check in report.checks if check.differences
    }


def test_a_whole_ledger_reconciles(settings: Settings, ledger: Ledger, topic: Topic, events: list[CostEvent]) -> None:
    """Nothing differs, and every offset is accounted for."""
    lines: list[str] = []
    report = reconcile(settings, lines.append, wait_seconds=5, with_redis=False)
    assert report.ok
    found = report.to_dict()
    assert found["watermark"] == dict(
        ledger.all("SELECT partition::text, next_offset FROM ledger.sink_offsets ORDER BY partition")
    )
    wanted = {
        "consumed": 524,
        "compared": 524,
        "inserted": 500,
        "duplicates": 20,
        "quarantined": 4,
        "skipped": 0,
        "missing": 0,
        "lag": 0,
        "difference_picodollars": 0,
        "unpriced": sum(event.amount is None for event in events),
    }
    assert {name: found[name] for name in wanted} == wanted
    assert len(lines) >= 5


def test_people_are_told_what_became_of_every_offset(
    settings: Settings, events: list[CostEvent], capsys: pytest.CaptureFixture[str]
) -> None:
    """The text names gaps beside duplicates, quarantined, unpriced and missing, for each partition and in the last line."""
    report = reconcile(settings, with_redis=False)
    report.partitions[0].skipped = 4321
    show(report)
    shown = capsys.readouterr().out
    for name in ("watermark", "lag", "missing", "inserted", "duplicates", "quarantined", "gaps", "unpriced"):
        assert name in shown.splitlines()[1].split()
    assert "4321" in shown.splitlines()[2].split()
    assert ", 4321 gaps," in shown.splitlines()[-1]


def test_lag_is_told_and_is_no_difference(
    settings: Settings, ledger: Ledger, topic: Topic, events: list[CostEvent]
) -> None:
    """What the sink has not read yet is lag."""
    topic.send([make_event("u")] * 3)
    report = reconcile(settings, with_redis=False)
    assert report.ok
    assert report.total("lag") == 3


def test_a_dropped_row_is_found(settings: Settings, ledger: Ledger, events: list[CostEvent]) -> None:
    """A missing entry is a missing offset, and the roll-ups and counters no longer agree with the ledger."""
    event = next(event for event in events[20:] if event.amount)
    tamper(ledger, f"DELETE FROM ledger.entries WHERE event_id = '{event.event_id}'")
    report = reconcile(settings, with_redis=False)
    assert not report.ok
    size = abs(event.amount or 0)
    assert differing(report) == {"topic_ledger": (1, size), "counters": (1, 0), "ledger_hourly": (1, size)}
    assert report.total("missing") == 1
    assert sum(len(offsets) for offsets in report.to_dict()["missing_offsets"].values()) == 1


def test_a_doubled_row_is_found(settings: Settings, ledger: Ledger, events: list[CostEvent]) -> None:
    """A second entry for one message is found, though its id is new."""
    event = next(event for event in events if event.amount)
    columns = ", ".join(
        name
        for (name,) in ledger.all(
            "SELECT attname FROM pg_attribute WHERE attrelid = 'ledger.entries'::regclass AND attnum > 0"
        )
        if name != "event_id"
    )
    tamper(
        ledger,
        f"INSERT INTO ledger.entries (event_id, {columns}) SELECT gen_random_uuid(), {columns} FROM ledger.entries "
        f"WHERE event_id = '{event.event_id}'",
    )
    size = abs(event.amount or 0)
    found = differing(reconcile(settings, with_redis=False))
    assert found.pop("topic_ledger")[0] >= 1
    assert found == {"counters": (1, 0), "ledger_hourly": (1, size)}


@pytest.mark.parametrize(
    ("table", "wanted"),
    [
        ("entries", {"topic_ledger": (1, 1), "ledger_hourly": (1, 1)}),
        ("hourly_totals", {"ledger_hourly": (1, 1), "hourly_daily": (1, 1)}),
        ("daily_totals", {"hourly_daily": (1, 1)}),
    ],
)
def test_one_picodollar_is_found(
    settings: Settings, ledger: Ledger, events: list[CostEvent], table: str, wanted: dict[str, tuple[int, int]]
) -> None:
    """A single 1e-12 USD, in any place, is a difference of exactly that."""
    # An entry that the topic has twice would differ twice.
    repeated = ", ".join(f"'{event.event_id}'" for event in events[:20])
    once = f"AND event_id NOT IN ({repeated})" if table == "entries" else ""
    tamper(
        ledger,
        f"UPDATE ledger.{table} SET amount = amount + 0.000000000001 WHERE (tableoid, ctid) = "
        f"(SELECT tableoid, ctid FROM ledger.{table} WHERE amount > 0 {once} LIMIT 1)",
    )
    report = reconcile(settings, with_redis=False)
    assert differing(report) == wanted
    assert report.difference_picodollars == sum(size for _, size in wanted.values())


@pytest.mark.parametrize("table", ["hourly_totals", "daily_totals"])
@pytest.mark.parametrize("column", ["events", "unpriced", "quantity", "amount", "max_amount"])
def test_every_column_of_a_roll_up_is_compared(
    settings: Settings, ledger: Ledger, events: list[CostEvent], table: str, column: str
) -> None:
    """One row has a thousand too many, or a thousand USD: more than any one event."""
    wanted = {"hourly_totals": {"ledger_hourly", "hourly_daily"}, "daily_totals": {"hourly_daily"}}
    ledger.connection.execute(
        f"UPDATE ledger.{table} SET {column} = coalesce({column}, 0) + 1000 WHERE ctid = "
        f"(SELECT ctid FROM ledger.{table} LIMIT 1)".encode()
    )
    assert differing(reconcile(settings, with_redis=False)).keys() == wanted[table]


#: What the position of a partition says, changed, and the words that name it.
POSITIONS = {
    "duplicates-for-gaps": ("duplicates = duplicates + 3, skipped = skipped - 3", "counted as gaps, the topic has 0"),
    "quarantined-for-gaps": ("quarantined = quarantined + 1, skipped = skipped - 1", "counted as quarantined"),
    "unpriced": ("unpriced = unpriced + 5", "counted as unpriced"),
    "less-consumed": ("consumed = consumed - 1, duplicates = duplicates - 1", "consumed, and offsets"),
    "begun-later": ("first_offset = e.first + 1", "entries at offsets that were never passed"),
    "ended-before": (
        "next_offset = e.last, consumed = e.last - first_offset",
        "entries at offsets that were never passed",
    ),
}


@pytest.mark.parametrize(("change", "told"), POSITIONS.values(), ids=POSITIONS.keys())
def test_a_counter_that_is_wrong_is_found(
    settings: Settings, ledger: Ledger, events: list[CostEvent], change: str, told: str
) -> None:
    """Also where the sum of all of them is right: each is held against what it counts."""
    ledger.connection.execute(
        f"UPDATE ledger.sink_offsets AS o SET {change} FROM (SELECT kafka_partition, min(kafka_offset) AS first, "
        "max(kafka_offset) AS last FROM ledger.entries GROUP BY 1 ORDER BY 1 LIMIT 1) AS e "
        "WHERE o.partition = e.kafka_partition".encode()
    )
    report = reconcile(settings, with_redis=False)
    assert not report.ok
    assert told in "\n".join(next(check.examples for check in report.checks if check.name == "positions"))


#: Where an entry is put: partition, offset.
NOWHERE = {"behind-the-end": (0, 10**12), "before-the-beginning": (0, -5)}


@pytest.mark.parametrize("place", NOWHERE.values(), ids=NOWHERE.keys())
def test_an_entry_where_the_topic_has_nothing_is_found(
    settings: Settings, ledger: Ledger, events: list[CostEvent], place: tuple[int, int]
) -> None:
    """Roll-ups and counters agree with it: it is its place that gives it away."""
    put(ledger, "kafka_partition = %s, kafka_offset = %s", place)
    report = reconcile(settings, with_redis=False)
    found = {check.name: check.difference_picodollars for check in report.checks if check.differences}
    assert found["positions"] > 0


def test_a_position_where_the_topic_has_no_partition_is_found(
    settings: Settings, ledger: Ledger, events: list[CostEvent]
) -> None:
    """With an entry of it, and counters that say so."""
    put(ledger, "kafka_partition = 99, kafka_offset = 0, recorded_at = now()")
    ledger.connection.execute(
        "INSERT INTO ledger.sink_offsets (topic, partition, next_offset, epoch, first_offset, consumed, inserted, since) "
        "SELECT topic, 99, 1, 1, 0, 1, 1, now() - interval '1 hour' FROM ledger.sink_offsets LIMIT 1"
    )
    report = reconcile(settings, with_redis=False)
    assert differing(report).keys() == {"positions"}
    assert any("the topic has no such partition" in line for check in report.checks for line in check.examples)


def test_what_cannot_be_compared_is_told(
    settings: Settings, ledger: Ledger, events: list[CostEvent], capsys: pytest.CaptureFixture[str]
) -> None:
    """Entries of another topic, and those from before the positions were kept: no differences, and nothing to be silent of."""
    assert reconcile(settings, with_redis=False).to_dict()["uncompared"] == {
        "earlier": 0,
        "other_topics": {},
        "passed_again": 0,
    }
    put(ledger, "kafka_topic = 'elsewhere'")
    put(ledger, "kafka_partition = 99")
    put(ledger, "kafka_partition = 0, kafka_offset = 300, recorded_at = now() - interval '1 day'")
    ledger.connection.execute(
        "UPDATE ledger.sink_offsets SET consumed = consumed + 2, duplicates = duplicates + 2 WHERE partition = 0"
    )
    report = reconcile(settings, with_redis=False)
    assert report.ok
    assert report.to_dict()["uncompared"] == {"earlier": 2, "other_topics": {"elsewhere": 1}, "passed_again": 2}
    show(report)
    said = capsys.readouterr().out
    assert "not compared: 1 entries of topic elsewhere" in said
    assert "not compared: 2 entries from before" in said
    assert "counted twice: 2 offsets" in said


def test_what_differs_is_named(settings: Settings, ledger: Ledger, events: list[CostEvent]) -> None:
    """Of a priced entry whose amount was changed the amount alone: its unit price, a number there and text here, is the same."""
    repeated = ", ".join(f"'{event.event_id}'" for event in events[:20])
    tamper(
        ledger,
        "UPDATE ledger.entries SET amount = amount + 0.000000000001 WHERE (tableoid, ctid) = (SELECT tableoid, ctid "
        f"FROM ledger.entries WHERE amount > 0 AND unit_price IS NOT NULL AND event_id NOT IN ({repeated}) LIMIT 1)",
    )
    report = reconcile(settings, with_redis=False)
    (told,) = next(check.examples for check in report.checks if check.name == "topic_ledger")
    assert "ledger and topic differ in amount (" in told


def test_a_forgotten_quarantine_row_is_found(settings: Settings, ledger: Ledger, events: list[CostEvent]) -> None:
    """A message that is nowhere is missing, a conflict as well as rubbish."""
    ledger.connection.execute("DELETE FROM ledger.quarantine")
    report = reconcile(settings, with_redis=False)
    assert differing(report)["topic_ledger"][0] == 4
    assert report.total("missing") == 4


def test_positions_that_were_forgotten_start_over(
    settings: Settings, ledger: Ledger, topic: Topic, events: list[CostEvent], start_sink: Callable[..., Running]
) -> None:
    """Read again from the start, everything is a duplicate, and still reconciles."""
    ledger.connection.execute("DELETE FROM ledger.sink_offsets")
    start_sink(settings)
    wait_until(lambda: ledger.consumed() == topic.produced, 30, "all offsets are accounted for again")
    report = reconcile(settings, with_redis=False)
    assert differing(report) == {}
    assert report.total("duplicates") == 520


def fill_redis(client: redis.Redis, events: Iterable[CostEvent], zones: dict[str, str]) -> None:
    """What the stream app would hold of events within the horizon."""
    totals: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for event in events:
        for kind in (PeriodKind.HOUR, PeriodKind.DAY, PeriodKind.MONTH):
            period = period_at(kind, to_microseconds(event.occurred_at), zones.get(event.user_id, "UTC"))
            fields = totals[f"costledger:{{{event.user_id}}}:total:{kind}:{period.label}"]
            for name in ("total", f"service:{event.service}", f"operation:{event.service}/{event.operation}"):
                fields[name] += event.amount or 0
    for key, fields in totals.items():
        client.hset(key, mapping={**fields, "updated_at": "2026-11-23T09:00:00Z", "offset": "41", "epoch": "7"})


@pytest.fixture
def with_redis(settings: Settings, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> tuple[Settings, redis.Redis]:
    """Settings with this test's Redis; differences are final at once."""
    monkeypatch.setattr(reconcile_run, "REDIS_SECONDS_MAX", 0.0)
    return Settings(**{**settings.model_dump(), "redis_url": redis_url}), redis.Redis.from_url(redis_url)


def test_redis_reconciles_in_every_zone(
    with_redis: tuple[Settings, redis.Redis],
    ledger: Ledger,
    topic: Topic,
    events: list[CostEvent],
    start_sink: Callable[..., Running],
) -> None:
    """Totals in the zone of each user's budget agree; history is not expected; a picodollar or a lost key is found."""
    settings, client = with_redis
    with client:
        zones = {"user-001": "Asia/Kolkata", "user-002": "America/St_Johns", "user-003": "Pacific/Auckland"}
        for user, time_zone in zones.items():
            save_budget(ledger.connection, Budget(user_id=user, time_zone=time_zone))
        old = datetime.now(UTC) - timedelta(days=41)
        topic.send([make_event("user-001", occurred_at=old)])
        sink = start_sink(settings)
        wait_until(lambda: ledger.consumed() == topic.produced, 30, "the old event is in the ledger")
        assert sink.stop() == 0
        fill_redis(client, events, zones)
        client.set("costledger:something-else", "1")
        report = reconcile(settings)
        assert differing(report) == {}
        assert report.checks[-1].compared > 100

        key = next(iter(client.scan_iter(match="costledger:{user-00*}:total:month:*")))
        client.hincrby(key, "total", 1)
        assert differing(reconcile(settings)) == {"redis": (1, 1)}
        client.hincrby(key, "total", -1)

        recent = max((event for event in events if event.amount), key=lambda event: event.occurred_at)
        hour = period_at(PeriodKind.HOUR, to_microseconds(recent.occurred_at), zones.get(recent.user_id, "UTC"))
        client.delete(f"costledger:{{{recent.user_id}}}:total:hour:{hour.label}")
        found = differing(reconcile(settings))
        assert list(found) == ["redis"]
        assert found["redis"][0] == 1
