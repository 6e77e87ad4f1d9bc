"""The cost-aware processor on the real guard: Redis holds, settles and gives back. Amounts in 1e-12 USD."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import pytest

from costledger.producers import CostTracker
from costledger.producers.guard import RedisGuard
from costledger.producers.optimiser import CostAwareProcessor, ImageWork, Job, JobSkipped
from costledger.schemas.budgets import Budget

NOBODY = "127.0.0.1:9"
IMAGE = 1_002_000_000
BUDGET = IMAGE * 20
MakeGuard = Callable[[int], RedisGuard]


@pytest.fixture
def make_guard(redis_url: str) -> Iterator[MakeGuard]:
    """A guard of a Redis that is known to be empty, with so much spent this month according to the ledger."""
    made: list[RedisGuard] = []

    def make(spent: int) -> RedisGuard:
        budget = Budget(user_id="u", monthly_budget=BUDGET)
        guard = RedisGuard(redis_url, budgets=lambda _: budget, spend=lambda _, __: spent, recovery_seconds=0)
        made.append(guard)
        return guard

    yield make
    for guard in made:
        guard.close()


def used(guard: RedisGuard) -> int:
    """Month-to-date and what is held or settled, as the guard decides on it."""
    decision = guard.decide("u", 1)
    assert decision.month_to_date is not None
    assert decision.reserved is not None
    return decision.month_to_date + decision.reserved


def spend_all(job: Job) -> None:
    """Exactly the estimate of an image under the plan `default`."""
    job.track_rekognition("u", "detectLabels", 1)
    job.track_embedding("u", "text-embedding-3-small", 100)


def test_a_jobs_hold_becomes_what_it_has_cost(tracker: CostTracker, make_guard: MakeGuard) -> None:
    """Held while it runs; afterwards the actual amount; under the same key the work is not paid again."""
    guard = make_guard(0)
    processor = CostAwareProcessor(tracker, guard)
    with processor.job("u", ImageWork(), key="photo-1") as job:
        assert used(guard) == IMAGE
        job.track_rekognition("u", "detectLabels", 1)
    assert (job.result.settled, used(guard)) == (True, 1_000_000_000)
    again = processor.run("u", ImageWork(), spend_all, key="photo-1")
    assert (again.ran, again.decision.code) == (False, "already_settled")
    assert used(guard) == 1_000_000_000


def test_a_job_that_fails_or_is_cancelled_holds_only_what_it_spent(tracker: CostTracker, make_guard: MakeGuard) -> None:
    """Nothing where it spent nothing; a retry under its key then reserves anew."""
    guard = make_guard(0)
    processor = CostAwareProcessor(tracker, guard)
    with pytest.raises(ZeroDivisionError):
        processor.run("u", ImageWork(), lambda _: 1 // 0, key="photo-1")
    assert used(guard) == 0
    assert processor.run("u", ImageWork(), spend_all, key="photo-1").ran
    assert used(guard) == IMAGE

    async def scene() -> None:
        started = asyncio.Event()

        async def job(job: Job) -> None:
            job.track_rekognition("u", "detectLabels", 1)
            started.set()
            await asyncio.Event().wait()

        task = asyncio.create_task(processor.run_async("u", ImageWork(), job))
        await started.wait()
        assert await asyncio.to_thread(used, guard) == 2 * IMAGE
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(scene())
    assert used(guard) == IMAGE + 1_000_000_000


def test_64_jobs_of_two_services_never_overspend(tracker: CostTracker, make_guard: MakeGuard) -> None:
    """Two guards as of two processes, 16 threads, 20 jobs fit: 20 run, and to the picodollar no more is used."""
    guards = [make_guard(0), make_guard(0)]
    processors = [CostAwareProcessor(tracker, guard, plan_shares=[]) for guard in guards]
    with ThreadPoolExecutor(16) as pool:
        results = list(pool.map(lambda number: processors[number % 2].run("u", ImageWork(), spend_all), range(64)))
    assert sum(result.ran for result in results) == 20
    assert sum(result.total for result in results) == BUDGET == used(guards[0])


def test_the_months_spend_limits_the_plan_and_then_the_job(tracker: CostTracker, make_guard: MakeGuard) -> None:
    """85 % of the budget used: the default plan. All of it: no job."""
    result = CostAwareProcessor(tracker, make_guard(BUDGET * 85 // 100)).run(
        "u", ImageWork(), spend_all, tier="ultimate"
    )
    assert (result.limited.share, result.limited.plan.rekognition) == (Decimal(80), ("detectLabels",))
    assert (result.ran, result.total) == (True, IMAGE)


def test_a_job_beyond_the_months_budget_is_skipped(tracker: CostTracker, make_guard: MakeGuard) -> None:
    """With the guard's own sentence."""
    processor = CostAwareProcessor(tracker, make_guard(BUDGET))
    with pytest.raises(JobSkipped, match="Monthly budget would be exceeded"), processor.job("u", ImageWork()):
        pytest.fail("the block must not be entered")
