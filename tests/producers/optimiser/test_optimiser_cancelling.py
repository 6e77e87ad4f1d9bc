"""Jobs that are cancelled at any step: no money stays held behind their back. Amounts in 1e-12 USD."""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from uuid import UUID

import pytest
from tests.producers.guard.plain_guard import PlainGuard

from costledger.producers import CostTracker
from costledger.producers.guard import Reservation
from costledger.producers.optimiser import CostAwareProcessor, ImageWork, Job

USD = 10**12
WAIT_SECONDS = 30.0
NOBODY = "127.0.0.1:9"


class SlowGuard(PlainGuard):
    """Each step waits until the test lets it go on, and never on the thread of the event loop."""

    def __init__(self, budget: int, slow: str) -> None:
        super().__init__(budget)
        self.slow = slow
        self.waiting = threading.Event()
        self.go_on = threading.Event()
        self.loop_thread: int | None = None

    def reserve(self, user_id: str, estimate: int, key: str | None = None) -> Reservation:
        """As above."""
        self._wait("reserve")
        return super().reserve(user_id, estimate, key)

    def settle(self, user_id: str, reservation_id: str, actual: int, event_ids: Sequence[UUID] = ()) -> None:
        """As above."""
        self._wait("settle")
        super().settle(user_id, reservation_id, actual, event_ids)

    def _wait(self, step: str) -> None:
        assert threading.get_ident() != self.loop_thread
        if step == self.slow:
            self.waiting.set()
            assert self.go_on.wait(WAIT_SECONDS)


@pytest.mark.parametrize("slow", ["reserve", "settle", "neither"])
def test_a_cancelled_job_leaves_nothing_held(tracker: CostTracker, slow: str) -> None:
    """Cancelled while money is reserved, while the job runs, or while it is settled: the guard's step is finished."""
    guard = SlowGuard(USD, slow)
    processor = CostAwareProcessor(tracker, guard)
    started = asyncio.Event()

    async def job(job: Job) -> None:
        job.track_rekognition("u", "detectLabels", 1)
        started.set()
        if slow == "neither":
            await asyncio.Event().wait()

    async def scene() -> None:
        guard.loop_thread = threading.get_ident()
        task = asyncio.create_task(processor.run_async("u", ImageWork(), job))
        if slow == "neither":
            await started.wait()
        else:
            assert await asyncio.to_thread(guard.waiting.wait, WAIT_SECONDS)
        task.cancel()
        await asyncio.sleep(0)
        task.cancel()
        assert not task.done()
        guard.go_on.set()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(scene())
    assert guard.nothing_is_held()
    if slow == "reserve":
        assert (guard.released, guard.settled) == (["r1"], [])
        assert tracker.stats()["tracked"] == 0
    else:
        assert [entry[2] for entry in guard.settled] == [1_000_000_000]


class Fault(Exception):
    """Thrown at a random step."""


def test_random_jobs_that_fail_anywhere_leave_the_books_right(tracker: CostTracker, seed: int) -> None:
    """300 jobs of 5 users in 8 threads, failing before, between and after paid calls: all settled to the picodollar."""
    guard = PlainGuard(USD)
    processor = CostAwareProcessor(tracker, guard, plan_shares=[])
    spent: Counter[str] = Counter()
    lock = threading.Lock()

    def one(number: int) -> None:
        chance = random.Random(f"{seed}/{number}")
        user = f"user-{chance.randrange(5)}"

        def work(job: Job) -> None:
            for _ in range(chance.randrange(6)):
                if chance.random() < 0.2:
                    raise Fault
                count = chance.randrange(1, 1000)
                job.track_embedding(user, "text-embedding-3-large", count)
                with lock:
                    # 0.13 / 1e6 USD each.
                    spent[user] += count * 130_000

        with contextlib.suppress(Fault):
            processor.run(
                user, ImageWork(images=1 + chance.randrange(3)), work, key=chance.choice([None, f"k{number}"])
            )

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(one, range(300)))
    assert guard.nothing_is_held()
    settled: Counter[str] = Counter()
    for user, _, actual, ids in guard.settled:
        settled[user] += actual
        assert (actual > 0) == bool(ids)
    assert settled == spent
    assert {user: guard.spent[user] for user in settled} == dict(settled)
    # Those that failed before their first call gave their money back.
    assert guard.released
