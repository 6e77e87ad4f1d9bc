"""The same in asyncio, as a block: whatever ends it, also a cancellation, what was spent is settled."""

from __future__ import annotations

import asyncio

from costledger.producers import CostTracker
from costledger.producers.guard import RedisGuard
from costledger.producers.optimiser import CostAwareProcessor, JobSkipped, VideoWork
from costledger.schemas.budgets import Budget
from costledger.schemas.money import to_picodollars, usd_text

MIB = 2**20
HUNDRED_USD = to_picodollars("100")


async def process_video(processor: CostAwareProcessor, size_bytes: int) -> None:
    """The block is entered when the work may run, and raises `JobSkipped` when it may not."""
    try:
        async with processor.job("user-2", VideoWork(size_bytes), tier="free") as job:
            for note in job.estimate.notes:
                print(f"  {note}")
            minutes = min(size_bytes / (5 * MIB), job.plan.seconds_max / 60)
            await asyncio.sleep(0)  # ... the calls
            job.track_rekognition_video(job.user_id, minutes)
            job.track_transcribe(job.user_id, minutes)
            job.track_s3(job.user_id, "storage", size_bytes / 2**30)
    except JobSkipped as skipped:
        print(f"  {skipped}")
        return
    print(f"  {job.result.text}")
    assert job.result.total > 0


async def main() -> None:
    """A video that fits the plan, and one that is longer: the plan `free` has two minutes."""
    budget = Budget(user_id="user-2", monthly_budget=HUNDRED_USD)
    with RedisGuard(budgets=lambda _: budget) as guard, CostTracker(source="video-service") as tracker:
        guard.follow(tracker)
        await asyncio.to_thread(guard.prepare, 30)
        processor = CostAwareProcessor(tracker, guard)
        for size_mib in (5, 50):
            print(f"{size_mib} MiB")
            await process_video(processor, size_mib * MIB)
        assert await asyncio.to_thread(tracker.flush, 30) == 0
        decision = await asyncio.to_thread(guard.decide, "user-2", 1)
        print(f"spent or reserved: {usd_text((decision.month_to_date or 0) + (decision.reserved or 0))} USD")


if __name__ == "__main__":
    asyncio.run(main())
