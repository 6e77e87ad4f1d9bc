"""What is decided before paid work runs: allow, warn or skip, and why. Pure; all money in 1e-12 USD.

The two sentences of the rules are a contract with callers. Month-to-date is
held against the *monthly* budget, and what other jobs have reserved counts as spent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Final, Protocol
from uuid import UUID

from costledger.schemas.errors import InvalidValue

#: Stable codes of the reasons, for machines.
WITHIN_BUDGET: Final = "within_budget"
ZERO_COST: Final = "zero_cost"
NEAR_BUDGET: Final = "near_budget"
MONTHLY_EXCEEDED: Final = "monthly_budget_exceeded"
SINGLE_EXCEEDED: Final = "single_operation_exceeded"
UNAVAILABLE: Final = "guard_unavailable"
RECOVERING: Final = "guard_recovering"
ALREADY_SETTLED: Final = "already_settled"


class Verdict(StrEnum):
    """What the caller is to do: run, run and tell somebody, or not run."""

    ALLOW = "allow"
    WARN = "warn"
    SKIP = "skip"


@dataclass(frozen=True, slots=True, kw_only=True)
class Shares:
    """Shares of the monthly budget, in percent: above `single` one operation is skipped, from `warn` on it is warned."""

    single: Decimal = Decimal(10)
    warn: Decimal = Decimal(90)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """A verdict with its reason (a code and a sentence) and the figures it was taken on, in 1e-12 USD.

    `month_to_date` and `reserved` are None where they could not be read (`guard_unavailable`), `budget` likewise.
    """

    verdict: Verdict
    code: str
    reason: str
    estimate: int
    month_to_date: int | None
    reserved: int | None
    budget: int | None
    budget_version: int | None = None
    #: The month, in the zone of the user's budget, for example 2026-11.
    period: str | None = None

    @property
    def may_run(self) -> bool:
        """Everything but skip."""
        return self.verdict is not Verdict.SKIP

    @property
    def remaining(self) -> int | None:
        """What the budget still has when this estimate is not counted; negative when overdrawn, None if unknown."""
        if self.budget is None or self.month_to_date is None or self.reserved is None:
            return None
        return self.budget - self.month_to_date - self.reserved


@dataclass(frozen=True, slots=True, kw_only=True)
class Reservation:
    """What was asked for and decided. `reservation_id` is None where nothing is held: a skip, or zero-cost work.

    `expires_at_us` is when the hold ends by itself (Unix microseconds, Redis's clock), None where nothing is held, or
    nothing yet (Redis is away and work is allowed all the same). Where the work under the key was settled before, the
    id is that reservation's and the decision is a skip, `already_settled`.
    """

    user_id: str
    reservation_id: str | None
    decision: Decision
    expires_at_us: int | None = None


class BudgetGuard(Protocol):
    """What the optimiser needs of a guard. Amounts in 1e-12 USD.

    Calls block for a round trip to Redis: in asyncio, use `asyncio.to_thread`. None of them raises when Redis is
    away: the decision then is the setting's, with code `guard_unavailable`, and it is logged.
    """

    def decide(self, user_id: str, estimate: int, key: str | None = None) -> Decision:
        """A decision that holds nothing: another job may take the money meanwhile.

        What is held under `key` does not count as reserved: it is the asker's own.
        """
        ...

    def reserve(self, user_id: str, estimate: int, key: str | None = None) -> Reservation:
        """Decide and hold the estimate in one step. The same `key` again gives the same reservation."""
        ...

    def expect(self, user_id: str, event_ids: Sequence[UUID]) -> None:
        """These events are about to be tracked, and will be settled: keep what is heard of them until then.

        Quick, and never raises.
        """
        ...

    def settle(self, user_id: str, reservation_id: str, actual: int, event_ids: Sequence[UUID] = ()) -> None:
        """The work was done and has cost `actual`, told in these events: the hold becomes what was really spent.

        It ends when the totals are seen to have the events. Repeats change nothing; also after the hold expired.
        """
        ...

    def release(self, user_id: str, reservation_id: str) -> None:
        """The work was not done: the hold ends. Repeats change nothing."""
        ...


def decide(
    *, estimate: int, month_to_date: int, reserved: int, budget: int, shares: Shares | None = None
) -> tuple[Verdict, str, str]:
    """Verdict, code and sentence for an estimate.

    Zero-cost work is always allowed. An estimate that fits the budget to the last 1e-12 USD is allowed: only what
    is *more* than the budget, or more than the single share of it, is skipped. The month comes first. A negative
    estimate raises `InvalidValue`.
    """
    if estimate < 0:
        raise InvalidValue("estimate", estimate, "0 or more, in 1e-12 USD")
    shares = shares or Shares()
    if estimate == 0:
        return Verdict.ALLOW, ZERO_COST, "The work costs nothing"
    total = month_to_date + reserved + estimate
    if total > budget:
        return Verdict.SKIP, MONTHLY_EXCEEDED, "Monthly budget would be exceeded"
    if exceeds_single_share(estimate, budget, shares):
        return Verdict.SKIP, SINGLE_EXCEEDED, f"Single operation cost exceeds {shares.single:f}% of monthly budget"
    if _reached(total, budget, shares.warn):
        return Verdict.WARN, NEAR_BUDGET, f"{shares.warn:f}% of monthly budget would be used"
    return Verdict.ALLOW, WITHIN_BUDGET, "Within budget"


def exceeds_single_share(estimate: int, budget: int, shares: Shares) -> bool:
    """Whether one operation is more than its share of the budget, whatever else was spent."""
    numerator, denominator = shares.single.as_integer_ratio()
    return estimate * denominator * 100 > budget * numerator


def _reached(amount: int, budget: int, percent: Decimal) -> bool:
    numerator, denominator = percent.as_integer_ratio()
    return amount * denominator * 100 >= budget * numerator
