"""The sink when something dies: itself, another sink, PostgreSQL."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from typing import Any, get_args

import psycopg
import pytest
from confluent_kafka import Consumer, KafkaException, TopicPartition
from tests.fixtures.fix_kafka import KafkaServer
from tests.fixtures.fix_postgres import OwnPostgres
from tests.fixtures.wait import wait_until
from tests.sinks.conftest import PARTITIONS, Ledger, Running, Topic, make_event, make_settings, random_events

from costledger.schemas.codec import encode_event
from costledger.schemas.errors import Unavailable
from costledger.schemas.event_reading import ReadEvent, read_event
from costledger.schemas.fail_points import FAIL_AT, FLAG
from costledger.schemas.settings import Settings
from costledger.schemas.topics import TopicNames
from costledger.sinks import batch, intake, rows
from costledger.sinks.migrations import migrate
from costledger.sinks.writer import Step

pytestmark = pytest.mark.fault
StartSink = Callable[..., Running]
StartProcess = Callable[..., subprocess.Popen[bytes]]


def static(settings: Settings, **other: object) -> Settings:
    """With static membership, so that a restart need not wait for the session of the dead."""
    return settings.model_copy(update={"sink_instance_id": "one", **other})


@pytest.mark.parametrize("step", get_args(Step))
def test_a_sink_killed_at_any_step_loses_and_doubles_nothing(
    settings: Settings, ledger: Ledger, topic: Topic, start_process: StartProcess, seed: int, step: Step
) -> None:
    """After a kill -9 at each step of a write, the next sink finishes the work: every event once."""
    settings = static(settings, sink_batch_rows_max=300)
    events = random_events(seed, 1_500)
    topic.send(events)
    topic.send_raw([(b"u", b"rubbish")])
    killed = start_process(settings, {FLAG: "1", FAIL_AT: f"sink.{step}:{1 + seed % 3}"})
    assert killed.wait(60) == -signal.SIGKILL
    ledger.assert_consistent()
    assert ledger.consumed() <= 900
    start_process(settings)
    wait_until(lambda: ledger.consumed() == topic.produced, 60, "all offsets are in the ledger")
    ledger.assert_holds(events)
    ledger.assert_consistent()
    assert ledger.one("SELECT count(*) FROM ledger.quarantine") == 1
    assert ledger.counters()["duplicates"] == 0


@pytest.mark.slow
@pytest.mark.long
def test_a_sink_killed_at_random_moments_loses_and_doubles_nothing(
    settings: Settings, ledger: Ledger, topic: Topic, start_process: StartProcess, seed: int
) -> None:
    """Killed again and again while events arrive; the roll-ups are right in every snapshot."""
    rng = random.Random(seed)
    settings = static(settings, sink_batch_rows_max=500)
    events = random_events(seed, 12_000)
    for at in range(0, 12_000, 3_000):
        # New events for each life of the sink, so that each has something to be killed in.
        before = ledger.consumed()
        topic.send(events[at : at + 3_000])
        process = start_process(settings)
        wait_until(lambda before=before: ledger.consumed() > before, 60, "the sink has begun")
        deadline = time.monotonic() + rng.uniform(0, 0.5)
        wait_until(lambda deadline=deadline: time.monotonic() > deadline, 5, "a random moment")
        process.kill()
        ledger.assert_consistent()
    epochs = "SELECT coalesce(sum(epoch), 0) FROM ledger.sink_offsets"
    ((before,),) = ledger.connection.execute(epochs).fetchall()
    start_process(settings)
    # It may have nothing left to do: it is to be at work all the same before it is asked to stop.
    wait_until(lambda: ledger.connection.execute(epochs).fetchall()[0][0] > before, 60, "the last sink has begun")
    wait_until(lambda: ledger.consumed() == topic.produced, 60, "all offsets are in the ledger")
    ledger.assert_holds(events)
    ledger.assert_consistent()
    assert ledger.counters()["duplicates"] == 0


def test_a_sink_that_lost_its_partitions_unawares_is_fenced(
    settings: Settings, ledger: Ledger, topic: Topic, start_sink: StartSink, seed: int
) -> None:
    """A zombie writes nothing: with a newer owner in the ledger its transaction is rolled back, and it stops."""
    events = random_events(seed, 200)
    old = start_sink(settings)
    topic.send(events[:100])
    wait_until(lambda: ledger.consumed() == 100, 30, "the first events are in the ledger")
    ledger.connection.execute("UPDATE ledger.sink_offsets SET epoch = epoch + 1")
    topic.send(events[100:])
    assert old.wait(30) == 1
    assert "another process owns" in old.worker.health()[1]
    ledger.assert_holds(events[:100])
    start_sink(settings)
    wait_until(lambda: ledger.consumed() == 200, 30, "the new owner has written the rest")
    ledger.assert_holds(events)
    ledger.assert_consistent()


@pytest.mark.slow
@pytest.mark.long
def test_a_stopped_process_that_wakes_up_changes_nothing(
    settings: Settings, ledger: Ledger, topic: Topic, start_process: StartProcess, seed: int
) -> None:
    """SIGSTOP past the session, another sink takes over, SIGCONT: every event is there once."""
    events = random_events(seed, 2_000)
    sleeper = start_process(settings)
    topic.send(events[:1_000])
    wait_until(lambda: ledger.consumed() == 1_000, 30, "the first sink works")
    sleeper.send_signal(signal.SIGSTOP)
    topic.send(events[1_000:])
    start_process(settings)
    wait_until(lambda: ledger.consumed() == 2_000, 60, "the second sink has taken over")
    sleeper.send_signal(signal.SIGCONT)
    more = random_events(seed + 1, 500)
    topic.send(more)
    wait_until(lambda: ledger.consumed() == 2_500, 60, "both go on")
    ledger.assert_holds([*events, *more])
    ledger.assert_consistent()
    assert ledger.counters()["duplicates"] == 0


@pytest.mark.slow
def test_sinks_that_come_and_go_lose_and_double_nothing(
    settings: Settings, ledger: Ledger, topic: Topic, start_sink: StartSink, seed: int
) -> None:
    """Partitions wander between sinks while events arrive; nothing is read twice after an orderly handover."""
    events = random_events(seed, 4_000)
    running = [start_sink(settings)]
    for at in range(0, 4_000, 1_000):
        topic.send(events[at : at + 500])
        running.append(start_sink(settings))
        topic.send(events[at + 500 : at + 1_000])
        wait_until(lambda: all(one.worker.health()[0] for one in running), 30, "all sinks are well")
        wait_until(lambda: ledger.consumed() == topic.produced, 60, "all offsets are in the ledger")
        assert running.pop(0).stop() == 0
    assert running.pop().stop() == 0
    ledger.assert_holds(events)
    ledger.assert_consistent()


def test_sigterm_drains(
    settings: Settings, ledger: Ledger, topic: Topic, start_process: StartProcess, seed: int
) -> None:
    """SIGTERM under load ends with 0 within 10 s, and what was read is written: the next sink reads nothing twice."""
    events = random_events(seed, 6_000)
    settings = static(settings, sink_batch_rows_max=1_000)
    process = start_process(settings)
    topic.send(events)
    wait_until(lambda: ledger.consumed() > 0, 30, "the sink has begun")
    started = time.monotonic()
    process.send_signal(signal.SIGTERM)
    assert process.wait(15) == 0
    assert time.monotonic() - started < 10
    ledger.assert_consistent()
    start_process(settings)
    wait_until(lambda: ledger.consumed() == topic.produced, 40, "all offsets are in the ledger")
    ledger.assert_holds(events)
    assert ledger.counters()["duplicates"] == 0


def asking(settings: Settings) -> Consumer:
    """A client that asks about the sinks' group, and never joins it."""
    return Consumer({"bootstrap.servers": settings.bootstrap_servers, "group.id": settings.sink_group})


