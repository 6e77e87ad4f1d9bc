"""The tracker against a real broker: what arrives, what is counted, threads, asyncio, failures."""

from __future__ import annotations

import asyncio
import logging
import pickle
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from confluent_kafka import KafkaError, KafkaException
from tests.fixtures.fix_kafka import KafkaServer, OwnKafka
from tests.producers.reading import murmur2_partition, read_topic

from costledger.producers import CostTracker, EventDropped
from costledger.producers.reporting import LOG_INTERVAL_SECONDS, Reporter
from costledger.producers.sender import Sender
from costledger.schemas.codec import SINGLE_OBJECT_MARKER, decode_cost_event
from costledger.schemas.errors import InvalidEvent, SettingsError
from costledger.schemas.events import CostEvent

AT = datetime(2026, 11, 23, 9, tzinfo=UTC)
FLUSH_SECONDS = 30.0
#: Nobody listens there: the port of the discard protocol, which no test starts.
NOBODY = "127.0.0.1:9"


@pytest.fixture
def topic(kafka: KafkaServer) -> str:
    """A topic of this test alone."""
    return kafka.create_topic(kafka.unique("events"))


def events_in(kafka: KafkaServer, topic: str) -> list[CostEvent]:
    """All events of the topic, decoded and checked."""
    return [decode_cost_event(message.value() or b"") for message in read_topic(kafka.bootstrap_servers, topic)]


def identity_holds(tracker: CostTracker) -> bool:
    """tracked = acked + spooled + queued + dropped, and no count is negative."""
    stats = tracker.stats()
    counted = stats["acked"] + stats["spooled"] + stats["queued"] + stats["dropped"]
    return stats["tracked"] == counted and min(stats["queued"], stats["acked"], stats["dropped"]) >= 0


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
    """Each method makes the events of the specification, with amounts exact to the picodollar."""
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


BAD_CALLS: list[Callable[[CostTracker], object]] = [
    lambda tracker: tracker.track("", "s", "o", 1),
    lambda tracker: tracker.track("u", None, "o", 1),  # type: ignore[arg-type]
    lambda tracker: tracker.track("u", "s", "o", "many"),
    lambda tracker: tracker.track("u", "s", "o", 1, metadata=["a"]),  # type: ignore[arg-type]
    lambda tracker: tracker.track("u", "s", "o", 1, occurred_at="now"),  # type: ignore[arg-type]
    lambda tracker: tracker.track_rekognition("u", ["x"], 1),  # type: ignore[arg-type]
    lambda tracker: tracker.track_comprehend("u", "detectSentiment", "text"),
    lambda tracker: tracker.track_embedding("u", None, 5),  # type: ignore[arg-type]
    lambda tracker: tracker.track_processing("u", 1, "x"),
    lambda tracker: tracker.track_stripe_charge("u", 1.5),  # type: ignore[arg-type]
    lambda tracker: tracker.track_chat("u", "gpt-4", "many", 1),  # type: ignore[arg-type]
    lambda tracker: tracker.track_chat("u", "gpt-4", 1, 1, 2),
    lambda tracker: tracker.track_chat("u", ["gpt-4"], 1, 1),  # type: ignore[arg-type]
    lambda tracker: tracker.emit(None),  # type: ignore[arg-type]
    lambda tracker: tracker.emit_record({}),
]


@pytest.mark.parametrize("call", BAD_CALLS)
def test_a_wrong_argument_never_reaches_the_host(call: Callable[[CostTracker], object]) -> None:
    """It is counted as tracked, dropped and rejected, told to `on_error`, and an id comes back all the same."""
    errors: list[EventDropped] = []
    with CostTracker(NOBODY, "tests", on_error=errors.append) as tracker:
        result = call(tracker)
        stats = tracker.stats()
        assert (stats["tracked"], stats["dropped"], stats["rejected"], stats["queued"]) == (1, 1, 1, 0)
    (error,) = errors
    assert error.reason == "invalid"
    assert result in (error.event_id, [error.event_id])


def test_a_strict_tracker_raises_what_a_lenient_one_counts() -> None:
    """For tests and tools: the cause names field, value and limit."""
    with CostTracker(NOBODY, "tests", strict=True) as tracker:
        with pytest.raises(EventDropped, match="user_id is ''; it must be text") as caught:
            tracker.track("", "s", "o", 1)
        assert isinstance(caught.value.__cause__, InvalidEvent)
        assert tracker.stats()["rejected"] == 1
    again = pickle.loads(pickle.dumps(caught.value))  # noqa: S301 - our own bytes
    assert (again.event_id, again.reason, str(again)) == (caught.value.event_id, "invalid", str(caught.value))


