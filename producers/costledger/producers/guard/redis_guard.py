"""`RedisGuard`: decisions and reservations that all processes of all services share, in Redis.

What is decided here is `decisions.decide` on figures that Redis reads and changes in one atomic step; this module is
the control flow around it: budgets, months, outages. See README.md beside it for what is guaranteed and what not.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from decimal import Decimal
from functools import partial
from threading import RLock
from typing import TYPE_CHECKING, Final, Protocol, Self
from uuid import UUID, uuid4
from weakref import WeakSet

from costledger.producers.exits import forget, watch
from costledger.producers.guard import decisions
from costledger.producers.guard.answers import free_of_charge, reservation_of, unfigured
from costledger.producers.guard.arguments import check_amount, check_event_ids, check_id, check_user, hashed_key
from costledger.producers.guard.asking import Asker, Question, SpendSource, Unanswered
from costledger.producers.guard.budgets import BudgetCache, BudgetSource
from costledger.producers.guard.connecting import connect, redis_errors
from costledger.producers.guard.decisions import Decision, Reservation, Shares, Verdict, exceeds_single_share
from costledger.producers.guard.loud import Loud
from costledger.producers.guard.outstanding import ANY_MONTH, NO_KEY, Item, Kind, Outstanding
from costledger.producers.guard.pause import Pause
from costledger.producers.guard.scripts import Reserved, Scripts, Standing, Status, Times
from costledger.producers.guard.telling import Teller
from costledger.schemas.budgets import Budget
from costledger.schemas.errors import Unavailable
from costledger.schemas.ids import event_id_milliseconds
from costledger.schemas.periods import PeriodKind, period_at
from costledger.schemas.settings import Settings, load_settings

if TYPE_CHECKING:
    from redis import Redis

#: Called with an event's id, and its partition and offset on `cost.events`.
Listener = Callable[[UUID, int, int], None]

_TIMED_UUID_VERSION: Final = 7
_OVERFLOW: Final = "too many open reservations: a settled amount is told no more, and missed should Redis lose it"
_UNCLAIMED: Final = (
    "too many events are expected and not settled: the oldest are forgotten, and may count twice a while"
)


class Acknowledging(Protocol):
    """What the guard needs of a tracker."""

    def subscribe(self, listener: Listener) -> object:
        """Call the listener for every event that Kafka has acknowledged, from any thread."""
        ...

    def unsubscribe(self, listener: Listener) -> object:
        """Call it no more."""
        ...


class RedisGuard:
    """Decides and reserves; a `BudgetGuard`. One per process is enough; safe to share between threads.

    `redis` is a URL or a client (of a cluster, too), by default the setting `redis_url`; a URL gets short timeouts.
    `budgets` gives a user's own budget (None: the default of the tier), `spend` what the ledger has of a user in a
    period; either may raise, which counts as unavailable. Without `spend`, a total that Redis has lost and no live
    process remembers counts as 0 until the stream app has written it again. The other arguments default to the
    settings (`guard_*`), those of `settings` where it is given. For a server that reserves for others: with `renew` false
    a hold ends after `reservation_seconds` also while this process lives, and `holds_of_user_max` keeps one user from
    taking all of the room. `clock_us` (Unix microseconds) says which month it is; `redis_clock_us` replaces Redis's
    clock in tests.
    """

    def __init__(
        self,
        redis: str | Redis | None = None,
        *,
        budgets: BudgetSource,
        spend: SpendSource | None = None,
        when_unavailable: str | None = None,
        single_share_percent: Decimal | None = None,
        warn_percent: Decimal | None = None,
        reservation_seconds: float | None = None,
        settled_hold_seconds: float | None = None,
        recovery_seconds: float | None = None,
        budget_cache_seconds: float | None = None,
        timeout_seconds: float = 1.0,
        renew: bool = True,
        holds_of_user_max: int | None = None,
        clock_us: Callable[[], int] = lambda: time.time_ns() // 1000,
        redis_clock_us: Callable[[], int] | None = None,
        settings: Settings | None = None,
    ) -> None:
        given = {
            "guard_when_unavailable": when_unavailable,
            "guard_single_share_percent": single_share_percent,
            "guard_warn_percent": warn_percent,
            "guard_reservation_seconds": reservation_seconds,
            "guard_settled_hold_seconds": settled_hold_seconds,
            "guard_recovery_seconds": recovery_seconds,
            "guard_budget_cache_seconds": budget_cache_seconds,
        }
        given = {name: value for name, value in given.items() if value is not None}
        settings = load_settings(**given) if settings is None else settings.model_copy(update=given)
        self._errors = redis_errors()
        self._redis = settings.redis_url.get_secret_value() if redis is None else redis
        self._timeout_seconds = timeout_seconds
        self._allows_unasked = settings.guard_when_unavailable == "allow"
        self._shares = Shares(single=settings.guard_single_share_percent, warn=settings.guard_warn_percent)
        self._defaults = settings.budget_defaults()
        self._budget_source, self._budget_seconds = budgets, settings.guard_budget_cache_seconds
        self._spend = spend
        self._times = Times(
            reservation_seconds=settings.guard_reservation_seconds,
            settled_hold_seconds=settings.guard_settled_hold_seconds,
            recovery_seconds=settings.guard_recovery_seconds,
        )
        self._renew, self._holds_of_user_max = renew, holds_of_user_max
        self._clock_us, self._redis_clock_us = clock_us, redis_clock_us
        self._followed: WeakSet[Acknowledging] = WeakSet()
        self._closed = False
        self._begin()
        # After the trackers: what they have to tell while they close is about what was settled here.
        watch(self, last=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def decide(self, user_id: str, estimate: int, key: str | None = None) -> Decision:
        """A decision that holds nothing: another job may take the money meanwhile. `estimate` in 1e-12 USD.

        What is held under `key` does not count as reserved: it is the asker's own.
        """
        return self._reserve(user_id, estimate, hashed_key(key), hold=False).decision

    def reserve(self, user_id: str, estimate: int, key: str | None = None) -> Reservation:
        """Decide and hold the estimate (1e-12 USD) in one step.

        The same `key` (at most 1024 characters) of the same user gives the same reservation with its first estimate,
        and `already_settled` once that is settled; after a release or an expiry it reserves anew. Only wrong arguments
        raise (`InvalidValue`).
        """
        return self._counted(self._reserve(user_id, estimate, hashed_key(key), hold=True))

    def expect(self, user_id: str, event_ids: Sequence[UUID]) -> None:  # noqa: ARG002 - the protocol's
        """These events are about to be tracked, and will be settled: say so where more than a few thousand other events
        may be acknowledged in between. Quick; asks nobody."""
        self._outstanding.expect(event_ids)

    def settle(self, user_id: str, reservation_id: str, actual: int, event_ids: Sequence[UUID] = ()) -> None:
        """The work was done and has cost `actual` (1e-12 USD), told in these events: the hold becomes what was spent.

        It ends when the totals are seen to have the events, which needs `follow`; else after `settled_hold_seconds`,
        counted twice meanwhile. The first settlement of a reservation counts. Only wrong arguments raise.
        """
        check_user(user_id)
        check_amount("actual", actual)
        check_id(reservation_id)
        check_event_ids(event_ids)
        month = self._month_of(user_id, event_ids)
        item = self._outstanding.settle(user_id, reservation_id, actual, month, event_ids)
        if item is not None:
            self._teller.now(item)

    def release(self, user_id: str, reservation_id: str) -> None:
        """The work was not done: the hold ends. Repeats change nothing; only a wrong id raises (`InvalidValue`)."""
        check_user(user_id)
        check_id(reservation_id)
        item = self._outstanding.release(user_id, reservation_id)
        if item is not None:
            self._teller.now(item)

    def standing(self, user_id: str, reservation_id: str) -> Standing:
        """What has become of a reservation, by Redis and by what this process has not told it yet.

        `Unavailable` where Redis cannot be asked, and this process does not hold it; `InvalidValue` for a wrong id.
        """
        check_user(user_id)
        check_id(reservation_id)
        return self._asker.look(user_id, reservation_id)

    def budget(self, user_id: str) -> Budget:
        """The budget that the user's decisions are taken on now; `Unavailable` where it cannot be read."""
        check_user(user_id)
        return self._budget(user_id)

    def follow(self, tracker: Acknowledging) -> None:
        """Learn from a tracker which events Kafka has, so that settled amounts end as soon as the totals have them.

        Close the tracker before the guard: `with RedisGuard(...) as guard, CostTracker(...) as tracker:`.
        """
        if getattr(tracker, "outbox_only", False):
            why = "a tracker in the mode outbox hears of no acknowledgement, so settled amounts count twice until"
            self._loud.tell("guard_outbox", f"{why} {self._times.settled_hold_seconds:g} s have passed")
        tracker.subscribe(self._acknowledged)
        self._followed.add(tracker)

    def prepare(self, timeout_seconds: float = 0.0) -> bool:
        """Meet Redis, and wait (at most so long) until users who are new need not wait; True when that is so.

        A Redis that was empty cannot be told from one that has lost its data: for `recovery_seconds` after a guard has
        first met it, decisions are `guard_recovering`. Worth a call when a service starts.
        """
        deadline = time.monotonic() + timeout_seconds
        while (left := self._seconds_until_ready()) > 0:
            if time.monotonic() + left > deadline:
                return False
            time.sleep(left)
        return True

    def stats(self) -> dict[str, int]:
        """How often this process has asked to reserve, by the code of the decision; `decide` only looks."""
        return dict(self._counts)

    def close(self) -> None:
        """Tell Redis what it does not know yet, and end the thread. Holds stay until they expire. Idempotent.

        Where events of settled amounts are not acknowledged yet, it goes on listening for those alone.
        """
        self._closed = True
        self._teller.close()
        if not self._outstanding.awaits():
            self._leave()
        elif isinstance(self._redis, str):
            self._client.close()

    def start_afresh(self) -> None:
        """In a forked child: what the parent has reserved stays the parent's, and so do its locks and sockets."""
        self._begin()
        if self._closed:
            self._leave()

    def _begin(self) -> None:
        self._client = connect(self._redis, self._timeout_seconds) if isinstance(self._redis, str) else self._redis
        self._budgets = BudgetCache(self._budget_source, self._budget_seconds)
        self._loud = Loud()
        self._outstanding = Outstanding(
            partial(self._loud.tell, "guard_overflow", _OVERFLOW),
            partial(self._loud.tell, "guard_unclaimed", _UNCLAIMED),
            holds_of_user_max=self._holds_of_user_max,
        )
        self._counts: Counter[str] = Counter()
        # Reentrant, as all locks here: a signal handler may come in while its own thread is inside.
        self._counts_lock = RLock()
        scripts = self._scripts = Scripts(self._client, self._times, self._redis_clock_us)
        outstanding, errors, pause = self._outstanding, self._errors, Pause()
        self._asker = Asker(scripts, outstanding, self._times, self._spend, errors, pause)
        self._teller = Teller(scripts, outstanding, self._times, self._loud, errors, pause, self._month_now)

    def _acknowledged(self, event_id: UUID, partition: int, offset: int) -> None:
        # Looked up at each call: a forked child has another one, and the tracker's subscriptions may outlive the fork.
        self._teller.acknowledged(event_id, partition, offset)
        if self._closed and not self._outstanding.awaits():
            self._leave()

    def _leave(self) -> None:
        """Closed, and nothing is awaited any more. A client that was used meanwhile has opened its socket again."""
        forget(self)
        for tracker in list(self._followed):
            tracker.unsubscribe(self._acknowledged)
        self._followed.clear()
        if isinstance(self._redis, str):
            self._client.close()

    def _reserve(self, user_id: str, estimate: int, key: str, *, hold: bool) -> Reservation:
        check_user(user_id)
        check_amount("estimate", estimate)
        if estimate == 0:
            return free_of_charge(user_id)
        reservation_id = uuid4().hex
        try:
            budget = self._budget(user_id)
            if hold and not self._outstanding.has_room(user_id):
                raise Unavailable("this process holds too many reservations")
            question = self._question(user_id, budget, reservation_id, key, estimate, hold=hold)
            answer = self._asker.ask(question)
        except Unavailable as error:
            made = self._unasked(decisions.UNAVAILABLE, str(error), user_id, reservation_id, key, estimate, hold=hold)
            if isinstance(error, Unanswered) and made.reservation_id is None and hold and key == NO_KEY:
                # It may be held after all. With a key, the next attempt finds it.
                self.release(user_id, reservation_id)
            return made
        self._loud.over(decisions.UNAVAILABLE)
        if self._outstanding.note_seen(user_id, answer.generation, answer.seen):
            self._teller.wake(everything=True)
        return self._answered(question, budget, answer)

    def _answered(self, question: Question, budget: Budget, answer: Reserved) -> Reservation:
        """The reservation that an answer of Redis means."""
        if answer.status is Status.RECOVERING:
            why = "Redis is new, or has lost reservations and is told of them again"
            return self._unasked(
                decisions.RECOVERING,
                why,
                question.user_id,
                question.reservation_id,
                question.key,
                question.estimate,
                hold=question.hold,
            )
        self._loud.over(decisions.RECOVERING)
        if answer.status is Status.FULL:
            why = "the user has too many reservations"
            return self._unasked(
                decisions.UNAVAILABLE, why, question.user_id, "", NO_KEY, question.estimate, hold=False
            )
        is_held = answer.status is Status.HELD and question.reserves and self._keep(question, answer)
        return reservation_of(question, budget, answer, self._shares, is_held=is_held)

    def _keep(self, question: Question, answer: Reserved) -> bool:
        """Keep what Redis holds alive; False where it was settled here, which Redis does not know yet."""
        return self._teller.hold(
            Item(
                user_id=question.user_id,
                reservation_id=answer.held_id or question.reservation_id,
                kind=Kind.HELD,
                amount=answer.held_amount,
                key=question.key,
                ends_at_us=None if self._renew else answer.expires_at_us,
                told=True,
            )
        )

    def _unasked(
        self, code: str, why: str, user_id: str, reservation_id: str, key: str, estimate: int, *, hold: bool
    ) -> Reservation:
        """The decision of the setting, loud. What is allowed is held all the same: Redis learns of it later."""
        verdict = Verdict.ALLOW if self._allows_unasked else Verdict.SKIP
        self._loud.tell(code, f"{why}; the decision is {verdict} (COSTLEDGER_GUARD_WHEN_UNAVAILABLE)")
        decision = unfigured(verdict, code, f"Decided without the figures: {why}", estimate)
        if verdict is Verdict.SKIP or not hold or not self._outstanding.has_room(user_id):
            return Reservation(user_id=user_id, reservation_id=None, decision=decision)
        held = self._outstanding.held_by_key(user_id, key) if key != NO_KEY else None
        if held is None:
            lease_us = round(self._times.reservation_seconds * 1_000_000)
            held = Item(
                user_id=user_id,
                reservation_id=reservation_id,
                kind=Kind.HELD,
                amount=estimate,
                key=key,
                ends_at_us=None if self._renew else self._clock_us() + lease_us,
            )
            self._teller.hold(held)
        return Reservation(user_id=user_id, reservation_id=held.reservation_id, decision=decision)

    def _budget(self, user_id: str) -> Budget:
        try:
            return self._budgets.get(user_id)
        except Exception as error:  # whatever its source raises
            raise Unavailable(f"the budget cannot be read: {error}") from error

    def _question(
        self, user_id: str, budget: Budget, reservation_id: str, key: str, estimate: int, *, hold: bool
    ) -> Question:
        monthly = budget.limits(self._defaults).monthly
        return Question(
            # Not the budget's: a source may give one budget for many users.
            user_id=user_id,
            period=period_at(PeriodKind.MONTH, self._clock_us(), budget.time_zone),
            reservation_id=reservation_id,
            key=key,
            estimate=estimate,
            budget=monthly,
            hold=hold and not exceeds_single_share(estimate, monthly, self._shares),
            reserves=hold,
        )

    def _month_now(self, user_id: str) -> str:
        return period_at(PeriodKind.MONTH, self._clock_us(), self._budgets.time_zone(user_id)).label

    def _month_of(self, user_id: str, event_ids: Sequence[UUID]) -> str:
        """The label of the month in which the events occurred: the latest, if they are of several."""
        if not event_ids or any(event_id.version != _TIMED_UUID_VERSION for event_id in event_ids):
            return ANY_MONTH
        occurred_at_us = max(event_id_milliseconds(event_id) for event_id in event_ids) * 1000
        return period_at(PeriodKind.MONTH, occurred_at_us, self._budgets.time_zone(user_id)).label

    def _seconds_until_ready(self) -> float:
        try:
            epoch = self._scripts.epoch()
        except self._errors.any as error:
            self._loud.tell(decisions.UNAVAILABLE, f"Redis cannot be reached ({error})")
            return self._timeout_seconds
        if epoch.eviction_policy not in ("", "noeviction"):
            self._loud.tell("eviction", f"Redis may evict reservations: {epoch.eviction_policy} instead of noeviction")
        return (epoch.since_us - epoch.now_us) / 1_000_000 + self._times.recovery_seconds

    def _counted(self, reservation: Reservation) -> Reservation:
        with self._counts_lock:
            self._counts[reservation.decision.code] += 1
        return reservation
