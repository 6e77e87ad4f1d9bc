"""Workers that die, events that are bad, roles that must not: seen from outside."""

from __future__ import annotations

import random
import time
from collections import defaultdict

import psycopg
import pytest
from confluent_kafka import Producer

from costledger.schemas import Settings, encode_event
from costledger.schemas.codec import Codec
from costledger.schemas.ids import new_event_id
from costledger.schemas.periods import PeriodKind, period_at

USD = 10**12
DAY = 86_400_000_000


def producer_of(system) -> Producer:
    """A producer as a service would have one."""
    servers = system.environment["COSTLEDGER_BOOTSTRAP_SERVERS"]
    return Producer({"bootstrap.servers": servers, "partitioner": "murmur2_random", "log_level": 0, "linger.ms": 5})


def record_of(user: str, amount: int | None, occurred_at: int, **changes) -> dict:
    """An event record."""
    return {
        "event_id": str(new_event_id(occurred_at)),
        "user_id": user,
        "service": "openai",
        "operation": "tokens",
        "category": "USAGE",
        "quantity": 10**9,
        "unit": "token",
        "unit_price": "0.1",
        "price_version": "test",
        "amount": amount,
        "currency": "USD",
        "occurred_at": occurred_at,
        "source": "test",
        "reverses_event_id": None,
        "metadata": {},
        **changes,
    }


@pytest.mark.fault
@pytest.mark.slow
def test_ten_thousand_events_through_restarts_and_kills(system, seed) -> None:
    """Stream and sink are stopped twice and killed twice each: emitted = ledger = roll-ups = Redis; alerts once."""
    chance = random.Random(seed)
    producer = producer_of(system)
    topic = f"{system.topic_prefix}cost.events"
    users = [f"user-{number}" for number in range(30)]
    at = time.time_ns() // 1000
    records = []
    stream, sink, _ = system.start_all()

    def emit(count: int) -> None:
        for _ in range(count):
            # Enough for budgets to be reached, also where the two days are of two months.
            amount = chance.choice([1, 10**9, chance.randrange(4 * 10**11)])
            record = record_of(chance.choice(users), amount, at - chance.randrange(2 * DAY))
            records.append(record)
            producer.produce(topic, encode_event(record), record["user_id"].encode())
        assert producer.flush(20) == 0

    def progress() -> tuple[int, int]:
        return system.value("SELECT count(*) FROM ledger.entries"), sum(system.redis_totals().values())

    for end in (system.kill, system.stop, system.stop, system.kill):
        before = progress()
        emit(1500)
        # Both are at work, and neither is done: the fault falls in the middle.
        system.wait_until(
            lambda before=before: all(now > then for now, then in zip(progress(), before, strict=True)), 60, "progress"
        )
        emit(1000)
        end(stream)
        end(sink)
        stream, sink = system.start("stream"), system.start("sink")
    system.await_entries(len(records), 90)
    system.await_reconciled(90)

    emitted: dict[tuple[str, str, str], int] = defaultdict(int)
    for record in records:
        for kind in (PeriodKind.HOUR, PeriodKind.DAY, PeriodKind.MONTH):
            emitted[record["user_id"], kind, period_at(kind, record["occurred_at"]).label] += record["amount"]
    assert system.redis_totals() == emitted
    by_day = {
        (user, "day", day): int(amount * USD)
        for user, day, amount in system.sql(
            "SELECT user_id, to_char(day, 'YYYY-MM-DD'), sum(amount) FROM ledger.daily_totals GROUP BY 1, 2"
        )
    }
    assert by_day == {key: amount for key, amount in emitted.items() if key[1] == "day"}

    defaults = Settings().budget_defaults()
    budget = defaults.monthly_by_tier["default"]
    expected = {
        (user, label, percent)
        for (user, kind, label), total in emitted.items()
        for percent in (75, 90, 100)
        if kind == "month" and total >= budget * percent // 100
    }
    query = (
        "SELECT user_id, to_char(period_start AT TIME ZONE 'UTC', 'YYYY-MM'), threshold_percent::int "
        "FROM ledger.alerts WHERE kind = 'BUDGET_THRESHOLD'"
    )
    system.wait_until(lambda: len(system.sql(query)) >= len(expected), 30, "alerts")
    rows = system.sql(query)
    assert len(rows) == len(set(rows))
    assert set(rows) == expected != set()


