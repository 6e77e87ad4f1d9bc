"""The guard with the real tracker, stream app, sink and ledger: concurrent jobs keep a budget, also when Redis is lost."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from decimal import Decimal

import psycopg
import pytest

from costledger.producers import CostTracker
from costledger.producers.guard import RedisGuard
from costledger.schemas.budgets import Budget
from costledger.schemas.money import PICODOLLARS_PER_USD, to_usd
from costledger.sinks.budgets import save_budget
from costledger.sinks.spend import LedgerReader

USER = "guarded-user"
BUDGET = PICODOLLARS_PER_USD * 7 + 123_456_789_012
LEAST, MOST = BUDGET // 2000, BUDGET // 150
GUARDS, THREADS = 2, 8
DEADLINE_SECONDS = 120.0


class Jobs:
    """Jobs of one guard, in threads, until the month's total leaves no room for the smallest of them."""

    def __init__(self, guard: RedisGuard, tracker: CostTracker, seed: int) -> None:
        self.guard, self.tracker = guard, tracker
        self.codes: Counter[str] = Counter()
        self.exhausted = 0
        self.threads = [threading.Thread(target=self._run, args=(seed + each,)) for each in range(THREADS)]
        for thread in self.threads:
            thread.start()

    def _run(self, seed: int) -> None:
        rng, deadline, ask_for = random.Random(seed), time.monotonic() + DEADLINE_SECONDS, None
        while time.monotonic() < deadline:
            estimate = ask_for or rng.randint(LEAST, MOST)
            made = self.guard.reserve(USER, estimate)
            decision = made.decision
            self.codes[decision.code] += 1
            if decision.may_run and made.reservation_id is not None:
                actual = rng.randint(estimate // 2, estimate)
                parts = [actual // 3, actual - actual // 3]
                events = [self.tracker.track(USER, "openai", "tokens", 1, amount=to_usd(part)) for part in parts]
                self.guard.settle(USER, made.reservation_id, actual, events)
                time.sleep(rng.random() * 0.5)
                continue
            if decision.month_to_date is not None:
                if decision.month_to_date + LEAST > BUDGET and estimate == LEAST:
                    self.exhausted += 1
                    return
                ask_for = LEAST
            time.sleep(0.05 + rng.random() * 0.1)


@pytest.mark.slow
def test_concurrent_jobs_keep_a_budget(system, seed: int) -> None:
    """Never a picodollar above it, less than the smallest job left of it, and everything reconciles."""
    with psycopg.connect(system.database_url) as connection:
        save_budget(connection, Budget(user_id=USER, monthly_budget=BUDGET))
    for worker in ("stream", "sink"):
        system.start(worker)
    ledger = LedgerReader(system.database_url)
    address = system.environment["COSTLEDGER_BOOTSTRAP_SERVERS"]
    topic = f"{system.topic_prefix}cost.events"
    redis_url = system.environment["COSTLEDGER_REDIS_URL"]
    trackers = [CostTracker(address, "jobs", topic=topic) for _ in range(GUARDS)]
    guards = [
        RedisGuard(
            redis_url,
            budgets=ledger.budget,
            spend=ledger.month_to_date,
            recovery_seconds=3,
            timeout_seconds=5,
            single_share_percent=Decimal(10),
        )
        for _ in range(GUARDS)
    ]
    for guard, tracker in zip(guards, trackers, strict=True):
        guard.follow(tracker)
        assert guard.prepare(30)
    # Else the jobs may have ended before the ledger shows the first of them.
    trackers[0].track("somebody", "openai", "tokens", 1, amount=Decimal(1))
    assert trackers[0].flush(30) == 0
    system.await_entries(1)
    system.wait_until(system.redis_totals, 60, "stream and sink are at work")
    jobs = [
        Jobs(guard, tracker, seed + 100 * each)
        for each, (guard, tracker) in enumerate(zip(guards, trackers, strict=True))
    ]

    def spent() -> Decimal:
        return system.value("SELECT coalesce(sum(amount), 0) FROM ledger.entries WHERE user_id = %s", USER)

    system.wait_until(lambda: spent() > to_usd(BUDGET) / 5, 60, "a fifth is spent")
    system.redis.flushdb()
    for each in jobs:
        for thread in each.threads:
            thread.join()
    for guard, tracker in zip(guards, trackers, strict=True):
        assert tracker.flush(30) == 0
        guard.close()
        tracker.close()
    ledger.close()
    system.await_reconciled()
    total = int(spent() * PICODOLLARS_PER_USD)
    assert total <= BUDGET, f"overspent by {total - BUDGET}"
    assert total + LEAST > BUDGET, f"only {total / BUDGET:.3f} used: {[each.codes for each in jobs]}"
    assert [each.exhausted for each in jobs] == [THREADS] * GUARDS
    assert all(each.codes["guard_recovering"] for each in jobs)