def mirrored(consumer: Consumer, topic: Topic) -> dict[int, int]:
    """By partition the sinks' offset that Kafka has."""
    places = [TopicPartition(topic.name, one) for one in range(PARTITIONS)]
    return {one.partition: max(0, one.offset) for one in consumer.committed(places, timeout=10)}


def committed(consumer: Consumer, places: list[TopicPartition]) -> bool:
    """Whether Kafka takes these offsets of a group from one that is no member: only when the group has none."""
    try:
        consumer.commit(offsets=places, asynchronous=False)
    except KafkaException:
        return False
    return True


def positions(ledger: Ledger) -> dict[int, int]:
    """The same of the ledger."""
    return dict(ledger.all("SELECT partition, next_offset FROM ledger.sink_offsets"))


def test_what_was_gathered_is_written_before_the_end(
    settings: Settings, ledger: Ledger, topic: Topic, start_sink: StartSink, seed: int
) -> None:
    """Stopping does not leave to the next sink what this one has read; Kafka's offsets mirror the ledger's."""
    settings = settings.model_copy(update={"sink_batch_wait_ms": 60_000})
    events = random_events(seed, 200)
    sink = start_sink(settings)
    topic.send(events)
    gatherer = sink.worker._gatherer
    wait_until(lambda: sum(gatherer.positions().values()) == 200, 30, "all events are gathered")
    assert ledger.consumed() == 0
    assert sink.stop() == 0
    assert ledger.consumed() == 200
    ledger.assert_holds(events)
    with closing(asking(settings)) as consumer:
        assert mirrored(consumer, topic) == positions(ledger)