def test_a_callback_that_fails_is_logged_and_goes_no_further(caplog: pytest.LogCaptureFixture) -> None:
    """`on_error` cannot break the host's call either."""

    def fail(_error: EventDropped) -> None:
        raise RuntimeError("bad callback")

    with CostTracker(NOBODY, "tests", on_error=fail) as tracker:
        tracker.track("", "s", "o", 1)
    assert "on_error failed for" in caplog.text
    assert "bad callback" in caplog.text


def test_drops_are_logged_at_a_bounded_rate(caplog: pytest.LogCaptureFixture) -> None:
    """One line per reason and interval; the next one says how many were left out."""
    now = [0.0]
    told: list[EventDropped] = []
    reporter = Reporter(told.append, clock=lambda: now[0])
    with caplog.at_level(logging.ERROR, "costledger.producers"):
        for _ in range(100):
            reporter.report(EventDropped(UUID(int=1), "queue_full", "full", None))
        reporter.report(EventDropped(UUID(int=1), "invalid", "wrong", None))
        now[0] += LOG_INTERVAL_SECONDS
        reporter.report(EventDropped(UUID(int=1), "queue_full", "full", None))
    assert [record.getMessage().partition(": ")[2] for record in caplog.records] == [
        "full",
        "wrong",
        "full; 99 more since the last such line",
    ]
    assert len(told) == 102


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"durability": "cloud"}, "COSTLEDGER_DURABILITY is 'cloud'"),
        ({"queue_events_max": 0}, "COSTLEDGER_QUEUE_EVENTS_MAX is 0"),
        ({"source": ""}, "COSTLEDGER_SOURCE is ''"),
        ({"bootstrap_servers": "kafka.example.com:9092"}, "kafka.example.com is not this machine"),
        ({"delivery_timeout_seconds": 0.001, "linger_ms": 10}, "the Kafka client refuses its settings"),
    ],
)
def test_a_tracker_that_cannot_work_is_refused_at_once(arguments: dict[str, Any], message: str) -> None:
    """Settings are an operator's matter: they raise when the tracker is made, not when it is used."""
    with pytest.raises(SettingsError, match=message):
        CostTracker(**{"bootstrap_servers": NOBODY, "source": "tests"} | arguments)


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


def test_what_was_used_is_never_negative() -> None:
    """The methods for services refuse it, by name; `track` takes it, for corrections."""
    errors: list[EventDropped] = []
    with CostTracker(NOBODY, "tests", on_error=errors.append, flush_timeout_seconds=0) as tracker:
        tracker.track_rekognition("u", "detectLabels", -5)
        tracker.track_transcribe("u", -0.5)
        tracker.track_comprehend("u", "detectSentiment", -1)
        tracker.track_s3("u", "get", -1)
        tracker.track_embedding("u", "text-embedding-3-small", -1)
        tracker.track_processing("u", -1, 1)
        assert [error.reason for error in errors] == ["invalid"] * 6
        assert "quantity is -5; it must be 0 or more" in str(errors[0])
        tracker.track("u", "aws-s3", "get", -1)
        assert (tracker.stats()["rejected"], tracker.stats()["queued"]) == (6, 1)


def test_a_chat_is_tracked_whole_or_not_at_all() -> None:
    """Thirty-two keys of the caller's leave no room for those that the price needs: one rejected event, none queued."""
    errors: list[EventDropped] = []
    with CostTracker(NOBODY, "tests", on_error=errors.append, flush_timeout_seconds=0) as tracker:
        metadata = {f"key-{number}": "x" for number in range(31)}
        tracker.track_chat("u", "gpt-4o", 10, 10, reasoning_tokens=5, metadata=metadata)
        assert (tracker.stats()["tracked"], tracker.stats()["rejected"]) == (1, 1)
    assert [error.reason for error in errors] == ["invalid"]


def test_an_error_without_words_reaches_nobody() -> None:
    """What cannot even be explained is counted and told by its type."""

    class Wordless(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no words")

    class Hostile:
        def __str__(self) -> str:
            raise Wordless

    errors: list[EventDropped] = []
    with CostTracker(NOBODY, "tests", on_error=errors.append, flush_timeout_seconds=0) as tracker:
        tracker.track("u", "s", "o", 1, category=Hostile())  # type: ignore[arg-type]  # on purpose
    assert [error.explanation for error in errors] == ["Wordless"]
