"""The tracker against a real broker: what arrives, at which price, what is counted over threads, who hears of it."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from uuid import UUID

import pytest
from tests.fixtures.fix_kafka import KafkaServer
from tests.producers.reading import events_in, murmur2_partition, read_topic
from tests.producers.tracking import AT, FLUSH_SECONDS, identity_holds

from costledger.producers import CostTracker, EventDropped
from costledger.schemas.codec import SINGLE_OBJECT_MARKER, decode_cost_event


@pytest.fixture
def topic(kafka: KafkaServer) -> str:
    """A topic of this test alone."""
    return kafka.create_topic(kafka.unique("events"))


def test_an_event_arrives_with_its_users_key_and_partition(kafka: KafkaServer, topic: str) -> None:
    """Key: the user in UTF-8; partition: as Java's clients choose; value: single-object encoding."""
    users = ["user-1", "user-2", "Zoë", "用户", "a" * 128, "x"]
    with CostTracker(kafka.bootstrap_servers, "tests", topic=topic) as tracker:
        ids = {user: tracker.track_rekognition(user, "detectLabels", 5, metadata={"file": "a"}) for user in users}
        assert tracker.flush(FLUSH_SECONDS) == 0
    messages = read_topic(kafka.bootstrap_servers, topic)
    assert len(messages) == len(users)
    for message in messages:
        value, key = message.value(), message.key()
        assert isinstance(value, bytes)
        assert isinstance(key, bytes)
        event = decode_cost_event(value)
        assert value.startswith(SINGLE_OBJECT_MARKER)
        assert key == event.user_id.encode()
        assert message.partition() == murmur2_partition(key, 4)
        assert event.event_id == ids[event.user_id]
        assert (event.amount, event.source, event.metadata) == (5 * 10**9, "tests", {"file": "a"})


def test_every_service_has_its_method_and_its_price(kafka: KafkaServer, topic: str) -> None:
    """Each method makes its events, with amounts exact to the picodollar."""
    errors: list[EventDropped] = []
    with CostTracker(kafka.bootstrap_servers, "tests", topic=topic, on_error=errors.append) as tracker:
        tracker.track_rekognition("u", "detectFaces", 3)
        tracker.track_rekognition("u", "videoAnalysis", Decimal("1.5"))
        tracker.track_rekognition_video("u", 2)
        tracker.track_transcribe("u", 2.5)
        tracker.track_comprehend("u", "detectSentiment", 250)
        tracker.track_s3("u", "storage", 10)
        tracker.track_s3("u", "get", 1000)
        tracker.track_s3("u", "put", 1000)
        tracker.track_s3("u", "transfer", 1)
        tracker.track_embedding("u", "text-embedding-3-small", 1000)
        tracker.track_processing("u", 2, 3)
        tracker.track_stripe_charge("u", "100.00")
        tracker.track("u", "nobody", "knows", 1)
        assert tracker.flush(FLUSH_SECONDS) == 0
        assert tracker.stats()["unpriced"] == 1
    assert errors == []
    usd = {(event.service, event.operation, event.unit): event.amount for event in events_in(kafka, topic)}
    assert {key: None if amount is None else Decimal(amount).scaleb(-12) for key, amount in usd.items()} == {
        ("aws-rekognition", "detectFaces", "image"): Decimal("0.003"),
        ("aws-rekognition", "videoAnalysis", "minute"): Decimal("0.2"),
        ("aws-transcribe", "transcription", "minute"): Decimal("0.06"),
        ("aws-comprehend", "detectSentiment", "100 characters"): Decimal("0.0003"),
        ("aws-s3", "storage", "GB-month"): Decimal("0.23"),
        ("aws-s3", "get", "request"): Decimal("0.0004"),
        ("aws-s3", "put", "request"): Decimal("0.005"),
        ("aws-s3", "transfer", "GB"): Decimal("0.09"),
        ("openai", "embedding-text-embedding-3-small", "token"): Decimal("0.00002"),
        ("internal", "processing", "CPU hour"): Decimal("0.23"),
        ("stripe", "charge", "transaction"): Decimal("3.2"),
        ("nobody", "knows", "unit"): None,
    }


