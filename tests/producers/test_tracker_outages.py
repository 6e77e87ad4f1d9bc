"""The tracker with its broker away, its queue full or its client failed: nobody is held up, and all is counted."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException
from tests.fixtures.fix_kafka import KafkaServer, OwnKafka
from tests.producers.reading import events_in
from tests.producers.tracking import AT, FLUSH_SECONDS, NOBODY, identity_holds

from costledger.producers import CostTracker, EventDropped
from costledger.producers.sender import Sender


@pytest.fixture
def topic(kafka: KafkaServer) -> str:
    """A topic of this test alone."""
    return kafka.create_topic(kafka.unique("events"))


def test_tracking_does_not_hold_up_an_event_loop() -> None:
    """With no broker and a full queue, an asyncio heartbeat beside 2,000 calls stays on time."""

    async def heartbeat(gaps: list[float], ended: asyncio.Event) -> None:
        while not ended.is_set():
            before = time.monotonic()
            await asyncio.sleep(0)
            gaps.append(time.monotonic() - before)

    async def track_all(tracker: CostTracker) -> float:
        gaps: list[float] = []
        ended = asyncio.Event()
        beating = asyncio.create_task(heartbeat(gaps, ended))
        for _ in range(2000):
            tracker.track_s3("u", "get", 1)
            await asyncio.sleep(0)
        ended.set()
        await beating
        return max(gaps)

    with CostTracker(NOBODY, "tests", queue_events_max=1000, flush_timeout_seconds=0) as tracker:
        assert asyncio.run(track_all(tracker)) < 1.0
        assert tracker.stats()["tracked"] == 2000


def test_without_a_broker_tracking_is_fast_and_the_newest_are_dropped() -> None:
    """A full queue drops what comes last, counts it and tells of it; the queue is given up when its time is over."""
    errors: list[EventDropped] = []
    tracker = CostTracker(
        NOBODY,
        "tests",
        queue_events_max=10,
        delivery_timeout_seconds=1,
        on_error=errors.append,
        flush_timeout_seconds=0,
    )
    started = time.monotonic()
    ids = [tracker.track_s3("u", "get", 1) for _ in range(25)]
    assert time.monotonic() - started < 1.0
    stats = tracker.stats()
    assert (stats["tracked"], stats["queued"], stats["dropped"]) == (25, 10, 15)
    assert [(error.event_id, error.reason) for error in errors] == [(i, "queue_full") for i in ids[10:]]
    assert tracker.flush(0) == 10
    assert tracker.flush(20) == 0
    assert tracker.stats()["dropped"] == 25
    assert {(error.event_id, error.reason) for error in errors[15:]} == {(i, "delivery_failed") for i in ids[:10]}
    assert errors[-1].record is not None
    assert errors[-1].record["operation"] == "get"
    assert identity_holds(tracker)
    tracker.close()


def test_closing_gives_up_what_is_queued_and_counts_it() -> None:
    """After `close` nothing is queued, and later events are dropped as `closed`."""
    errors: list[EventDropped] = []
    tracker = CostTracker(NOBODY, "tests", on_error=errors.append, flush_timeout_seconds=0.1)
    for _ in range(3):
        tracker.track_s3("u", "get", 1)
    tracker.close()
    assert (tracker.stats()["queued"], tracker.stats()["dropped"]) == (0, 3)
    tracker.track_s3("u", "get", 1)
    assert errors[-1].reason == "closed"
    assert tracker.stats()["dropped"] == 4
    tracker.close()
    assert tracker.flush(0) == 0


def test_an_importer_can_wait_for_room_in_the_queue(kafka: KafkaServer, topic: str) -> None:
    """A queue of 20 takes 500 events without a loss when the caller waits; without waiting it would not."""
    with CostTracker(kafka.bootstrap_servers, "tests", topic=topic, queue_events_max=20, linger_ms=1) as tracker:
        tracker.track_s3("u", "get", 1, occurred_at=AT)
        assert tracker.flush(FLUSH_SECONDS) == 0
        (event,) = events_in(kafka, topic)
        for _ in range(500):
            tracker.emit(event, wait_seconds=FLUSH_SECONDS)
        assert tracker.flush(FLUSH_SECONDS) == 0
        assert tracker.stats()["dropped"] == 0
    assert len(events_in(kafka, topic)) == 501


def test_a_broker_that_comes_back_gets_every_event(own_kafka: OwnKafka) -> None:
    """Events tracked while the broker is away arrive when it is back, each once."""
    topic = own_kafka.create_topic("outage")
    with CostTracker(own_kafka.bootstrap_servers, "tests", topic=topic) as tracker:
        ids = [tracker.track_s3("u", "get", 1)]
        assert tracker.flush(FLUSH_SECONDS) == 0
        own_kafka.kill()
        ids += [tracker.track_s3(f"user-{n}", "get", 1) for n in range(100)]
        assert tracker.flush(0.5) == 100
        own_kafka.start()
        assert tracker.flush(60) == 0
        assert tracker.stats()["dropped"] == 0
    assert sorted(event.event_id for event in events_in(own_kafka, topic)) == sorted(ids)


def test_a_client_that_failed_for_good_is_replaced(
    kafka: KafkaServer, topic: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a fatal error the next event goes through a new client."""
    with CostTracker(kafka.bootstrap_servers, "tests", topic=topic) as tracker:
        tracker.track_s3("u", "get", 1)
        assert tracker.flush(FLUSH_SECONDS) == 0
        failed = _channel_of(tracker)

        def fail(*_arguments: object) -> None:
            raise KafkaException(KafkaError(KafkaError._FATAL))

        monkeypatch.setattr(failed, "send", fail)
        tracker.track_s3("u", "get", 1)
        assert tracker.flush(FLUSH_SECONDS) == 0
        assert _channel_of(tracker) is not failed
        assert tracker.stats()["acked"] == 2
    assert len(events_in(kafka, topic)) == 2


def _channel_of(tracker: CostTracker) -> Any:
    sender = tracker._sender
    assert isinstance(sender, Sender)
    return sender._channel


def test_whatever_the_client_raises_the_host_lives(monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception of the Kafka client is counted as a dropped event, and told."""
    errors: list[EventDropped] = []
    tracker = CostTracker(NOBODY, "tests", on_error=errors.append, flush_timeout_seconds=0)

    def fail(*_arguments: object) -> None:
        raise RuntimeError("no such luck")

    monkeypatch.setattr(tracker._sender, "send", fail)
    tracker.track_s3("u", "get", 1)
    assert (errors[0].reason, errors[0].explanation) == ("delivery_failed", "RuntimeError: no such luck")
    assert identity_holds(tracker)
    assert tracker.stats()["dropped"] == 1
    tracker.close()
