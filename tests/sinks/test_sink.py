"""The sink against a real Kafka and a real PostgreSQL: what it does with good, bad and repeated events."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import confluent_kafka
import pytest
from tests.fixtures.fix_kafka import KafkaServer
from tests.fixtures.wait import wait_until
from tests.sinks.conftest import PARTITIONS, Ledger, Running, Topic, make_event, make_settings, random_events

from costledger.schemas.codec import encode_event
from costledger.schemas.events import Category
from costledger.schemas.settings import Settings
from costledger.schemas.topics import TopicNames
from costledger.sinks import sink as sink_module

StartSink = Callable[..., Running]


def written(ledger: Ledger, topic: Topic) -> None:
    """Wait until everything that was produced is accounted for."""
    wait_until(lambda: ledger.consumed() == topic.produced, 40, "all offsets are in the ledger")


def test_every_event_is_in_the_ledger_once(
    settings: Settings, ledger: Ledger, topic: Topic, start_sink: StartSink, seed: int
) -> None:
    """What was produced is in the ledger, event for event, and the roll-ups are its GROUP BY."""
    events = random_events(seed, 3_000)
    topic.send(events)
    sink = start_sink(settings)
    written(ledger, topic)
    assert sink.worker.health() == (True, f"reading {PARTITIONS} partitions of {topic.name}")
    assert sink.stop() == 0
    ledger.assert_holds(events)
    ledger.assert_consistent()
    assert ledger.counters()["unpriced"] == sum(event.amount is None for event in events)


def test_a_rewind_changes_nothing(
    settings: Settings, ledger: Ledger, topic: Topic, start_sink: StartSink, seed: int
) -> None:
    """With all offsets set back to 0, every event is read again, recognised, and counted as a duplicate."""
    events = random_events(seed, 1_000)
    topic.send(events)
    topic.send_raw([(b"u", b"not avro")])
    sink = start_sink(settings)
    written(ledger, topic)
    assert sink.stop() == 0
    totals = ledger.all("SELECT * FROM ledger.hourly_totals ORDER BY 1, 2, 3, 4")
    ledger.connection.execute("UPDATE ledger.sink_offsets SET next_offset = 0")
    sink = start_sink(settings)
    written(ledger, topic)
    assert sink.stop() == 0
    ledger.assert_holds(events)
    ledger.assert_consistent()
    assert ledger.all("SELECT * FROM ledger.hourly_totals ORDER BY 1, 2, 3, 4") == totals
    assert ledger.counters() == {**ledger.counters(), "consumed": 2_002, "inserted": 1_000, "duplicates": 1_000}
    assert ledger.one("SELECT count(*) FROM ledger.quarantine") == 1


def test_a_batch_that_is_produced_five_times_counts_once(
    settings: Settings, ledger: Ledger, topic: Topic, start_sink: StartSink, seed: int
) -> None:
    """A producer's repeats, in one batch or in several, change no total."""
    events = random_events(seed, 300)
    topic.send(events)
    topic.send(events)
    sink = start_sink(settings)
    written(ledger, topic)
    for _ in range(3):
        topic.send(events)
    written(ledger, topic)
    assert sink.stop() == 0
    ledger.assert_holds(events)
    ledger.assert_consistent()
    assert ledger.counters()["duplicates"] == 1_200


def test_batches_are_full_in_a_backlog_and_small_when_little_comes(
    settings: Settings, ledger: Ledger, topic: Topic, start_sink: StartSink, seed: int
) -> None:
    """Few transactions for what waits, and one at once for a single event."""
    transactions = "SELECT count(*) FROM ledger.entries GROUP BY xmin::text ORDER BY 1"
    topic.send(random_events(seed, 5_000))
    sink = start_sink(settings.model_copy(update={"sink_batch_rows_max": 1_000}))
    written(ledger, topic)
    sizes = [size for (size,) in ledger.all(transactions)]
    assert max(sizes) == 1_000
    assert len(sizes) <= 10
    for number in range(5):
        topic.send([make_event(f"late-{number}")])
        written(ledger, topic)
    assert [size for (size,) in ledger.all(transactions)] == sorted([*sizes, 1, 1, 1, 1, 1])
    assert sink.stop() == 0