def test_a_chat_makes_one_event_for_each_kind_of_token(kafka: KafkaServer, topic: str) -> None:
    """The kinds do not overlap, and each event names the model."""
    with CostTracker(kafka.bootstrap_servers, "tests", topic=topic) as tracker:
        ids = tracker.track_chat("u", "gpt-4o", 1000, 100, 400, metadata={"request": "r1"}, occurred_at=AT)
        tracker.track_chat("v", "no-such-model", 10, 1)
        assert tracker.flush(FLUSH_SECONDS) == 0
    events = {event.event_id: event for event in events_in(kafka, topic)}
    assert {events[i].operation: (events[i].quantity // 10**9, events[i].amount) for i in ids} == {
        "input-tokens": (600, 600 * 2_500_000),
        "cached-input-tokens": (400, 400 * 1_250_000),
        "output-tokens": (100, 100 * 10_000_000),
    }
    assert all(events[i].metadata == {"model": "gpt-4o", "request": "r1"} for i in ids)
    unknown = [event for event in events.values() if event.user_id == "v"]
    assert [event.amount for event in unknown] == [None, None]


def test_a_complete_event_and_its_record_can_be_emitted(kafka: KafkaServer, topic: str) -> None:
    """What importers make arrives unchanged, twice the same id when emitted twice."""
    with CostTracker(kafka.bootstrap_servers, "tests", topic=topic) as tracker:
        event_id = tracker.track("u", "s", "o", 1, amount="-2.5", category="CREDIT", occurred_at=AT)
        assert tracker.flush(FLUSH_SECONDS) == 0
        (event,) = events_in(kafka, topic)
        assert tracker.emit(event) == tracker.emit_record(event.to_record()) == event_id
        assert tracker.flush(FLUSH_SECONDS) == 0
    assert events_in(kafka, topic) == [event] * 3
    assert (event.category, event.amount) == ("CREDIT", -25 * 10**11)


def test_threads_lose_nothing_and_the_counts_add_up_at_every_moment(kafka: KafkaServer, topic: str) -> None:
    """Eight threads, some of them with wrong arguments; the identity is looked at all the while."""
    done = threading.Event()
    with CostTracker(kafka.bootstrap_servers, "tests", topic=topic) as tracker:

        def work(number: int) -> list[UUID]:
            ids = [tracker.track_transcribe(f"user-{number}", minute) for minute in range(500)]
            tracker.track("", "wrong", "user", 1)
            return ids

        def watch() -> bool:
            always = True
            while not done.is_set():
                always &= identity_holds(tracker)
            return always

        with ThreadPoolExecutor(9) as pool:
            watching = pool.submit(watch)
            try:
                ids = [event_id for part in pool.map(work, range(8)) for event_id in part]
                unacknowledged = tracker.flush(FLUSH_SECONDS)
            finally:
                done.set()
            assert watching.result()
        assert unacknowledged == 0
        stats = tracker.stats()
    assert (stats["tracked"], stats["acked"], stats["dropped"], stats["rejected"]) == (4008, 4000, 8, 8)
    assert sorted(ids) == sorted(event.event_id for event in events_in(kafka, topic))


def test_a_listener_hears_where_every_event_is(
    kafka: KafkaServer, topic: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Id, partition and offset are the topic's; a listener that fails is logged, and the next one hears all the same."""
    heard: dict[UUID, tuple[int, int]] = {}

    def fail(*_heard: object) -> None:
        raise RuntimeError("deaf")

    def listen(event_id: UUID, partition: int, offset: int) -> None:
        heard[event_id] = (partition, offset)

    with CostTracker(kafka.bootstrap_servers, "tests", topic=topic) as tracker:
        tracker.subscribe(fail)
        tracker.subscribe(listen)
        for number in range(20):
            tracker.track_s3(f"user-{number}", "get", 1)
        assert tracker.flush(FLUSH_SECONDS) == 0
        assert tracker.stats()["acked"] == 20
    expected = {
        decode_cost_event(message.value() or b"").event_id: (message.partition(), message.offset())
        for message in read_topic(kafka.bootstrap_servers, topic)
    }
    assert heard == expected
    assert caplog.text.count("a listener failed for") == 20
