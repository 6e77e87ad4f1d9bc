"""The cost-aware processor: what runs, what is held and settled, and what a result tells. Amounts in 1e-12 USD."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any
from uuid import UUID

import pytest
from tests.fixtures.fix_kafka import KafkaServer
from tests.producers.plain_guard import PlainGuard
from tests.producers.reading import read_topic

from costledger.producers import CostTracker, EventDropped
from costledger.producers.guard import Verdict
from costledger.producers.guard.decisions import ALREADY_SETTLED
from costledger.producers.optimiser import recording
from costledger.producers.optimiser.jobs import UNPRICED_ESTIMATE, Job
from costledger.producers.optimiser.processor import CostAwareProcessor
from costledger.producers.optimiser.results import JobSkipped, result_of
from costledger.producers.optimiser.work import CombinedWork, ImageWork, OperationWork
from costledger.schemas.codec import decode_cost_event
from costledger.schemas.errors import InvalidValue, SettingsError
from costledger.schemas.events import CostEvent, EventRecord
from costledger.schemas.ids import new_event_id

USD = 10**12
FLUSH_SECONDS = 30.0
WAIT_SECONDS = 30.0
#: Nobody listens there: what is tracked stays in the queue.
NOBODY = "127.0.0.1:9"
#: 3 features x 0.001 + 100 tokens x 0.02/1e6.
PREMIUM_IMAGE = 3_002_000_000
DEFAULT_IMAGE = 1_002_000_000


@pytest.fixture
def tracker() -> Iterator[CostTracker]:
    """A tracker whose events stay in its queue."""
    with CostTracker(NOBODY, "tests", flush_timeout_seconds=0) as tracker:
        yield tracker


def analyse(job: Job) -> str:
    """Do on one image what the plan allows, and embed 50 tokens."""
    for operation in job.plan.rekognition:
        job.track_rekognition(job.user_id, operation, 1)
    job.track_embedding(job.user_id, job.plan.embedding_model or "", 50)
    return "done"


def test_a_job_is_planned_estimated_decided_run_and_settled(tracker: CostTracker) -> None:
    """The result has the breakdown by step, the total and actual / estimate; the guard has the actual amount."""
    guard = PlainGuard(USD)
    result = CostAwareProcessor(tracker, guard).run("u", ImageWork(), analyse, tier="premium")
    assert (result.ran, result.value, result.settled, result.error) == (True, "done", True, None)
    assert result.decision.verdict is Verdict.ALLOW
    assert result.limited.plan.tier == "premium"
    assert result.estimate.total == PREMIUM_IMAGE
    assert [(step.service, step.operation, step.quantity, step.amount) for step in result.breakdown] == [
        ("aws-rekognition", "detectLabels", 10**9, 1_000_000_000),
        ("aws-rekognition", "detectText", 10**9, 1_000_000_000),
        ("aws-rekognition", "detectFaces", 10**9, 1_000_000_000),
        ("openai", "embedding-text-embedding-3-small", 50 * 10**9, 1_000_000),
    ]
    assert result.total == 3_001_000_000
    assert result.efficiency == Fraction(3001, 3002)
    assert result.spend.by_operation()["aws-rekognition", "detectText"] == 1_000_000_000
    ids = tuple(step.event_id for step in result.breakdown)
    assert guard.settled == [("u", "r1", 3_001_000_000, ids)]
    assert guard.nothing_is_held()
    assert tracker.stats()["tracked"] == 4
    assert result.text == "done, having cost 0.003001 USD; estimated 0.003002 USD"


@pytest.mark.parametrize(
    ("budget", "spent", "reason"),
    [
        (PREMIUM_IMAGE * 10, PREMIUM_IMAGE * 9 + 1, "Monthly budget would be exceeded"),
        (PREMIUM_IMAGE * 10 - 1, 0, "Single operation cost exceeds 10% of monthly budget"),
    ],
)
def test_a_skipped_job_is_not_run_and_says_why(tracker: CostTracker, budget: int, spent: int, reason: str) -> None:
    """Neither called nor tracked, and nothing is held. (Shares at 100 %, so that the plan stays as it is.)"""
    guard = PlainGuard(budget, spent)
    processor = CostAwareProcessor(tracker, guard, plan_shares=[(Decimal(100), "free")])
    called: list[Job] = []
    result = processor.run("u", ImageWork(), called.append, tier="premium")
    assert called == []
    assert (result.ran, result.decision.reason, result.value, result.efficiency) == (False, reason, None, None)
    assert result.text == f"not run: {reason}"
    assert guard.nothing_is_held()
    assert tracker.stats()["tracked"] == 0
    with pytest.raises(JobSkipped, match=reason), processor.job("u", ImageWork(), tier="premium"):
        pytest.fail("the block must not be entered")
    skipped = asyncio.run(processor.run_async("u", ImageWork(), pytest.fail, tier="premium"))
    assert (skipped.ran, skipped.decision.reason) == (False, reason)


def test_a_warned_job_runs_and_is_told(tracker: CostTracker, caplog: pytest.LogCaptureFixture) -> None:
    """The job sees the verdict, and the log has a line."""
    guard = PlainGuard(PREMIUM_IMAGE * 10, PREMIUM_IMAGE * 8)
    processor = CostAwareProcessor(tracker, guard, plan_shares=[])
    with caplog.at_level(logging.WARNING):
        result = processor.run("u", ImageWork(), lambda job: job.decision.verdict, tier="premium")
    assert (result.value, result.ran) == (Verdict.WARN, True)
    assert "with a warning: 90% of monthly budget would be used" in caplog.text


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


def test_an_async_job_gives_the_same_result(tracker: CostTracker) -> None:
    """As a coroutine function and as a block."""
    guard = PlainGuard(USD)
    processor = CostAwareProcessor(tracker, guard)

    async def job(job: Job) -> str:
        return analyse(job)

    async def both() -> None:
        result = await processor.run_async("u", ImageWork(), job, tier="premium")
        assert (result.value, result.total, result.efficiency) == ("done", 3_001_000_000, Fraction(3001, 3002))
        async with processor.job("u", ImageWork(), tier="premium") as block:
            analyse(block)
        assert block.result.total == 3_001_000_000

    asyncio.run(both())
    assert [entry[2] for entry in guard.settled] == [3_001_000_000, 3_001_000_000]


def test_work_of_unknown_cost_is_skipped_unless_allowed(tracker: CostTracker) -> None:
    """An unknown price is not 0: nothing is reserved as if it were. Allowed, the known part is held to the budget."""
    guard = PlainGuard(USD)
    work = CombinedWork([ImageWork(), OperationWork("nobody", "knows")])
    result = CostAwareProcessor(tracker, guard).run("u", work, analyse)
    assert (result.ran, result.decision.code, result.decision.verdict) == (False, UNPRICED_ESTIMATE, Verdict.SKIP)
    assert "no price for 1 units of nobody/knows" in result.decision.reason
    assert guard.nothing_is_held()

    def job(job: Job) -> None:
        job.track("u", "nobody", "knows", 1)

    allowed = CostAwareProcessor(tracker, guard, when_unpriced="allow").run("u", work, job)
    assert (allowed.ran, allowed.decision.estimate, allowed.efficiency) == (True, DEFAULT_IMAGE, None)
    # The event had no price: the hold stays as it was, rather than becoming 0.
    assert [entry[2] for entry in guard.settled] == [DEFAULT_IMAGE]


@pytest.mark.parametrize(
    ("wrong", "unpriced", "rejected"),
    [
        (lambda job: job.track("u", "nobody", "knows", 1), 1, 0),
        (lambda job: job.track("u", "", "o", 1), 0, 1),
        (lambda job: job.track("u", "s", "o", "many"), 0, 1),
        (lambda job: job.track_chat("u", "gpt-4o", -1, 0), 0, 1),
        (lambda job: job.emit(None), 0, 1),
    ],
)
def test_spend_that_is_not_known_never_frees_money(
    tracker: CostTracker, wrong: Any, unpriced: int, rejected: int
) -> None:
    """A call without a price, or tracked with wrong arguments: the hold stays at least as large as it was."""
    guard = PlainGuard(USD)

    def job(job: Job) -> None:
        job.track_rekognition("u", "detectLabels", 1)
        wrong(job)

    result = CostAwareProcessor(tracker, guard).run("u", ImageWork(), job, tier="premium")
    assert (result.spend.unpriced, result.spend.rejected) == (unpriced, rejected)
    assert (result.total, result.efficiency) == (1_000_000_000, None)
    assert "having cost at least 0.001 USD" in result.text
    # No event is named: the month's total will never have what nobody knows, and the amount counts for its full time.
    assert [entry[2:] for entry in guard.settled] == [(PREMIUM_IMAGE, ())]
    assert tracker.stats()["rejected"] == rejected


def test_as_the_budget_runs_out_the_plan_shrinks_and_the_saving_is_told(kafka: KafkaServer) -> None:
    """85 % used: the default plan; full minus limited estimate, 0.002, is an event of `tiered_processing`."""
    topic = kafka.create_topic(kafka.unique("events"))
    guard = PlainGuard(USD, USD * 85 // 100)
    with CostTracker(kafka.bootstrap_servers, "tests", topic=topic) as tracker:
        processor = CostAwareProcessor(tracker, guard)
        result = processor.run("u", ImageWork(), analyse, tier="premium")
        with pytest.raises(ZeroDivisionError):
            processor.run("u", ImageWork(), lambda _: 1 // 0, tier="premium")
        assert tracker.flush(FLUSH_SECONDS) == 0
    assert (result.limited.share, result.limited.tier, result.limited.plan.rekognition) == (
        Decimal(80),
        "default",
        ("detectLabels",),
    )
    assert (result.estimate.total, result.saved) == (DEFAULT_IMAGE, PREMIUM_IMAGE - DEFAULT_IMAGE)
    (saving,) = [event for event in events_in(kafka, topic) if event.service == "costledger"]
    assert (saving.operation, saving.unit) == ("saved:tiered_processing", "mUSD")
    assert (saving.quantity, saving.amount) == (2_000_000_000, 0)
    assert saving.metadata == {"plan": "premium", "limited_to": "default", "share_percent": "80"}


def test_a_job_with_a_key_holds_its_money_once(tracker: CostTracker) -> None:
    """Entered again after a crash it finds its reservation; at the same time it is refused."""
    guard = PlainGuard(USD)
    lost = guard.reserve("u", DEFAULT_IMAGE, "upload-7")
    processor = CostAwareProcessor(tracker, guard)
    with processor.job("u", ImageWork(), key="upload-7") as job:
        assert guard.held == {"u": {lost.reservation_id: DEFAULT_IMAGE}}
        with pytest.raises(InvalidValue, match="of no other job of u that is running"):
            processor.run("u", ImageWork(), analyse, key="upload-7")
        assert processor.run("v", ImageWork(), analyse, key="upload-7").ran
        analyse(job)
    assert guard.nothing_is_held()
    # The work under this key is paid: done again, it would be paid again.
    again = processor.run("u", ImageWork(), analyse, key="upload-7")
    assert (again.ran, again.decision.code, guard.released) == (False, ALREADY_SETTLED, [])


def test_a_job_entered_again_has_the_plan_that_it_had(tracker: CostTracker) -> None:
    """Its own hold, of 6 % of what is left, does not count against it."""
    guard = PlainGuard(100_000_000_000, 79_000_000_000)
    processor = CostAwareProcessor(tracker, guard)
    first = processor.job("u", ImageWork(), tier="premium", key="photo-1")
    with first:
        # As a crash leaves it: still held.
        processor._setup.running.leave("u", "photo-1")
        with processor.job("u", ImageWork(), tier="premium", key="photo-1") as again:
            assert not again.limited.is_limited
            assert again.plan == first.plan


def test_zero_cost_work_holds_nothing(tracker: CostTracker) -> None:
    """As estimated is 1; cost where none was estimated has no ratio."""
    guard = PlainGuard(0)
    processor = CostAwareProcessor(tracker, guard)
    free = CombinedWork([])
    result = processor.run("u", free, lambda _: None)
    assert (result.ran, result.settled, result.total, result.efficiency) == (True, None, 0, Fraction(1))
    assert processor.run("u", free, analyse).efficiency is None


def test_another_users_events_and_repeats_are_not_this_users_spend(tracker: CostTracker) -> None:
    """They stand in the breakdown; the guard of this user is told of their own events, each once."""
    guard = PlainGuard(USD)
    at = datetime(2026, 11, 23, 9, tzinfo=UTC)
    event_id = new_event_id(int(at.timestamp() * 1_000_000))

    def job(job: Job) -> None:
        job.track_rekognition("someone else", "detectLabels", 5)
        for _ in range(2):
            job.track("u", "aws-rekognition", "detectLabels", 1, event_id=event_id)

    result = CostAwareProcessor(tracker, guard).run("u", ImageWork(), job)
    assert [step.user_id for step in result.breakdown] == ["someone else", "u"]
    assert (result.total, result.spend.others) == (1_000_000_000, 5_000_000_000)
    assert guard.settled == [("u", "r1", 1_000_000_000, (event_id,))]
    assert guard.expected == [("u", event_id)], "told before it is tracked, so that its acknowledgement is kept"


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


def test_concurrent_jobs_stay_within_one_budget(tracker: CostTracker) -> None:
    """64 jobs in 16 threads where 20 fit: 20 run, and at no moment more is held and spent than the budget."""
    guard = PlainGuard(DEFAULT_IMAGE * 20)
    processor = CostAwareProcessor(tracker, guard, plan_shares=[])

    def spend_all(job: Job) -> None:
        job.track_rekognition("u", "detectLabels", 1)
        job.track_embedding("u", "text-embedding-3-small", 100)

    with ThreadPoolExecutor(16) as pool:
        results = list(pool.map(lambda _: processor.run("u", ImageWork(), spend_all), range(64)))
    assert sum(result.ran for result in results) == 20
    assert guard.highest == guard.budget == sum(result.total for result in results)
    assert guard.nothing_is_held()


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


def test_a_job_is_used_once_and_has_nothing_to_tell_before(tracker: CostTracker) -> None:
    """Misuse is a plain error, not a second reservation."""
    job = CostAwareProcessor(tracker, PlainGuard(USD)).job("u", ImageWork(), key="k")
    for name in ("plan", "decision", "estimate", "result"):
        with pytest.raises(RuntimeError, match="before it is entered"):
            getattr(job, name)
    with job:
        pass
    with pytest.raises(RuntimeError, match="can be entered once"), job:
        pytest.fail("the block must not be entered")


def test_a_long_jobs_breakdown_is_bounded_and_its_total_is_not(
    tracker: CostTracker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps beyond the bound are counted, and their amounts are in the total."""
    monkeypatch.setattr(recording, "STEPS_MAX", 3)
    guard = PlainGuard(USD)

    def job(job: Job) -> None:
        for _ in range(5):
            job.track_rekognition("u", "detectLabels", 1)

    result = CostAwareProcessor(tracker, guard).run("u", ImageWork(), job)
    assert (len(result.breakdown), result.spend.steps_omitted, result.total) == (3, 2, 5_000_000_000)
    # Three of five events are not all: a guard that was told them would end the hold when it has seen the three.
    assert guard.settled == [("u", "r1", 5_000_000_000, ())]


