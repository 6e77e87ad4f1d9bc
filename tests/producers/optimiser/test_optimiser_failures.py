"""Jobs that fail, and guards and trackers that do: what was spent is settled, and no result is lost. In 1e-12 USD."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import pytest
from tests.fixtures.fix_kafka import KafkaServer
from tests.producers.guard.plain_guard import PlainGuard
from tests.producers.optimiser.optimising import DEFAULT_IMAGE, FLUSH_SECONDS, NOBODY, PREMIUM_IMAGE, USD, analyse
from tests.producers.reading import events_in

from costledger.producers import CostTracker, EventDropped
from costledger.producers.optimiser.jobs import Job
from costledger.producers.optimiser.processor import CostAwareProcessor
from costledger.producers.optimiser.results import JobSkipped, result_of
from costledger.producers.optimiser.work import ImageWork


def test_a_job_that_fails_half_way_has_told_what_was_spent(kafka: KafkaServer) -> None:
    """Its events arrive, the reservation is settled with their sum, and its own exception carries the result."""
    topic = kafka.create_topic(kafka.unique("events"))
    guard = PlainGuard(USD)
    failure = ConnectionError("the second service is away")

    def job(job: Job) -> None:
        job.track_rekognition("u", "detectLabels", 1)
        raise failure

    with CostTracker(kafka.bootstrap_servers, "tests", topic=topic) as tracker:
        with pytest.raises(ConnectionError) as caught:
            CostAwareProcessor(tracker, guard).run("u", ImageWork(), job, tier="premium")
        assert tracker.flush(FLUSH_SECONDS) == 0
    assert caught.value is failure
    result = result_of(failure)
    assert (result.ran, result.error, result.total, result.saved) == (True, failure, 1_000_000_000, None)
    (event,) = events_in(kafka, topic)
    assert (event.event_id, event.amount) == (result.breakdown[0].event_id, 1_000_000_000)
    assert guard.settled == [("u", "r1", 1_000_000_000, (event.event_id,))]
    assert guard.nothing_is_held()


def test_a_job_that_fails_before_it_spends_gives_the_money_back(tracker: CostTracker) -> None:
    """The hold is released, not settled."""
    guard = PlainGuard(USD)

    def job(job: Job) -> None:
        raise ValueError("no such file")

    with pytest.raises(ValueError, match="no such file"):
        CostAwareProcessor(tracker, guard).run("u", ImageWork(), job)
    assert (guard.released, guard.settled) == (["r1"], [])


def test_an_interrupted_job_is_settled(tracker: CostTracker) -> None:
    """Ctrl-C in the middle: what was spent is settled, and the interruption goes on."""
    guard = PlainGuard(USD)

    def job(job: Job) -> None:
        job.track_rekognition("u", "detectLabels", 1)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt) as caught:
        CostAwareProcessor(tracker, guard).run("u", ImageWork(), job)
    assert [entry[2] for entry in guard.settled] == [1_000_000_000]
    assert result_of(caught.value).total == 1_000_000_000


def test_a_guard_that_fails_does_not_take_the_result_away(
    tracker: CostTracker, caplog: pytest.LogCaptureFixture
) -> None:
    """The job is done and paid: the failure is logged, the result says that nothing was settled."""

    class Broken(PlainGuard):
        def settle(self, user_id: str, reservation_id: str, actual: int, event_ids: Sequence[UUID] = ()) -> None:
            raise OSError(f"a defect: {user_id}, {reservation_id}, {actual}, {event_ids}")

    result = CostAwareProcessor(tracker, Broken(USD)).run("u", ImageWork(), analyse)
    assert (result.value, result.settled) == ("done", False)
    assert "the reservation r1 of u could not be settled" in caplog.text


def test_a_skip_within_a_job_is_the_jobs_own_error(tracker: CostTracker) -> None:
    """It is not taken for a skip of the job around it."""
    guard = PlainGuard(USD)
    processor = CostAwareProcessor(tracker, guard)
    poor = CostAwareProcessor(tracker, PlainGuard(1))

    def outer(job: Job) -> None:
        with poor.job("u", ImageWork()):
            pytest.fail("the block must not be entered")

    with pytest.raises(JobSkipped):
        processor.run("u", ImageWork(), outer)
    assert guard.released == ["r1"]


def test_a_strict_tracker_raises_through_the_job_and_the_money_is_settled() -> None:
    """What was paid before the error counts."""
    guard = PlainGuard(USD)

    def job(job: Job) -> None:
        job.track_rekognition("u", "detectLabels", 1)
        job.track("u", "s", "o", "many")

    with CostTracker(NOBODY, "tests", flush_timeout_seconds=0, strict=True) as tracker, pytest.raises(EventDropped):
        CostAwareProcessor(tracker, guard).run("u", ImageWork(), job)
    assert len(guard.settled) == 1


def test_a_saving_that_cannot_be_told_does_not_take_the_result_away(caplog: pytest.LogCaptureFixture) -> None:
    """A strict tracker raises what it has dropped: it is logged."""
    with CostTracker(NOBODY, "tests", flush_timeout_seconds=0, strict=True) as tracker:
        job = CostAwareProcessor(tracker, PlainGuard(USD, USD * 85 // 100)).job("u", ImageWork(), tier="premium")
        with job:
            job.track_rekognition("u", "detectLabels", 1)
            tracker.close()
    assert (job.result.ran, job.result.settled, job.result.saved) == (True, True, PREMIUM_IMAGE - DEFAULT_IMAGE)
    assert "what the limited plan has saved u could not be told" in caplog.text


def test_a_guard_that_cannot_be_told_what_to_expect_does_not_stop_the_work(
    tracker: CostTracker, caplog: pytest.LogCaptureFixture
) -> None:
    """Said once."""

    class Broken(PlainGuard):
        def expect(self, user_id: str, event_ids: Sequence[UUID]) -> None:
            raise OSError(f"a defect: {user_id}, {event_ids}")

    result = CostAwareProcessor(tracker, Broken(USD)).run("u", ImageWork(), analyse)
    assert (result.value, result.settled) == ("done", True)
    assert caplog.text.count("which events of u will be settled") == 1