def test_reading_goes_on_while_a_batch_is_written(
    settings: Settings, ledger: Ledger, topic: Topic, start_sink: StartSink, seed: int
) -> None:
    """What comes during a write is read and made into rows meanwhile: the next write begins at once."""
    held, released = threading.Event(), threading.Event()

    def on_step(step: str) -> None:
        if step == "before_commit":
            held.set()
            released.wait(60)

    topic.send(random_events(seed, 100))
    sink = start_sink(settings, on_step=on_step)
    assert held.wait(40)
    topic.send(random_events(seed + 1, 2_000))
    gathered = sink.worker._gatherer.positions
    wait_until(lambda: sum(gathered().values()) == topic.produced, 40, "all is read")
    assert ledger.consumed() == 0
    released.set()
    written(ledger, topic)
    assert sink.stop() == 0


def test_updates_of_roll_ups_leave_the_indexes_alone(
    settings: Settings, ledger: Ledger, topic: Topic, start_sink: StartSink
) -> None:
    """Also where one transaction updates every row of full pages: the new rows have room beside the old ones (HOT)."""
    now = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    sink = start_sink(settings)
    for _ in range(4):
        topic.send(make_event(f"user-{number}", occurred_at=now) for number in range(1_000))
        written(ledger, topic)
    assert sink.stop() == 0
    updates = "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE schemaname = 'ledger' AND relname = %s"
    for table in ("hourly_totals", "daily_totals"):
        wait_until(
            lambda table=table: ledger.all(updates, table)[0][0] >= 3_000, 20, "PostgreSQL has counted the updates"
        )
        ((all_of_them, hot),) = ledger.all(updates, table)
        assert hot >= 0.99 * all_of_them


def test_bad_events_are_put_aside_and_their_neighbours_land(
    settings: Settings, ledger: Ledger, topic: Topic, start_sink: StartSink
) -> None:
    """Each bad message is in quarantine once with its reason and its bytes; the sink's own dead letters are none."""
    good = [make_event(f"user-{number}") for number in range(50)]
    bad = {
        b"": "undecodable",
        b"rubbish": "undecodable",
        b"\xc3\x01" + bytes(8): "unknown_schema",
        encode_event(good[0].to_record()) + b"\x00": "undecodable",
        bytes(20_000): "oversize",
    }
    ahead = make_event("early", occurred_at=datetime.now(UTC) + timedelta(minutes=15))
    topic.send(good[:25])
    topic.send_raw([(b"k", payload) for payload in bad])
    topic.send_raw([(b"k", None)])
    topic.send([ahead])
    topic.send(good[25:])
    sink = start_sink(settings)
    written(ledger, topic)
    assert sink.stop() == 0
    ledger.assert_holds(good)
    ledger.assert_consistent()
    found = ledger.all("SELECT coalesce(payload, ''), reason, key, dead_letter_pending FROM ledger.quarantine")
    expected = [(payload, reason, b"k", False) for payload, reason in bad.items()]
    expected += [(b"", "undecodable", b"k", False)]
    expected += [(encode_event(ahead.to_record()), "invalid_occurred_at", b"early", False)]
    assert sorted(found) == sorted(expected)
    assert "10 minutes ahead" in ledger.one("SELECT error FROM ledger.quarantine WHERE reason LIKE 'invalid%%'")


def test_another_content_in_any_field_is_a_conflict(
    settings: Settings, ledger: Ledger, topic: Topic, start_sink: StartSink
) -> None:
    """Each field by itself: what is paid for an event never depends on which of two came first without anybody knowing."""
    first = make_event("u", unit_price="0.001", price_version="a", metadata={"a": "b"})
    other = make_event("u")
    changes: dict[str, object] = {
        "user_id": "v",
        "service": "stripe",
        "operation": "other",
        "category": Category.TAX,
        "quantity": first.quantity + 1,
        "unit": "other",
        "unit_price": "0.002",
        "price_version": "b",
        "amount": (first.amount or 0) + 1,
        "occurred_at": first.occurred_at + timedelta(microseconds=1),
        "source": "other",
        "reverses_event_id": other.event_id,
        "metadata": {"a": "c"},
    }
    # All that an event has, but for its id, and the currency, of which there is one.
    assert changes.keys() == {one.name for one in fields(first)} - {"event_id", "currency"}
    topic.send([first])
    sink = start_sink(settings)
    written(ledger, topic)
    topic.send([replace(first, **{name: value}) for name, value in changes.items()])
    written(ledger, topic)
    assert sink.stop() == 0
    ledger.assert_holds([first])
    assert ledger.all("SELECT DISTINCT reason FROM ledger.quarantine") == [("id_conflict",)]
    assert ledger.counters()["quarantined"] == len(changes)


