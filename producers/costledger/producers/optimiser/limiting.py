"""Usage-based feature limiting: as the month's budget runs out, a plan shrinks. Pure.

A share says "from so many percent of the budget on, no more than that tier's plan". What other jobs have
reserved counts as used. Every share that is reached applies, so a plan only ever shrinks as the month goes on,
and it is never larger than the user's own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Final

from costledger.producers.optimiser.plans import Plan, Plans
from costledger.schemas.errors import SettingsError, shown

#: Pairs of (percent of the month's budget, tier).
PlanShares = Sequence[tuple[Decimal, str]]

SHARES_MAX: Final = 100
SHARE_PERCENT_MAX: Final = Decimal(1_000_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Removed:
    """What limiting took from a plan: names, and seconds of video."""

    rekognition: tuple[str, ...] = ()
    comprehend: tuple[str, ...] = ()
    embedding: tuple[str, ...] = ()
    seconds: int = 0

    @property
    def nothing(self) -> bool:
        """True where the plan is as it was."""
        return not (self.rekognition or self.comprehend or self.embedding or self.seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitedPlan:
    """The plan that applies now, the user's own one, and what made the difference.

    `share` is the highest share that is reached, in percent, and `tier` the tier that it names; both None where
    none is. `used_percent` is how much of the budget is used or reserved, None where it is not known, or where
    the budget is 0 (then every share is reached: nothing is left). `reason` says it in words.
    """

    plan: Plan
    own: Plan
    share: Decimal | None
    tier: str | None
    removed: Removed
    used_percent: Fraction | None
    reason: str

    @property
    def is_limited(self) -> bool:
        """True where something was taken away; a share may be reached without that."""
        return not self.removed.nothing


def check_shares(shares: PlanShares, plans: Plans) -> PlanShares:
    """The shares, in ascending order; raises `SettingsError` for a share out of bounds, a repeat, or an unknown tier.

    An unknown tier would mean the plan `default` elsewhere; here it can only be a slip.
    """
    if len(shares) > SHARES_MAX:
        raise SettingsError(f"plan_shares has {len(shares)} shares; it must be at most {SHARES_MAX}")
    seen = set()
    for percent, tier in shares:
        if not percent.is_finite() or not 0 <= percent <= SHARE_PERCENT_MAX:
            limit = f"from 0 to {SHARE_PERCENT_MAX} percent"
            raise SettingsError(f"plan_shares: a share is {shown(percent)}; it must be {limit}")
        if tier not in plans.tiers:
            raise SettingsError(f"plan_shares: a tier is {shown(tier)}; it must be one of {', '.join(plans.tiers)}")
        if percent in seen:
            raise SettingsError(f"plan_shares: the share {percent:f} stands twice; it must stand once")
        seen.add(percent)
    return tuple(sorted(shares, key=lambda pair: pair[0]))


def limit_plan(
    own: Plan, plans: Plans, shares: PlanShares, *, month_to_date: int | None, reserved: int | None, budget: int | None
) -> LimitedPlan:
    """The plan at this state of the month's budget (all in 1e-12 USD; None where it cannot be read).

    A budget that is not known limits nothing: whether the work may run at all is the guard's decision. Of a
    budget of 0 nothing is left at any time, so all shares are reached.
    """
    if month_to_date is None or reserved is None or budget is None:
        return _unlimited(own, None, "The use of the month's budget is not known: the plan is not limited")
    used = None if budget == 0 else Fraction((month_to_date + reserved) * 100, budget)
    reached = [(percent, tier) for percent, tier in shares if used is None or used >= Fraction(percent)]
    if not reached:
        return _unlimited(own, used, f"{_used_text(used)}: the plan is not limited")
    plan = own
    for _, tier in reached:
        plan = plan.limited_by(plans.of(tier))
    share, tier = max(reached, key=lambda pair: pair[0])
    removed = _difference(own, plan)
    reason = f"{_used_text(used)}: from {share:f}% on, no more than the plan of the tier {tier}"
    reason += " (which takes nothing away)" if removed.nothing else f"; without {_removed_text(removed, plan)}"
    return LimitedPlan(plan=plan, own=own, share=share, tier=tier, removed=removed, used_percent=used, reason=reason)


def _unlimited(own: Plan, used: Fraction | None, reason: str) -> LimitedPlan:
    return LimitedPlan(plan=own, own=own, share=None, tier=None, removed=Removed(), used_percent=used, reason=reason)


def _difference(own: Plan, plan: Plan) -> Removed:
    return Removed(
        rekognition=tuple(name for name in own.rekognition if name not in plan.rekognition),
        comprehend=tuple(name for name in own.comprehend if name not in plan.comprehend),
        embedding=tuple(name for name in own.embedding if name not in plan.embedding),
        seconds=own.seconds_max - plan.seconds_max,
    )


def _used_text(used: Fraction | None) -> str:
    if used is None:
        return "The month's budget is 0"
    # Rounded down: 79.999 % must not read as the 80 % that it is not. Credits can make a month negative.
    whole, tenth = divmod(max(0, used.numerator * 10 // used.denominator), 10)
    return f"{whole}.{tenth}% of the month's budget is used or reserved"


def _removed_text(removed: Removed, plan: Plan) -> str:
    parts = [*removed.rekognition, *removed.comprehend, *removed.embedding]
    if removed.seconds:
        parts.append(f"video beyond {plan.seconds_max} s")
    return ", ".join(parts)
