"""What an answer of Redis means for the one who asked. Pure; all money in 1e-12 USD."""

from __future__ import annotations

from costledger.producers.guard.asking import Question
from costledger.producers.guard.decisions import (
    ALREADY_SETTLED,
    NEAR_BUDGET,
    Decision,
    Reservation,
    Shares,
    Verdict,
    decide,
)
from costledger.producers.guard.scripts import Reserved, Status
from costledger.schemas.budgets import Budget


def reservation_of(
    question: Question, budget: Budget, answer: Reserved, shares: Shares, *, is_held: bool
) -> Reservation:
    """The reservation that an answer with figures means; `is_held` where the estimate is held for the one who asked.

    A hold that nobody keeps was settled meanwhile, unless the question was not to hold anything.
    """
    estimate = answer.held_amount if is_held else question.estimate
    if answer.status is Status.DONE or (answer.status is Status.HELD and question.reserves and not is_held):
        verdict, code, reason = Verdict.SKIP, ALREADY_SETTLED, "The work under this key was settled before"
    else:
        verdict, code, reason = decide(
            estimate=estimate,
            month_to_date=answer.month_to_date,
            reserved=answer.reserved,
            budget=question.budget,
            shares=shares,
        )
        if is_held and verdict is Verdict.SKIP:
            # Held before under this key: what others have spent since does not take it away.
            verdict, code, reason = Verdict.WARN, NEAR_BUDGET, "Reserved before; used up by others since"
    decision = Decision(
        verdict=verdict,
        code=code,
        reason=reason,
        estimate=estimate,
        month_to_date=answer.month_to_date,
        reserved=answer.reserved,
        budget=question.budget,
        budget_version=budget.version,
        period=question.period.label,
    )
    return Reservation(
        user_id=question.user_id,
        reservation_id=answer.held_id,
        decision=decision,
        expires_at_us=answer.expires_at_us if is_held else None,
    )


def free_of_charge(user_id: str) -> Reservation:
    """Of work that costs nothing: no figures are needed."""
    verdict, code, reason = decide(estimate=0, month_to_date=0, reserved=0, budget=0)
    return Reservation(user_id=user_id, reservation_id=None, decision=unfigured(verdict, code, reason, 0))


def unfigured(verdict: Verdict, code: str, reason: str, estimate: int) -> Decision:
    """A decision without the figures."""
    return Decision(
        verdict=verdict,
        code=code,
        reason=reason,
        estimate=estimate,
        month_to_date=None,
        reserved=None,
        budget=None,
    )
