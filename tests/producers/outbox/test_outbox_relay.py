"""The relay against real services: order, refused rows, several at once, and whatever dies or is away."""

from __future__ import annotations

import random
import signal
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import pytest
from tests.fixtures.fix_kafka import KafkaServer, OwnKafka
from tests.fixtures.fix_postgres import OwnPostgres, PostgresServer
from tests.fixtures.wait import wait_until
from tests.producers.outbox.outbox_cases import TABLE, Service, fill, new_service
from tests.producers.reading import murmur2_partition, read_topic

from costledger.producers.outbox import relay as relay_module
from costledger.producers.outbox import table as table_module
from costledger.producers.outbox.errors import OutboxError
from costledger.producers.outbox.relay import Relay
from costledger.producers.outbox.table import OutboxTable
from costledger.schemas.codec import decode_cost_event
from costledger.schemas.errors import Unavailable

WAIT_SECONDS = 60.0
#: A stop may take so long, whatever is away.
STOP_SECONDS_MAX = 10.0
KILLS = 5


@contextmanager
def running(*relays: Relay) -> Iterator[list[int]]:
    """The relays in threads of their own, stopped at the end; their results."""
    results: list[int] = []
    threads = [threading.Thread(target=lambda one=one: results.append(one.run()), daemon=True) for one in relays]
    for thread in threads:
        thread.start()
    try:
        yield results
    finally:
        for one in relays:
            one.stop()
        for thread in threads:
            thread.join(STOP_SECONDS_MAX)
        assert not any(thread.is_alive() for thread in threads), "a relay does not end when it is told to"


def empty(service: Service) -> bool:
    """Nothing waits."""
    return not service.waiting()


def test_one_relay_keeps_each_users_order(service: Service) -> None:
    """In many small batches, each user's events are in the user's partition in the order in which they were tracked."""
    ids = fill(service, 300)
    relay = Relay(service.settings(), batch_rows=20)
    relay.run_once()
    assert relay.relayed == 300
    messages = read_topic(service.bootstrap_servers, service.topic)
    events = [decode_cost_event(message.value() or b"") for message in messages]
    assert len(events) == 300
    for message, event in zip(messages, events, strict=True):
        assert message.key() == event.user_id.encode()
        assert message.partition() == murmur2_partition(event.user_id.encode(), 4)
    for number in range(7):
        user = f"user-{number}"
        assert [event.event_id for event in events if event.user_id == user] == ids[number::7]


def test_two_relays_share_the_work_without_doubling(service: Service) -> None:
    """Side by side on 4,000 rows: each takes its part, and every event is on the topic exactly once."""
    ids = fill(service, 4000)
    both = threading.Barrier(2, timeout=WAIT_SECONDS)
    met: set[int] = set()

    def meet(step: str) -> None:
        # Each takes its first batch while the other has one in hand.
        if step == "claimed" and threading.get_ident() not in met:
            met.add(threading.get_ident())
            both.wait()

    relays = [Relay(service.settings(), batch_rows=50, on_step=meet) for _ in range(2)]
    with running(*relays) as results:
        wait_until(lambda: empty(service), WAIT_SECONDS, "the outbox is empty")
    assert results == [0, 0]
    assert relays[0].relayed + relays[1].relayed == 4000
    assert min(relay.relayed for relay in relays) >= 50
    assert service.on_topic() == dict.fromkeys(ids, 1)


@pytest.mark.fault
def test_a_killed_service_leaves_no_event_without_its_order_nor_an_order_without_its_event(
    service: Service, seed: int
) -> None:
    """kill -9 at random moments, five times: topic and committed orders are the same set."""
    rng = random.Random(seed)
    for _ in range(KILLS):
        process = service.start(rng.randrange(2**32))
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "tracking\n"
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(rng.uniform(0.0, 0.6))
        finally:
            process.kill()
            process.communicate()
        assert process.returncode == -signal.SIGKILL
    orders = service.orders()
    assert len(orders) > KILLS
    service.relay_all()
    assert service.on_topic() == dict.fromkeys(orders, 1)
    assert empty(service)