def test_what_must_be_refused_is_explained_and_its_neighbours_land(system) -> None:
    """Six kinds of bad events end in quarantine and on the dead-letter topic, each once, with a reason."""
    producer = producer_of(system)
    topic = f"{system.topic_prefix}cost.events"
    at = time.time_ns() // 1000
    raw = record_of("ann", USD, at)
    # Past the bounds that encoding checks, as a foreign emitter may be.
    codec_only = Codec("cost_event", with_logical_types=False).encode
    next_year = at + 366 * DAY
    bad = {
        "undecodable": b"rubbish",
        "unknown_schema": b"\xc3\x01" + b"\x07" * 8 + b"rubbish",
        "invalid_user_id": codec_only({**raw, "user_id": ""}),
        "invalid_metadata": codec_only({**raw, "metadata": {"k": "x" * 5000}}),
        "invalid_amount": codec_only({**raw, "amount": 9_000_001 * USD}),
        "invalid_occurred_at": codec_only({**raw, "event_id": str(new_event_id(next_year)), "occurred_at": next_year}),
    }
    good = []
    for value in bad.values():
        good += (record_of("ann", USD, at), record_of("ann", 2 * USD, at))
        producer.produce(topic, encode_event(good[-2]), b"ann")
        producer.produce(topic, value, b"ann")
        producer.produce(topic, encode_event(good[-1]), b"ann")
    assert producer.flush(20) == 0
    system.start_all()
    system.await_entries(len(good))
    quarantine = "SELECT reason, error FROM ledger.quarantine"
    system.wait_until(lambda: len(system.sql(quarantine)) >= len(bad), 30, "quarantine")
    rows = dict(system.sql(quarantine))
    assert len(system.sql(quarantine)) == len(bad)
    assert set(rows) == set(bad)
    assert "at most 4096 bytes" in rows["invalid_metadata"]
    assert "10 minutes ahead of the broker's clock" in rows["invalid_occurred_at"]
    assert "user_id" in rows["invalid_user_id"]
    report = system.await_reconciled()
    assert report["quarantined"] == len(bad)
    listed = system.run_json("quarantine", "list")
    assert {row["reason"] for row in listed["messages"]} == set(bad)


def test_an_analyst_reads_the_views_and_nothing_else(system) -> None:
    """The role costledger_analyst can select from every view, and neither write nor read a table."""
    system.start_all()
    system.run(
        "emit", "--user", "ann", "--service", "aws-rekognition", "--operation", "detectLabels", "--quantity", "5"
    )
    system.await_entries(1)
    for view in ("costs", "costs_hourly", "costs_daily", "focus", "budgets", "alerts", "completeness"):
        system.sql(f"SELECT * FROM analyst.{view}", user="costledger_analyst")
    assert system.sql("SELECT sum(amount) FROM analyst.costs", user="costledger_analyst")[0][0] * 1000 == 5
    for forbidden in (
        "SELECT 1 FROM ledger.entries",
        "INSERT INTO ledger.entries DEFAULT VALUES RETURNING 1",
        "SELECT 1 FROM ledger.quarantine",
        "DELETE FROM analyst.costs RETURNING 1",
        "UPDATE analyst.budgets SET user_id = 'x' RETURNING 1",
        "CREATE TABLE public.mine (x int)",
        "CREATE TEMP TABLE mine (x int)",
    ):
        refused = (psycopg.errors.InsufficientPrivilege, psycopg.errors.ObjectNotInPrerequisiteState)
        with pytest.raises(refused):
            system.sql(forbidden, user="costledger_analyst")