def test_a_strict_tracker_raises_through_the_job_and_the_money_is_settled() -> None:
    """What was paid before the error counts."""
    guard = PlainGuard(USD)

    def job(job: Job) -> None:
        job.track_rekognition("u", "detectLabels", 1)
        job.track("u", "s", "o", "many")

    with CostTracker(NOBODY, "tests", flush_timeout_seconds=0, strict=True) as tracker, pytest.raises(EventDropped):
        CostAwareProcessor(tracker, guard).run("u", ImageWork(), job)
    assert len(guard.settled) == 1


def test_a_saving_goes_where_the_jobs_events_go(tracker: CostTracker) -> None:
    """Into the outbox, say; the tracker itself, which could not keep it, hears nothing."""
    records: list[EventRecord] = []

    def through(record: EventRecord) -> UUID:
        records.append(record)
        return UUID(record["event_id"])

    guard = PlainGuard(USD, USD * 85 // 100)
    result = CostAwareProcessor(tracker, guard).run("u", ImageWork(), analyse, tier="premium", through=through)
    assert (result.saved, records[-1]["operation"]) == (PREMIUM_IMAGE - DEFAULT_IMAGE, "saved:tiered_processing")
    assert tracker.stats()["tracked"] == 0
    assert len(guard.expected) == len(result.breakdown) == 2, "the saving costs nothing, and is not settled"


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


def test_the_settings_name_plans_and_shares(
    tracker: CostTracker, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    """`COSTLEDGER_PLAN_FILE` and `COSTLEDGER_PLAN_SHARES` are read, and a wrong one is refused at once."""
    path = tmp_path / "plans.toml"
    path.write_text("[plan.free]\nrekognition = ['detectFaces']\n", encoding="utf-8")
    monkeypatch.setenv("COSTLEDGER_PLAN_FILE", str(path))
    monkeypatch.setenv("COSTLEDGER_PLAN_SHARES", '[["50", "default"]]')
    processor = CostAwareProcessor(tracker, PlainGuard(USD, USD * 6 // 10))
    result = processor.run("u", ImageWork(), lambda job: job.plan.rekognition, tier="free")
    assert (result.limited.share, result.value) == (Decimal(50), ())
    monkeypatch.setenv("COSTLEDGER_PLAN_SHARES", '[["50", "cheap"]]')
    with pytest.raises(SettingsError, match="a tier is 'cheap'"):
        CostAwareProcessor(tracker, PlainGuard(USD))


def events_in(kafka: KafkaServer, topic: str) -> list[CostEvent]:
    """All events of the topic, decoded and checked."""
    return [decode_cost_event(message.value() or b"") for message in read_topic(kafka.bootstrap_servers, topic)]
