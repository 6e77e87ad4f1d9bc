"""What the tests of the guard share: a clock, a stand-in for the stream's totals, one for a tracker."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any
from uuid import UUID

import redis

from costledger.producers.guard import RedisGuard
from costledger.schemas.budgets import Budget
from costledger.schemas.ids import new_event_id
from costledger.schemas.periods import PeriodKind, period_at
from costledger.schemas.redis_keys import totals_key

USD = 10**12
SECOND = 1_000_000


def now_us() -> int:
    """Unix microseconds."""
    return time.time_ns() // 1000


class Clock:
    """A clock that a test sets."""

    def __init__(self, at_us: int) -> None:
        self.at_us = at_us

    def __call__(self) -> int:
        return self.at_us

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.at_us += round(seconds * SECOND)


class Tracker:
    """A stand-in for a tracker: events get ids at once and offsets when the test says so."""

    def __init__(self, clock: Callable[[], int] = now_us) -> None:
        self._clock = clock
        self.listeners: list[Callable[[UUID, int, int], None]] = []

    def subscribe(self, listener: Callable[[UUID, int, int], None]) -> None:
        """As the tracker's."""
        self.listeners.append(listener)

    def unsubscribe(self, listener: Callable[[UUID, int, int], None]) -> None:
        """As the tracker's."""
        self.listeners.remove(listener)

    def track(self) -> UUID:
        """An event of now."""
        return new_event_id(self._clock())

    def acknowledge(self, event_id: UUID, offset: int) -> None:
        """Kafka has it."""
        for listener in list(self.listeners):
            listener(event_id, 3, offset)


def show_total(client: redis.Redis, user: str, total: int, offset: int, at_us: int | None = None) -> None:
    """Write a month's total as the stream does."""
    label = period_at(PeriodKind.MONTH, now_us() if at_us is None else at_us).label
    client.hset(totals_key(user, PeriodKind.MONTH, label), mapping={"total": str(total), "offset": str(offset)})


def make_guard(url: str, **other: Any) -> RedisGuard:
    """A guard over budgets of 100 USD, with short times."""
    values: dict[str, Any] = {
        "budgets": lambda user: Budget(user_id=user, version=3, monthly_budget=100 * USD),
        "recovery_seconds": 0.4,
        "timeout_seconds": 5,
        **other,
    }
    return RedisGuard(url, **values)
