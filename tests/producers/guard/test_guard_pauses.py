"""A source of budgets, or a Redis, that hangs is waited for by one job, not by all of them."""

from __future__ import annotations

import os
import signal
import time

import pytest
from tests.fixtures.fix_redis import OwnRedis
from tests.fixtures.wait import wait_until
from tests.producers.guard.guarding import SECOND, USD, Clock, Tracker, make_guard

from costledger.producers.guard.budgets import BudgetCache
from costledger.schemas.budgets import Budget
from costledger.schemas.errors import Unavailable


class Source:
    """A source of budgets that fails, after a time, while it is told to."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.seconds = 0.0
        self.failing = {"ann", "bob"}
        self.asked = 0

    def __call__(self, user_id: str) -> Budget | None:
        """The budget of a user."""
        self.asked += 1
        self.clock.advance(self.seconds)
        if user_id in self.failing:
            raise OSError("no budgets today")
        return Budget(user_id=user_id)


@pytest.fixture
def source() -> Source:
    """One with a clock of its own."""
    return Source(Clock(1000 * SECOND))


@pytest.fixture
def cache(source: Source) -> BudgetCache:
    """What is tested, on the source's clock."""
    return BudgetCache(source, 5, lambda: source.clock() / SECOND)


def test_a_user_whose_budget_cannot_be_read_is_not_asked_for_again_at_once(source: Source, cache: BudgetCache) -> None:
    """For a second; the others are asked for."""
    with pytest.raises(OSError, match="no budgets today"):
        cache.get("ann")
    for _ in range(50):
        with pytest.raises(Unavailable, match="a moment ago: no budgets today"):
            cache.get("ann")
    assert source.asked == 1
    assert cache.get("eve").user_id == "eve"
    source.failing.clear()
    source.clock.advance(1.01)
    assert cache.get("ann").user_id == "ann"


def test_a_source_that_hangs_is_waited_for_once_whoever_asks(source: Source, cache: BudgetCache) -> None:
    """What is remembered counts all the same."""
    assert cache.get("eve").user_id == "eve"
    source.seconds = 2.0
    with pytest.raises(OSError, match="no budgets today"):
        cache.get("ann")
    with pytest.raises(Unavailable, match="took long to fail"):
        cache.get("bob")
    assert (source.asked, cache.get("eve").user_id) == (2, "eve")


@pytest.mark.fault
def test_settling_and_releasing_do_not_wait_for_a_redis_that_hangs(own_redis: OwnRedis) -> None:
    """All is told when it answers again; nor is it asked twice by a reservation that came to nothing."""
    guard = make_guard(own_redis.url, recovery_seconds=0.2, timeout_seconds=1)
    try:
        assert guard.prepare(10)
        assert guard.decide("ann", 1).may_run
        held = [guard.reserve("ann", USD).reservation_id for _ in range(40)]
        pid = own_redis.service.pid
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        try:
            began = time.monotonic()
            assert guard.reserve("ann", USD).decision.code == "guard_unavailable"
            asked_seconds = time.monotonic() - began
            for each in held[:20]:
                guard.settle("ann", each, USD, [Tracker().track()])
            for each in held[20:]:
                guard.release("ann", each)
            assert asked_seconds < 1.8, "one timeout, not two"
            assert time.monotonic() - began < 4
        finally:
            os.kill(pid, signal.SIGCONT)
        wait_until(lambda: guard.decide("ann", 1).reserved == 20 * USD, 20, "Redis knows all of it")
    finally:
        guard.close()