def test_the_same_id_with_another_content_is_a_conflict(
    settings: Settings,
    ledger: Ledger,
    topic: Topic,
    start_sink: StartSink,
    names: TopicNames,
    kafka: KafkaServer,
) -> None:
    """The first one wins; the other is put aside, and goes to the dead-letter topic exactly once."""
    kafka.create_topic(names.dead_letters, PARTITIONS)
    first = make_event("u")
    other = make_event("u", event_id=first.event_id, occurred_at=first.occurred_at, amount=2_000_000_000)
    later = make_event("u", event_id=first.event_id, occurred_at=first.occurred_at, metadata={"request": "r-2"})
    topic.send([first, first, other])
    sink = start_sink(settings)
    written(ledger, topic)
    topic.send([later, first])
    written(ledger, topic)

    def all_sent() -> bool:
        return ledger.all("SELECT count(*), count(dead_lettered_at) FROM ledger.quarantine") == [(2, 2)]

    wait_until(all_sent, 20, "both conflicts are dead letters")
    assert sink.stop() == 0
    ledger.assert_holds([first])
    ledger.assert_consistent()
    assert ledger.counters()["duplicates"] == 2
    letters = read_all(kafka, names.dead_letters, 2)
    assert {message.value() for message in letters} == {encode_event(one.to_record()) for one in (other, later)}
    headers = [dict(message.headers() or []) for message in letters]
    assert {one["reason"] for one in headers} == {b"id_conflict"}
    assert {(one["topic"], one["partition"]) for one in headers} == {
        (topic.name.encode(), str(ledger.one("SELECT max(partition) FROM ledger.quarantine")).encode())
    }


def read_all(kafka: KafkaServer, topic: str, count: int) -> list[confluent_kafka.Message]:
    """So many messages of a topic, and no more."""
    consumer = confluent_kafka.Consumer(
        {"bootstrap.servers": kafka.bootstrap_servers, "group.id": "x", "enable.auto.commit": False}
    )
    try:
        places = [confluent_kafka.TopicPartition(topic, one, 0) for one in range(PARTITIONS)]
        consumer.assign(places)
        found: list[confluent_kafka.Message] = []
        deadline = time.monotonic() + 30
        while len(found) < count and time.monotonic() < deadline:
            found += [one for one in consumer.consume(count - len(found), 1) if one.error() is None]
        found += [one for one in consumer.consume(1, 1) if one.error() is None]
        assert len(found) == count
        return found
    finally:
        consumer.close()


@pytest.mark.parametrize("repeat", [False, True])
def test_rows_that_the_database_refuses_are_found(
    settings: Settings, ledger: Ledger, topic: Topic, start_sink: StartSink, seed: int, repeat: bool
) -> None:
    """A row that breaks a constraint is put aside by itself: all others of the batch land."""
    ledger.connection.execute("ALTER TABLE ledger.entries ADD CONSTRAINT no_put CHECK (operation <> 'refused')")
    events = random_events(seed, 400)
    refused = [make_event(f"user-{number:03d}", operation="refused") for number in range(7)]
    mixed = [*events[:100], *refused[:3], *events[100:350], *refused[3:], *events[350:]]
    topic.send(mixed)
    if repeat:
        topic.send(events[:50])
    sink = start_sink(settings)
    written(ledger, topic)
    assert sink.stop() == 0
    ledger.assert_holds(events)
    ledger.assert_consistent()
    assert ledger.all("SELECT reason, count(*), bool_and(dead_letter_pending) FROM ledger.quarantine GROUP BY 1") == [
        ("data_error", 7, True)
    ]


