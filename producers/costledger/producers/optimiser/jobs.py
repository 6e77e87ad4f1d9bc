"""One job of the cost-aware processor: a block of work whose money is held before it, and settled after it.

A job is a tracker too: what is tracked through it is tracked as ever, and remembered as the job's spend.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from types import TracebackType
from typing import Any, Final, Literal, Self, TypeVar
from uuid import UUID

from costledger.producers.guard.decisions import BudgetGuard, Decision, Reservation, Verdict
from costledger.producers.optimiser.estimates import Estimate
from costledger.producers.optimiser.limiting import LimitedPlan, PlanShares, limit_plan
from costledger.producers.optimiser.plans import Plan, Plans
from costledger.producers.optimiser.recording import Spend, SpendRecorder, Through
from costledger.producers.optimiser.results import JobResult, JobSkipped, attach_result
from costledger.producers.optimiser.waiting import in_thread
from costledger.producers.optimiser.work import Work
from costledger.producers.prices.book import PriceBook
from costledger.producers.savings import TIERED_PROCESSING, record_saving
from costledger.producers.tracker import CostTracker
from costledger.schemas.errors import InvalidValue

logger = logging.getLogger(__name__)
T = TypeVar("T")

#: Stable code of the decision where the price of a part of the work is not known.
UNPRICED_ESTIMATE: Final = "unpriced_estimate"

WhenUnpriced = Literal["skip", "allow"]


class RunningKeys:
    """The keys of the jobs that run in this process: two of one key would spend one reservation twice."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._keys: set[tuple[str, str]] = set()

    def enter(self, user_id: str, key: str) -> None:
        """Raises `InvalidValue` where a job of this user with this key runs already."""
        with self._lock:
            if (user_id, key) in self._keys:
                raise InvalidValue("key", key, f"of no other job of {user_id} that is running")
            self._keys.add((user_id, key))

    def leave(self, user_id: str, key: str) -> None:
        """The job has ended."""
        with self._lock:
            self._keys.discard((user_id, key))


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What all jobs of a processor share."""

    tracker: CostTracker
    guard: BudgetGuard
    book: PriceBook
    plans: Plans
    shares: PlanShares
    when_unpriced: WhenUnpriced
    clock: Callable[[], datetime]
    running: RunningKeys = field(default_factory=RunningKeys)


class Job(SpendRecorder):
    """Use it once, as a context manager, sync or async; entering raises `JobSkipped` where the work is not to run.

    Inside: `plan` says what the work may comprise, `decision` whether it was warned, and the tracking methods are
    a tracker's. Afterwards `result` has everything; an error that leaves the block carries it too (`result_of`).
    """

    def __init__(
        self, setup: Setup, user_id: str, work: Work, tier: str | None, key: str | None, through: Through | None = None
    ) -> None:
        super().__init__(setup.tracker, user_id, through)
        self.key: Final = key
        self._setup = setup
        self._work = work
        self._tier = tier
        self._entered = False
        self._reservation: Reservation | None = None
        self._is_holding = False
        self._full: Estimate | None = None
        self._limited: LimitedPlan | None = None
        self._estimate: Estimate | None = None
        self._decision: Decision | None = None
        self._result: JobResult[Any] | None = None

    @property
    def plan(self) -> Plan:
        """What the work may comprise now: the user's plan, limited by the use of the month's budget."""
        return self.limited.plan

    @property
    def limited(self) -> LimitedPlan:
        """The plan with the reasons for its limits."""
        return _there(self._limited)

    @property
    def estimate(self) -> Estimate:
        """What the work will probably cost, under `plan`."""
        return _there(self._estimate)

    @property
    def decision(self) -> Decision:
        """The guard's decision."""
        return _there(self._decision)

    @property
    def result(self) -> JobResult[Any]:
        """What came of it; there once the block has been left, or was not entered."""
        return _there(self._result)

    def __enter__(self) -> Self:
        self._enter()
        try:
            self._begin()
            self._tell_decision()
        except BaseException as error:
            self._abandon(error)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self._end(error)
        finally:
            self._leave()

    async def __aenter__(self) -> Self:
        self._enter()
        try:
            await in_thread(self._begin)
            self._tell_decision()
        except BaseException as error:
            await in_thread(partial(self._abandon, error))
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            await in_thread(partial(self._end, error))
        finally:
            self._leave()

    def _enter(self) -> None:
        if self._entered:
            raise RuntimeError("a job can be entered once; make another one")
        if self.key is not None:
            self._setup.running.enter(self.user_id, self.key)
        self._entered = True

    def _leave(self) -> None:
        if self.key is not None:
            self._setup.running.leave(self.user_id, self.key)

    def _begin(self) -> None:
        """Plan, estimate, decision; reserving comes last, so that nothing is held when anything before it fails."""
        setup, now = self._setup, self._setup.clock()
        own = setup.plans.of(self._tier)
        full = self._work.estimate(setup.book, now, own)
        before = setup.guard.decide(self.user_id, full.known, self.key)
        limited = limit_plan(
            own,
            setup.plans,
            setup.shares,
            month_to_date=before.month_to_date,
            reserved=before.reserved,
            budget=before.budget,
        )
        estimate = self._work.estimate(setup.book, now, limited.plan) if limited.is_limited else full
        self._full, self._limited, self._estimate = full, limited, estimate
        if not estimate.is_complete and setup.when_unpriced == "skip":
            self._decision = _unpriced_decision(estimate, before)
        else:
            self._reservation = setup.guard.reserve(self.user_id, estimate.known, self.key)
            self._decision = self._reservation.decision
            self._is_holding = self._reservation.reservation_id is not None and self._decision.may_run
        if not self._decision.may_run:
            self._result = self._made(Spend(), ran=False)
            raise JobSkipped(self._result)

    def _noted(self, event_id: UUID) -> None:
        if not self._is_holding:
            return
        try:
            self._setup.guard.expect(self.user_id, [event_id])
        except Exception:
            # A defect there must not stop the work; said once, since a job may have very many events.
            self._is_holding = False
            logger.exception("the guard could not be told which events of %s will be settled", self.user_id)

    def _tell_decision(self) -> None:
        if self.decision.verdict is Verdict.WARN:
            logger.warning("a job of %s runs, with a warning: %s", self.user_id, self.decision.reason)
        if not self.estimate.is_complete:
            logger.warning("a job of %s runs at a cost that is not known: %s", self.user_id, self.estimate.text)

    def _abandon(self, error: BaseException) -> None:
        """The block is not entered: nothing stays held. (A cancelled task may have reserved all the same.)"""
        try:
            self._settle(Spend(), failed=True)
            if self._decision is not None and self._result is None:
                self._result = self._made(Spend(), ran=False, error=error)
        finally:
            self._leave()

    def _end(self, error: BaseException | None) -> None:
        """Settle what was spent, however the block was left."""
        spend = self.spend()
        settled = self._settle(spend, failed=error is not None)
        saved = self._tell_saving() if error is None else None
        self._result = self._made(spend, ran=True, settled=settled, saved=saved, error=error)
        if error is not None:
            attach_result(error, self._result)

    def _settle(self, spend: Spend, failed: bool) -> bool | None:
        """Tell the guard; None where nothing was held, False where it could not be told (the hold then expires)."""
        reservation, self._is_holding = self._reservation, False
        # A skip may name a reservation all the same: one that was settled before, under the same key.
        if reservation is None or reservation.reservation_id is None or not reservation.decision.may_run:
            return None
        guard, held = self._setup.guard, reservation.reservation_id
        try:
            if failed and spend.is_empty:
                guard.release(self.user_id, held)
            else:
                # Of too many events not all ids are known, and of an unpriced one the month's total never has the amount:
                # then none is named, and the amount counts for its full time.
                named = spend.steps if spend.is_complete and not spend.steps_omitted else ()
                event_ids = [step.event_id for step in named if step.user_id == self.user_id]
                guard.settle(self.user_id, held, self._to_settle(spend, reservation), event_ids)
        except Exception:
            # The work is done and paid: its result must not be lost to this. The hold ends by itself.
            logger.exception("the reservation %s of %s could not be settled", held, self.user_id)
            return False
        return True

    def _to_settle(self, spend: Spend, reservation: Reservation) -> int:
        """What the hold becomes. An unknown part of the cost must not free money: then it stays at least as it was."""
        actual = max(0, spend.known)
        return actual if spend.is_complete else max(actual, reservation.decision.estimate)

    def _tell_saving(self) -> int | None:
        """What the limited plan has saved, as an event where it is any; by the estimates, since only one plan ran."""
        full, estimate, limited = _there(self._full), self.estimate, self.limited
        if not full.is_complete or not estimate.is_complete:
            return None
        saved = full.total - estimate.total
        if saved:
            metadata = {"plan": limited.own.tier, "limited_to": limited.tier, "share_percent": limited.share}
            try:
                # Through the job, and so to where its events go.
                record_saving(self, self.user_id, TIERED_PROCESSING, saved, metadata=metadata)
            except Exception:
                # As with the settlement: a strict tracker must not take the result away.
                logger.exception("what the limited plan has saved %s could not be told", self.user_id)
        return saved

    def _made(self, spend: Spend, *, ran: bool, **rest: Any) -> JobResult[Any]:
        return JobResult(
            user_id=self.user_id,
            key=self.key,
            decision=self.decision,
            limited=self.limited,
            estimate=self.estimate,
            spend=spend,
            ran=ran,
            **rest,
        )


def _unpriced_decision(estimate: Estimate, before: Decision) -> Decision:
    """Skip, on the figures that the guard has just given."""
    return Decision(
        verdict=Verdict.SKIP,
        code=UNPRICED_ESTIMATE,
        reason=f"The cost is not known: {estimate.text}",
        estimate=estimate.known,
        month_to_date=before.month_to_date,
        reserved=before.reserved,
        budget=before.budget,
        budget_version=before.budget_version,
        period=before.period,
    )


def _there(value: T | None) -> T:
    if value is None:
        raise RuntimeError("a job has no plan and no decision before it is entered, and no result before it is left")
    return value