def test_kafka_is_told_again_what_it_does_not_have(
    settings: Settings,
    ledger: Ledger,
    topic: Topic,
    start_sink: StartSink,
    seed: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A mirror of the offsets that is lost, and one that an earlier sink left behind, would show a lag where there is none."""
    lost: list[TopicPartition] = []

    class Losing(Consumer):
        """A client whose first commit never reaches Kafka, and of which nothing is heard."""

        def commit(self, *given: Any, offsets: list[TopicPartition], **more: Any) -> Any:
            if not lost:
                lost.extend(offsets)
                return None
            return super().commit(*given, offsets=offsets, **more)

    with closing(asking(settings)) as consumer:
        with monkeypatch.context() as during:
            during.setattr(intake, "Consumer", Losing)
            sink = start_sink(settings)
            topic.send(random_events(seed, 200))
            wait_until(lambda: ledger.consumed() == 200, 30, "all is written")
            wait_until(lambda: mirrored(consumer, topic) == positions(ledger), 30, "Kafka has all offsets")
            assert lost
            assert sink.stop() == 0
        behind = [TopicPartition(topic.name, one, 0) for one in range(PARTITIONS)]
        wait_until(lambda: committed(consumer, behind), 30, "the sink has left its group")
        assert mirrored(consumer, topic) != positions(ledger)
        sink = start_sink(settings)
        wait_until(lambda: mirrored(consumer, topic) == positions(ledger), 30, "Kafka has all offsets again")
        assert sink.stop() == 0


def test_what_came_behind_a_message_that_has_to_wait_is_read_again(
    settings: Settings, ledger: Ledger, topic: Topic, start_sink: StartSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of another partition, too, and where the process stood still for longer than it waits: it is no gap."""
    later, schema_is_there, together = b"later", threading.Event(), threading.Event()
    waiting, other = 0, 1

    def read_or_wait(payload: bytes, received_us: int | None) -> ReadEvent:
        if payload != later:
            return read_event(payload, received_us)
        if not schema_is_there.is_set():
            raise Unavailable("the registry is away")
        return read_event(encoded("late"), received_us)

    def encoded(user: str) -> bytes:
        return encode_event(make_event(user).to_record())

    class InOrder(Consumer):
        """A client that hands over, once, all 31 messages at once, those of the partition that waits first."""

        def consume(self, *given: Any, **more: Any) -> list[Any]:
            messages = super().consume(*given, **more)
            while together.is_set() and len([one for one in messages if one.error() is None]) < 31:
                messages += super().consume(*given, **more)
            together.clear()
            return sorted(messages, key=lambda one: (one.partition(), one.offset()))

    for module in filter(None, (batch, rows, sys.modules.get("costledger.sinks._rows"))):
        monkeypatch.setattr(module, "read_event", read_or_wait)
    monkeypatch.setattr(intake, "Consumer", InOrder)
    monkeypatch.setattr(intake, "_REGISTRY_WAIT_SECONDS", 0.0)
    sink = start_sink(settings)
    topic.send_to(other, [(b"u", encoded("u")) for _ in range(5)])
    wait_until(lambda: ledger.consumed() == 5, 30, "the first events are written")
    together.set()
    topic.send_to(other, [(b"u", encoded("u")) for _ in range(30)])
    topic.send_to(waiting, [(b"late", later)])
    wait_until(lambda: not together.is_set(), 30, "all came at once")
    wait_until(lambda: ledger.consumed() == 35, 30, "what need not wait is written")
    schema_is_there.set()
    wait_until(lambda: ledger.consumed() == topic.produced, 30, "the other is written, too")
    assert sink.stop() == 0
    assert (ledger.counters()["inserted"], ledger.counters()["skipped"]) == (36, 0)


def test_a_terminated_backend_is_no_loss(
    settings: Settings, ledger: Ledger, topic: Topic, start_sink: StartSink, seed: int
) -> None:
    """A connection cut within a transaction is made again, and the batch is written once."""
    cuts = iter(range(3))

    def cut(step: Step) -> None:
        if step == "before_commit" and next(cuts, None) is not None:
            ledger.connection.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
                "WHERE application_name = 'costledger sink' AND datname = current_database() AND state <> 'idle'"
            )

    events = random_events(seed, 500)
    topic.send(events)
    sink = start_sink(settings, on_step=cut)
    wait_until(lambda: ledger.consumed() == topic.produced, 40, "all offsets are in the ledger")
    assert sink.stop() == 0
    ledger.assert_holds(events)
    ledger.assert_consistent()