@pytest.mark.fault
def test_a_relay_waits_for_a_broker_that_is_away(
    own_kafka: OwnKafka, postgres: PostgresServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Killed while two relays have a batch in hand: one is told to stop and gives its rows back, the other waits.

    When the broker is back, every event arrives.
    """
    service = new_service(postgres.create_database(), own_kafka)
    ids = fill(service, 200)
    claimed = threading.Barrier(2, action=own_kafka.kill, timeout=WAIT_SECONDS)
    killed = threading.Event()

    def kill_once(step: str) -> None:
        if step == "claimed" and not killed.is_set():
            claimed.wait()
            killed.set()

    relay, stopped = (Relay(service.settings(), batch_rows=50, on_step=kill_once) for _ in range(2))
    with running(relay):
        with running(stopped):
            assert killed.wait(WAIT_SECONDS)
        assert "Kafka has not acknowledged every row" in (stopped.trouble or "")
        wait_until(lambda: relay.trouble, WAIT_SECONDS, "the relay knows that Kafka is away")
        assert service.waiting() == ids
        ids += fill(service, 10)
        own_kafka.start()
        wait_until(lambda: empty(service), WAIT_SECONDS, "the outbox is empty")
        wait_until(lambda: relay.trouble is None, WAIT_SECONDS, "the relay knows that Kafka is back")
    assert "nothing is lost" in caplog.text
    assert "relaying again" in caplog.text
    assert (stopped.relayed, relay.relayed) == (0, 210)
    assert set(service.on_topic()) == set(ids)


@pytest.mark.fault
def test_a_relay_waits_for_postgresql(
    own_postgres: OwnPostgres, kafka: KafkaServer, caplog: pytest.LogCaptureFixture
) -> None:
    """Killed while rows are in hand: they come again under the same ids, and none is lost."""
    service = new_service(own_postgres.create_database(), kafka)
    ids = fill(service, 200)
    killed = threading.Event()

    def kill_once(step: str) -> None:
        if step == "delivered" and not killed.is_set():
            own_postgres.kill()
            killed.set()

    relay = Relay(service.settings(), batch_rows=50, on_step=kill_once)
    with running(relay):
        wait_until(lambda: relay.trouble, WAIT_SECONDS, "the relay knows that PostgreSQL is away")
        own_postgres.start()
        wait_until(lambda: relay.trouble is None and empty(service), WAIT_SECONDS, "the outbox is empty")
    assert "PostgreSQL" in caplog.text
    found = service.on_topic()
    assert set(found) == set(ids)
    assert {event_id for event_id, times in found.items() if times > 1} == set(ids[:50])


def test_without_kafka_a_relay_stops_when_told(service: Service) -> None:
    """A batch in hand is given back; its rows stay."""
    ids = fill(service, 10)
    relay = Relay(service.settings(bootstrap_servers="127.0.0.1:9"))
    with running(relay) as results:
        wait_until(lambda: relay.trouble, WAIT_SECONDS, "the relay knows that Kafka is away")
        assert "does not answer" in (relay.trouble or "")
    assert results == [0]
    assert service.waiting() == ids
    with pytest.raises(Unavailable, match="does not answer"):
        Relay(service.settings(bootstrap_servers="127.0.0.1:9")).run_once()


def test_a_missing_topic_is_waited_for(service: Service, kafka: KafkaServer) -> None:
    """The relay names the command that creates it, and goes on when it is there."""
    if kafka.kind == "embedded":
        pytest.skip("the embedded broker creates every topic that is asked for")
    fill(service, 10)
    prefix = f"{kafka.unique('later')}."
    relay = Relay(service.settings(topic_prefix=prefix))
    with running(relay):
        wait_until(lambda: relay.trouble, WAIT_SECONDS, "the relay knows that the topic is missing")
        assert "`costledger topics`" in (relay.trouble or "")
        kafka.create_topic(f"{prefix}cost.events")
        wait_until(lambda: empty(service), WAIT_SECONDS, "the outbox is empty")
    assert relay.relayed == 10


def test_a_missing_table_ends_the_relay(service: Service) -> None:
    """Waiting would not mend it: the error names the command that creates it."""
    relay = Relay(service.settings(outbox_table="elsewhere"))
    with pytest.raises(OutboxError, match="costledger outbox create --table elsewhere"):
        relay.run()


def test_a_row_that_kafka_refuses_stays_and_holds_up_no_other(
    service: Service, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Too large for the broker: it stays in the table, is told, and the rows around it arrive. Too many stop the relay."""
    ids = fill(service, 5)
    with service.connect() as connection:
        connection.execute(
            f"INSERT INTO {TABLE} (event_id, key, value) SELECT gen_random_uuid(), 'u', decode(repeat('00', %s), 'hex')",
            (2_000_000,),
        )
    ids += fill(service, 5)
    relay = Relay(service.settings(), batch_rows=3)
    with running(relay):
        wait_until(lambda: relay.relayed == 10, WAIT_SECONDS, "the other rows are relayed")
    assert len(relay.refused) == len(service.waiting()) == 1
    assert "cannot be sent and stays there" in caplog.text
    assert service.on_topic() == dict.fromkeys(ids, 1)
    monkeypatch.setattr(relay_module, "REFUSED_ROWS_MAX", 0)
    with pytest.raises(OutboxError, match="refuses more than"):
        Relay(service.settings()).run()


def test_rows_that_kafka_refuses_only_together_arrive(service: Service, kafka: KafkaServer) -> None:
    """Where a request of many rows is too large for the topic, each goes alone, and none is put aside."""
    prefix = f"{kafka.unique('narrow')}."
    topic = kafka.create_topic(f"{prefix}cost.events", config={"max.message.bytes": "5000"})
    with service.connect() as connection:
        connection.execute(
            f"INSERT INTO {TABLE} (event_id, key, value) SELECT gen_random_uuid(), 'u', "
            "(SELECT string_agg(uuid_send(gen_random_uuid()), '' ORDER BY n) FROM generate_series(1, size + 0 * row) n) "
            "FROM unnest(array_fill(60, ARRAY[50]) || 400) WITH ORDINALITY AS rows (size, row)"
        )
    relay = Relay(service.settings(topic_prefix=prefix))
    relay.run_once()
    assert relay.relayed == len(read_topic(service.bootstrap_servers, topic)) == 50
    assert len(relay.refused) == len(service.waiting()) == 1


def test_rows_in_anothers_hand_are_left_alone(service: Service) -> None:
    """A locked row is passed over, and no one waits for it; it is relayed when it is free."""
    ids = fill(service, 4)
    with service.connect() as connection:
        connection.execute(f"SELECT id FROM {TABLE} ORDER BY id LIMIT 1 FOR UPDATE")
        assert service.relay_all() == 3
        connection.rollback()
    assert service.relay_all() == 1
    assert service.on_topic() == dict.fromkeys(ids, 1)


def test_a_suspended_relay_loses_its_rows_to_another(
    service: Service, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """PostgreSQL ends its session, so that others can go on; awake again it repeats its batch at most, and works on."""
    ids = fill(service, 20)
    claimed, awake = threading.Event(), threading.Event()

    def suspend_once(step: str) -> None:
        if step == "claimed" and not claimed.is_set():
            claimed.set()
            assert awake.wait(WAIT_SECONDS)

    def relayed() -> bool:
        service.relay_all()
        return empty(service)

    relay = Relay(service.settings(), on_step=suspend_once)
    # Its first session alone is ended so soon.
    monkeypatch.setattr(table_module, "_IDLE_IN_TRANSACTION_SECONDS_MAX", 0.5)
    with running(relay):
        assert claimed.wait(WAIT_SECONDS)
        monkeypatch.undo()
        wait_until(relayed, WAIT_SECONDS, "PostgreSQL has let the rows go")
        awake.set()
        wait_until(lambda: "25P03" in caplog.text, WAIT_SECONDS, "the relay says that its session has ended")
        ids += fill(service, 1)
        wait_until(lambda: relay.relayed == 1, WAIT_SECONDS, "the relay works on")
    found = service.on_topic()
    assert set(found) == set(ids)
    assert (found.total(), max(found.values())) == (41, 2)


def test_creating_the_table_is_repeatable(postgres: PostgresServer) -> None:
    """The second time changes nothing; a table that is no outbox is refused; a missing schema is named."""
    url = postgres.create_database()
    with OutboxTable(url, "events_out", 30) as table:
        assert table.create()
        assert not table.create()
        assert (table.waiting().rows, table.waiting().oldest_at) == (0, None)
    with psycopg.connect(url) as connection:
        connection.execute("CREATE TABLE other (id int)")
    with OutboxTable(url, "other", 30) as table, pytest.raises(OutboxError, match="it is no outbox"):
        table.create()
    with OutboxTable(url, "nowhere.events_out", 30) as table, pytest.raises(OutboxError, match="nowhere"):
        table.create()
