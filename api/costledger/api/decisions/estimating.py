"""Estimates as documents. Pure; amounts in 1e-12 USD inside, decimal text outside."""

from __future__ import annotations

from datetime import UTC, datetime

from costledger.api.models.decisions import EstimateAnswer, LimitedPlanAnswer, LineItemAnswer, PlanAnswer
from costledger.producers.optimiser.estimates import Estimate, LineItem
from costledger.producers.optimiser.limiting import LimitedPlan
from costledger.producers.optimiser.plans import Plan
from costledger.schemas.money import usd_text


def estimate_answer(estimate: Estimate, plan: Plan | None, priced_at: datetime) -> EstimateAnswer:
    """The document of an estimate: its total is None, never 0, where some price is not known."""
    return EstimateAnswer(
        total=usd_text(estimate.total) if estimate.is_complete else None,
        at_least=usd_text(estimate.known),
        unpriced=list(dict.fromkeys(_name(item) for item in estimate.unpriced)),
        items=[_line_item(item) for item in estimate.items],
        notes=list(estimate.notes),
        plan=None if plan is None else plan_answer(plan),
        priced_at=priced_at.astimezone(UTC),
    )


def plan_answer(plan: Plan) -> PlanAnswer:
    """The document of a plan."""
    return PlanAnswer(
        tier=plan.tier,
        rekognition=list(plan.rekognition),
        comprehend=list(plan.comprehend),
        embedding=list(plan.embedding),
        seconds_max=plan.seconds_max,
    )


def limited_plan_answer(limited: LimitedPlan) -> LimitedPlanAnswer:
    """The document of a plan with its limits."""
    used = limited.used_percent
    return LimitedPlanAnswer(
        plan=plan_answer(limited.plan),
        own=plan_answer(limited.own),
        limited=limited.is_limited,
        used_percent=None if used is None else _hundredths_text(used.numerator * 100 // used.denominator),
        share_percent=None if limited.share is None else f"{limited.share:f}",
        reason=limited.reason,
    )


def _line_item(item: LineItem) -> LineItemAnswer:
    return LineItemAnswer(
        service=item.service,
        operation=item.operation,
        model=item.model,
        quantity=f"{item.units:f}".rstrip("0").rstrip("."),  # always nine decimals
        unit=item.unit,
        unit_price=item.unit_price,
        price_version=item.price_version,
        amount=None if item.amount is None else usd_text(item.amount),
    )


def _name(item: LineItem) -> str:
    model = "" if item.model is None else f" of {item.model}"
    return f"{item.service}/{item.operation}{model}"


def _hundredths_text(hundredths: int) -> str:
    sign = "-" if hundredths < 0 else ""
    return f"{sign}{abs(hundredths) // 100}.{abs(hundredths) % 100:02d}"
