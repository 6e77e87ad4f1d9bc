"""Wrong arguments, settings and callbacks: what the tracker refuses, whom it tells, and that no host fails by it."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from tests.producers.tracking import NOBODY

from costledger.producers import CostTracker, EventDropped
from costledger.producers.reporting import LOG_INTERVAL_SECONDS, Reporter
from costledger.schemas.errors import InvalidEvent, SettingsError

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
