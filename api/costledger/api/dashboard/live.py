"""Telling open pages that what they show has changed: one task for a process asks once a second for all of them.

A user's month hash in Redis changes within moments of an event; the roll-ups follow when the sink has written it. So a
user whose hash changed is *settling* for a while, and their roll-ups are looked at too: nobody else's are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextvars import Context
from dataclasses import dataclass, field
from typing import Final, Literal

import psycopg
import redis
import structlog

from costledger.api.services import Services
from costledger.schemas.periods import PeriodKind, period_at
from costledger.schemas.redis_keys import totals_key
from costledger.schemas.times import to_microseconds
from costledger.sinks.queries import query

logger = structlog.get_logger(__name__)

POLL_SECONDS: Final = 1.0
CONNECTIONS_MAX: Final = 400
CONNECTIONS_OF_USER_MAX: Final = 12
#: Rounds for which the roll-ups of a user are looked at after Redis changed.
SETTLING_ROUNDS: Final = 60

Part = Literal["costs", "alerts"]
#: `live`: from now on nothing is missed, so look once at everything; `end`: connect again.
Message = Part | Literal["live", "away", "end"]


class TooManyPages(Exception):
    """No more pages can be told."""


@dataclass(frozen=True, slots=True)
class Marks:
    """What is compared: each changes when its part of the page does. `rolled_up` is None unless looked at."""

    budget: int
    alerts: str
    realtime: str
    rolled_up: str | None


@dataclass(eq=False, slots=True)
class Subscription:
    """One open page, and what it has not been told yet: each message once, so there are never many."""

    user_id: str
    standing: Literal["new", "live", "away"] = "new"
    _waiting: list[Message] = field(default_factory=list)
    _something: asyncio.Event = field(default_factory=asyncio.Event)

    def tell(self, message: Message) -> None:
        """Leave a message; one that still waits is not left again."""
        if message not in self._waiting:
            self._waiting.append(message)
        self._something.set()

    async def next(self, timeout_seconds: float) -> Message | None:
        """The oldest message, or None after the time is over."""
        try:
            await asyncio.wait_for(self._something.wait(), timeout_seconds)
        except TimeoutError:
            return None
        message = self._waiting.pop(0)
        if not self._waiting:
            self._something.clear()
        return message


class LiveHub:
    """Knows the open pages of this process, and asks for all of them while there are any. For one event loop."""

    def __init__(self, services: Services, poll_seconds: float = POLL_SECONDS) -> None:
        self._services = services
        self._poll_seconds = poll_seconds
        self._subscriptions: set[Subscription] = set()
        self._marks: dict[str, Marks] = {}
        self._settling: dict[str, int] = {}
        self._away = False
        self._task: asyncio.Task[None] | None = None

    def subscribe(self, user_id: str) -> Subscription:
        """Begin to tell a page of this user; raises `TooManyPages`."""
        of_user = sum(one.user_id == user_id for one in self._subscriptions)
        if (
            self._services.stopping.is_set()
            or len(self._subscriptions) >= CONNECTIONS_MAX
            or of_user >= CONNECTIONS_OF_USER_MAX
        ):
            raise TooManyPages
        subscription = Subscription(user_id)
        self._subscriptions.add(subscription)
        if self._task is None or self._task.done():
            # In a context of its own: what it logs belongs to no request.
            self._task = asyncio.create_task(self._poll(), name="dashboard live updates", context=Context())
        return subscription

    def unsubscribe(self, subscription: Subscription) -> None:
        """The page is closed."""
        self._subscriptions.discard(subscription)

    async def _poll(self) -> None:
        try:
            while self._subscriptions and not self._services.stopping.is_set():
                await self._look()
                await asyncio.sleep(self._poll_seconds)
        finally:
            # The process stops; or after a defect the pages connect again, and the next one begins anew.
            for subscription in self._subscriptions:
                subscription.tell("end")

    async def _look(self) -> None:
        asked = list(self._subscriptions)
        users = sorted({one.user_id for one in asked})
        self._marks = {user: self._marks[user] for user in users if user in self._marks}
        self._settling = {user: left for user, left in self._settling.items() if user in users and left > 0}
        try:
            marks = await asyncio.to_thread(read_marks, self._services, users, sorted(self._settling))
        except (psycopg.Error, redis.RedisError) as error:
            self._say_away(asked, error)
            return
        self._away = False
        for user, now in marks.items():
            self._compare(user, now)
        for subscription in asked:
            if subscription.standing != "live":
                subscription.standing = "live"
                subscription.tell("live")

    def _compare(self, user: str, now: Marks) -> None:
        before = self._marks.get(user)
        self._marks[user] = now
        if user in self._settling:
            self._settling[user] -= 1
        if before is None:
            return
        costs = now.realtime != before.realtime or now.budget != before.budget
        if costs:
            self._settling[user] = SETTLING_ROUNDS
        # The first look at the roll-ups has nothing to be compared with: the page may have been made before it.
        costs = costs or (now.rolled_up is not None and now.rolled_up != before.rolled_up)
        for subscription in self._subscriptions:
            if subscription.user_id == user:
                if costs:
                    subscription.tell("costs")
                if now.alerts != before.alerts:
                    subscription.tell("alerts")

    def _say_away(self, asked: Sequence[Subscription], error: Exception) -> None:
        if not self._away:
            logger.warning("live updates of the dashboard pause", error=str(error).strip())
        for subscription in asked:
            if subscription.standing != "away":
                subscription.standing = "away"
                subscription.tell("away")
        self._away = True


def read_marks(services: Services, users: Sequence[str], settling: Sequence[str]) -> dict[str, Marks]:
    """The marks of users, in one statement and one round trip to Redis."""
    with services.ledger() as connection:
        rows = connection.execute(query("live_marks"), {"users": list(users), "settling": list(settling)}).fetchall()
    now = to_microseconds(services.now())
    pipeline = services.redis.pipeline(transaction=False)
    for user, time_zone, *_ in rows:
        label = period_at(PeriodKind.MONTH, now, time_zone).label
        pipeline.hmget(totals_key(user, PeriodKind.MONTH, label), ["total", "updated_at"])
    totals = pipeline.execute()
    return {
        user: Marks(budget, alerts, f"{label}", rolled_up)
        for (user, _, budget, alerts, rolled_up), label in zip(rows, totals, strict=True)
    }
