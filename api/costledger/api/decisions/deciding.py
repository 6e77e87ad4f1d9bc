"""A decision over HTTP: plan -> estimate -> decision, in the order and by the rules of the cost-aware processor."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from costledger.producers.guard.decisions import BudgetGuard, Decision, Reservation, Verdict
from costledger.producers.optimiser.estimates import Estimate
from costledger.producers.optimiser.jobs import UNPRICED_ESTIMATE
from costledger.producers.optimiser.limiting import LimitedPlan, PlanShares, limit_plan
from costledger.producers.optimiser.plans import Plan, Plans
from costledger.producers.optimiser.work import Work
from costledger.producers.prices.book import PriceBook


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What decisions rest on beside the guard: prices, plans, and the shares at which plans shrink."""

    book: PriceBook
    plans: Plans
    shares: PlanShares


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is to be decided on: `work`, or an `amount` (1e-12 USD) where there is none."""

    user_id: str
    work: Work | None
    amount: int
    tier: str
    reserve: bool
    key: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decided:
    """The decision, with what it was taken on. `estimate` is None where the caller gave an amount."""

    reservation: Reservation
    limited: LimitedPlan
    estimate: Estimate | None

    @property
    def amount(self) -> int | None:
        """What was decided on, in 1e-12 USD; None where it is not known in full."""
        if self.estimate is not None and not self.estimate.is_complete:
            return None
        return self.reservation.decision.estimate


def decide(guard: BudgetGuard, rules: Rules, asked: Asked, at: datetime) -> Decided:
    """Decide, and hold the money where that is asked for and the decision is not to skip.

    Work whose cost is not known in full is skipped and nothing is held: what is not known cannot be held to a budget.
    """
    own = rules.plans.of(asked.tier)
    if asked.work is None:
        made = _ask(guard, asked, asked.amount)
        return Decided(reservation=made, limited=_limited(rules, own, made.decision), estimate=None)
    full = asked.work.estimate(rules.book, at, own)
    before = guard.decide(asked.user_id, full.known, asked.key)
    limited = _limited(rules, own, before)
    estimate = asked.work.estimate(rules.book, at, limited.plan) if limited.is_limited else full
    if not estimate.is_complete:
        skipped = _unpriced(before, estimate)
        made = Reservation(user_id=asked.user_id, reservation_id=None, decision=skipped)
    elif asked.reserve or estimate.known != full.known:
        made = _ask(guard, asked, estimate.known)
    else:
        made = Reservation(user_id=asked.user_id, reservation_id=None, decision=before)
    return Decided(reservation=made, limited=limited, estimate=estimate)


def _ask(guard: BudgetGuard, asked: Asked, amount: int) -> Reservation:
    if asked.reserve:
        return guard.reserve(asked.user_id, amount, asked.key)
    decision = guard.decide(asked.user_id, amount, asked.key)
    return Reservation(user_id=asked.user_id, reservation_id=None, decision=decision)


def _limited(rules: Rules, own: Plan, decision: Decision) -> LimitedPlan:
    return limit_plan(
        own,
        rules.plans,
        rules.shares,
        month_to_date=decision.month_to_date,
        reserved=decision.reserved,
        budget=decision.budget,
    )


def _unpriced(before: Decision, estimate: Estimate) -> Decision:
    """Skip, on the figures that the guard has just given."""
    reason = f"The cost is not known: {estimate.text}"
    return replace(before, verdict=Verdict.SKIP, code=UNPRICED_ESTIMATE, reason=reason, estimate=estimate.known)
