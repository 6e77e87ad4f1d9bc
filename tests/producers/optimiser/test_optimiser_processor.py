"""The cost-aware processor: what runs, what is held and settled, and what a result tells. Amounts in 1e-12 USD."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from fractions import Fraction
from typing import Any
from uuid import UUID

import pytest
from tests.fixtures.fix_kafka import KafkaServer
from tests.producers.guard.plain_guard import PlainGuard
from tests.producers.optimiser.optimising import DEFAULT_IMAGE, FLUSH_SECONDS, PREMIUM_IMAGE, USD, analyse
from tests.producers.reading import events_in

from costledger.producers import CostTracker
from costledger.producers.guard import Verdict
from costledger.producers.guard.decisions import ALREADY_SETTLED
from costledger.producers.optimiser.jobs import Job
from costledger.producers.optimiser.processor import CostAwareProcessor
from costledger.producers.optimiser.results import JobSkipped
from costledger.producers.optimiser.work import CombinedWork, ImageWork
from costledger.schemas.errors import InvalidValue, SettingsError
from costledger.schemas.events import EventRecord


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