def test_a_commit_whose_reply_is_lost_is_not_repeated(
    settings: Settings, ledger: Ledger, topic: Topic, start_sink: StartSink, seed: int
) -> None:
    """An error right after the commit is settled by the position: it took place."""
    from psycopg import OperationalError

    failures = iter(range(2))

    def fail(step: Step) -> None:
        if step == "after_commit" and next(failures, None) is not None:
            raise OperationalError("server closed the connection unexpectedly")

    events = random_events(seed, 500)
    topic.send(events)
    sink = start_sink(settings, on_step=fail)
    wait_until(lambda: ledger.consumed() == topic.produced, 40, "all offsets are in the ledger")
    assert sink.stop() == 0
    ledger.assert_holds(events)
    ledger.assert_consistent()
    assert ledger.counters()["duplicates"] == 0


@pytest.mark.slow
def test_postgres_may_crash(
    own_postgres: OwnPostgres, kafka: KafkaServer, names: TopicNames, topic: Topic, start_sink: StartSink, seed: int
) -> None:
    """While PostgreSQL is away the sink says so, puts nothing aside, and goes on when it is back."""
    url = own_postgres.create_database()
    migrate(url)
    settings = make_settings(kafka, names, url, sink_batch_rows_max=500)
    events = random_events(seed, 6_000)
    sink = start_sink(settings)
    topic.send(events[:3_000])
    first = Ledger(url)
    wait_until(lambda: first.consumed() > 0, 30, "the sink has begun")
    first.connection.close()
    own_postgres.stop(mode="immediate")
    topic.send(events[3_000:])
    wait_until(lambda: not sink.worker.health()[0], 30, "the sink says that PostgreSQL is away")
    assert "PostgreSQL" in sink.worker.health()[1]
    own_postgres.start()
    ledger = Ledger(url)
    wait_until(lambda: ledger.consumed() == topic.produced, 60, "all offsets are in the ledger")
    wait_until(lambda: sink.worker.health()[0], 10, "the sink is well again")
    assert sink.stop() == 0
    ledger.assert_holds(events)
    ledger.assert_consistent()
    assert ledger.one("SELECT count(*) FROM ledger.quarantine") == 0
    assert ledger.counters()["duplicates"] == 0
    ledger.connection.close()


def test_a_lock_timeout_passes(settings: Settings, ledger: Ledger, topic: Topic, start_sink: StartSink) -> None:
    """A lock that is held for longer than the timeout only delays the batch."""
    settings = settings.model_copy(update={"database_timeout_seconds": 1.0})
    sink = start_sink(settings)
    wait_until(lambda: ledger.one("SELECT count(*) FROM ledger.sink_offsets") == 4, 30, "the sink has begun")
    with ledger.connection.transaction():
        ledger.connection.execute("LOCK TABLE ledger.hourly_totals IN ACCESS EXCLUSIVE MODE")
        event = make_event("u")
        topic.send([event])
        wait_until(lambda: not sink.worker.health()[0], 20, "the sink waits for the lock")
    wait_until(lambda: ledger.consumed() == 1, 30, "the event is in the ledger")
    ledger.assert_holds([event])


def test_the_sink_stops_in_time_while_postgres_is_away(
    kafka: KafkaServer, names: TopicNames, topic: Topic, start_sink: StartSink
) -> None:
    """SIGTERM without a database ends in time, with 0: nothing is lost, it is read again."""
    topic.send([make_event("u")])
    settings = make_settings(kafka, names, "postgresql://nobody@127.0.0.1:1/nowhere")
    sink = start_sink(settings)
    wait_until(lambda: "PostgreSQL" in sink.worker.health()[1], 30, "the sink says that PostgreSQL is away")
    started = time.monotonic()
    assert sink.stop() == 0
    assert time.monotonic() - started < 10


def test_whoever_reads_the_ledger_for_long_does_not_stop_the_sink(
    settings: Settings, ledger: Ledger, topic: Topic, start_sink: StartSink
) -> None:
    """A month that has no partition yet cannot get one meanwhile: its entries go to the DEFAULT one, and all go on."""
    sink = start_sink(settings)
    with psycopg.connect(ledger.url) as reader:
        reader.execute("SELECT count(*) FROM ledger.entries")
        topic.send([make_event("u", occurred_at=datetime(2001, 3, 4, tzinfo=UTC))])
        wait_until(lambda: ledger.consumed() == topic.produced, 30, "the entry is written")
        # Nobody waits for the reader, at whose lock all who read would have to wait in turn.
        assert ledger.one("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'") == 0
    assert ledger.one("SELECT count(*) FROM ledger.entries_default") == 1
    assert sink.stop() == 0
    ledger.assert_consistent()
