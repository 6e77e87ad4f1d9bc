"""The recording tracker: what it hands on, where to, and what it remembers."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from tests.producers.guard.plain_guard import PlainGuard

from costledger.producers import CostTracker
from costledger.producers.optimiser import CostAwareProcessor, ImageWork, SpendRecorder
from costledger.schemas.events import CostEvent
from costledger.schemas.ids import new_event_id

NOBODY = "127.0.0.1:9"
AT = datetime(2026, 11, 23, 9, tzinfo=UTC)


def test_every_method_of_a_tracker_is_recorded(tracker: CostTracker) -> None:
    """One step for each event, with the id that the caller was given and the amount of the price book."""
    recorder = SpendRecorder(tracker, "u")
    ids: list[UUID] = [
        recorder.track_rekognition("u", "detectFaces", 3),
        recorder.track_rekognition_video("u", 2),
        recorder.track_transcribe("u", 2.5),
        recorder.track_comprehend("u", "detectSentiment", 250),
        recorder.track_s3("u", "put", 1000),
        recorder.track_embedding("u", "text-embedding-3-small", 1000),
        recorder.track_processing("u", 2, 3),
        recorder.track_stripe_charge("u", "100.00"),
        recorder.track("u", "maps", "geocode", 3, unit="request", unit_price="0.005"),
        recorder.emit(
            CostEvent(
                event_id=new_event_id(int(AT.timestamp() * 1_000_000)),
                user_id="u",
                service="s",
                operation="o",
                quantity=1,
                unit="unit",
                occurred_at=AT,
                amount=7,
            )
        ),
        *recorder.track_chat("u", "gpt-4o", 1000, 100, 400),
    ]
    spend = recorder.spend()
    assert [step.event_id for step in spend.steps] == ids
    # In 1e-6 USD: 0.003, 0.2, 0.06, 0.0003, 0.005, 0.00002, 0.23, 3.2, 0.015.
    micro_usd = (3000, 200_000, 60_000, 300, 5000, 20, 230_000, 3_200_000, 15_000)
    assert [step.amount for step in spend.steps[:10]] == [*(amount * 10**6 for amount in micro_usd), 7]
    assert {step.operation: step.amount for step in spend.steps[10:]} == {
        "input-tokens": 1_500_000_000,
        "cached-input-tokens": 500_000_000,
        "output-tokens": 1_000_000_000,
    }
    assert (spend.known, spend.is_complete) == (sum(step.amount or 0 for step in spend.steps), True)
    assert tracker.stats()["tracked"] == len(ids)


def test_a_recorder_upon_a_recorder_is_part_of_it(tracker: CostTracker) -> None:
    """Both remember the event, once each, and it is tracked once."""
    whole = SpendRecorder(tracker, "u")
    part = SpendRecorder(whole, "u")
    whole.track_rekognition("u", "detectLabels", 1)
    part.track_rekognition("u", "detectLabels", 2)
    wrong: Any = 5
    part.track("u", wrong, "o", 1)
    assert (part.spend().known, whole.spend().known) == (2_000_000_000, 3_000_000_000)
    assert (part.spend().rejected, whole.spend().rejected) == (1, 1)
    stats = tracker.stats()
    assert (stats["tracked"], stats["rejected"]) == (3, 1)


def test_events_can_go_another_way_than_through_the_tracker(tracker: CostTracker) -> None:
    """Their records are handed to it, each once; wrong arguments are still the tracker's to report."""
    rows: list[dict[str, Any]] = []

    def outbox(record: dict[str, Any]) -> UUID:
        rows.append(record)
        return UUID(record["event_id"])

    guard = PlainGuard(10**12)
    with CostAwareProcessor(tracker, guard).job("u", ImageWork(), through=outbox) as job:
        event_id = job.track_rekognition("u", "detectLabels", 1)
        job.track("u", "s", "o", "many")
    assert [(row["event_id"], row["amount"]) for row in rows] == [(str(event_id), 1_000_000_000)]
    assert job.result.total == 1_000_000_000
    stats = tracker.stats()
    assert (stats["tracked"], stats["rejected"]) == (1, 1)


def test_a_signal_handler_may_track_while_its_thread_is_tracking(tracker: CostTracker) -> None:
    """What interrupts a call runs in the same thread, which has the lock."""
    recorder = SpendRecorder(tracker, "u")

    def interrupted() -> None:
        with recorder._lock:
            recorder.track_s3("u", "get", 1)

    thread = threading.Thread(target=interrupted, daemon=True)
    thread.start()
    thread.join(10)
    assert not thread.is_alive()
    assert len(recorder.spend().steps) == 1