def test_months_far_apart_have_their_partitions(
    settings: Settings, ledger: Ledger, topic: Topic, start_sink: StartSink
) -> None:
    """History of any month within bounds is taken, and nothing lands in the DEFAULT partition."""
    times = [datetime(2000, 1, 1, tzinfo=UTC), datetime(2013, 7, 9, 12, tzinfo=UTC), datetime(2024, 2, 29, tzinfo=UTC)]
    events = [make_event("u", occurred_at=one) for one in times]
    topic.send(events)
    sink = start_sink(settings)
    written(ledger, topic)
    assert sink.stop() == 0
    ledger.assert_holds(events)
    ledger.assert_consistent()
    assert ledger.one("SELECT count(*) FROM ledger.entries_default") == 0


def test_too_many_bad_events_stop_the_sink(
    kafka: KafkaServer, names: TopicNames, ledger: Ledger, topic: Topic, start_sink: StartSink
) -> None:
    """Past the limit the sink ends with 1 rather than put everything aside; what it refused is not consumed."""
    settings = make_settings(
        kafka, names, ledger.url, sink_bad_window_events=100, sink_bad_share_max=Decimal("0.2"), sink_batch_rows_max=20
    )
    topic.send_raw([(b"k", b"rubbish")] * 60)
    sink = start_sink(settings)
    assert sink.wait(30) == 1
    healthy, reason = sink.worker.health()
    assert not healthy
    assert "may be" in reason
    assert ledger.one("SELECT count(*) FROM ledger.quarantine") <= 20
    assert ledger.consumed() <= 20


def test_transaction_markers_are_gaps_and_aborted_events_are_none(
    settings: Settings, ledger: Ledger, topic: Topic, start_sink: StartSink, kafka: KafkaServer
) -> None:
    """Offsets without a message are counted as skipped, up to the very end; what was aborted is never seen."""
    if kafka.kind == "embedded":
        pytest.skip("the embedded broker's transactions leave no markers")
    events = [make_event("u") for _ in range(20)]
    producer = confluent_kafka.Producer(
        {"bootstrap.servers": kafka.bootstrap_servers, "transactional.id": kafka.unique("t")}
    )
    producer.init_transactions(30)
    for number, event in enumerate(events):
        producer.begin_transaction()
        producer.produce(topic.name, key=b"u", value=encode_event(event.to_record()), partition=0)
        producer.flush(10)
        if number % 4:
            producer.commit_transaction(30)
        else:
            producer.abort_transaction(30)
    sink = start_sink(settings)
    wait_until(lambda: ledger.consumed() == 40, 30, "all offsets, markers too, are accounted for")
    assert sink.stop() == 0
    ledger.assert_holds([event for number, event in enumerate(events) if number % 4])
    ledger.assert_consistent()
    assert ledger.counters()["skipped"] == 25


def test_a_topic_that_was_made_anew_stops_the_sink(
    settings: Settings, ledger: Ledger, topic: Topic, start_sink: StartSink
) -> None:
    """A topic that ends before the ledger's position is never read from its start in silence."""
    topic.send([make_event("u")])
    ledger.connection.execute(
        "INSERT INTO ledger.sink_offsets (topic, partition, next_offset, epoch, first_offset) "
        "SELECT %s, p, 1000, 1, 0 FROM generate_series(0, 3) p",
        (topic.name,),
    )
    sink = start_sink(settings)
    assert sink.wait(30) == 1
    assert "was made anew or lost data" in sink.worker.health()[1]
    assert ledger.one("SELECT count(*) FROM ledger.entries") == 0


def test_what_only_the_collector_frees_is_freed(
    settings: Settings,
    start_sink: StartSink,
    leave_garbage: Callable[[], Callable[[], bool]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A sink has the collector hardly ever come by itself, and calls it."""
    monkeypatch.setattr(sink_module, "COLLECT_SECONDS", 1.0)
    sink = start_sink(settings)
    wait_until(lambda: sink.worker.health()[0], 40, "the sink is at work")
    is_there = leave_garbage()
    assert is_there()
    wait_until(lambda: not is_there(), 20, "the garbage is gone")
    assert sink.stop() == 0
