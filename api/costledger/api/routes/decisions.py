"""`POST /api/decisions`, and the end of the reservations that they make."""

from __future__ import annotations

from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any, Final

import structlog
from fastapi import APIRouter, Path

from costledger.api.auth import CurrentPrincipal, Principal
from costledger.api.decisions import CurrentDesk
from costledger.api.decisions.deciding import Asked, Decided, decide
from costledger.api.decisions.desk import Desk
from costledger.api.decisions.estimating import estimate_answer, limited_plan_answer
from costledger.api.documents import ExactRoute
from costledger.api.models.decisions import (
    DecisionAnswer,
    DecisionRequest,
    ReleaseRequest,
    ReservationAnswer,
    SettleRequest,
)
from costledger.api.problems import Problem
from costledger.api.services import CurrentServices
from costledger.producers.guard import Standing
from costledger.schemas.budgets import DEFAULT_TIER
from costledger.schemas.errors import Unavailable
from costledger.schemas.money import usd_text
from costledger.schemas.times import from_microseconds

_UNKNOWN_USER: Final[dict[int | str, dict[str, Any]]] = {404: {"description": "No user has such an id"}}
_ENDED: Final[dict[int | str, dict[str, Any]]] = {
    404: {"description": "The user has no such reservation"},
    409: {"description": "The reservation has ended in the other way"},
}

logger = structlog.get_logger(__name__)
router = APIRouter(tags=["decisions"], route_class=ExactRoute)

ReservationId = Annotated[str, Path(pattern="^[0-9a-f]{32}$", description="reservation_id of a decision")]


@router.post("/api/decisions", responses=_UNKNOWN_USER)
def post_decision(
    principal: CurrentPrincipal, services: CurrentServices, desk: CurrentDesk, body: DecisionRequest
) -> DecisionAnswer:
    """Whether work may run: allow, warn or skip, and why. With `reserve`, its estimate is held in the same step."""
    user_id = _acting_user(principal, body.user_id)
    now = services.now()
    asked = Asked(
        user_id=user_id,
        work=None if body.work is None else body.work.work(),
        amount=body.amount or 0,
        tier=_tier(desk, user_id) if body.tier is None else body.tier,
        reserve=body.reserve,
        key=body.key,
    )
    return _decision_answer(decide(desk.guard, desk.rules, asked, now), now)


@router.post("/api/reservations/{reservation_id}/settle", responses=_ENDED)
def post_settle(
    principal: CurrentPrincipal, desk: CurrentDesk, reservation_id: ReservationId, body: SettleRequest
) -> ReservationAnswer:
    """The work was done: what is held becomes what it has cost. A repeat changes nothing, whatever its amount.

    Also after the hold has expired: what was spent counts, whoever has taken the money meanwhile.
    """
    user_id = _acting_user(principal, body.user_id)
    standing = _standing(desk, user_id, reservation_id)
    if standing is Standing.RELEASED:
        raise Problem(HTTPStatus.CONFLICT, "reservation_released", "the reservation was released: it holds nothing")
    changed = standing is not Standing.SETTLED
    if changed:
        desk.guard.settle(user_id, reservation_id, body.amount, body.event_ids)
        desk.confirmations.expect(user_id, body.event_ids)
    return ReservationAnswer(reservation_id=reservation_id, user_id=user_id, state="settled", changed=changed)


@router.post("/api/reservations/{reservation_id}/release", responses=_ENDED)
def post_release(
    principal: CurrentPrincipal, desk: CurrentDesk, reservation_id: ReservationId, body: ReleaseRequest | None = None
) -> ReservationAnswer:
    """The work was not done: nothing is held any more. A repeat changes nothing, nor does it once the hold expired."""
    user_id = _acting_user(principal, None if body is None else body.user_id)
    standing = _standing(desk, user_id, reservation_id)
    if standing is Standing.SETTLED:
        raise Problem(HTTPStatus.CONFLICT, "reservation_settled", "the reservation was settled: it cannot be released")
    changed = standing is Standing.HELD
    if changed:
        desk.guard.release(user_id, reservation_id)
    return ReservationAnswer(reservation_id=reservation_id, user_id=user_id, state="released", changed=changed)


def _acting_user(principal: Principal, user_id: str | None) -> str:
    """The user on whose budget the request acts; 404 for an id that no user can have."""
    acting = principal.writable_user(user_id)
    if not acting.isprintable() or not acting.strip():
        raise Problem.not_found("no user has such an id", "unknown_user")
    return acting


def _tier(desk: Desk, user_id: str) -> str:
    try:
        return desk.guard.budget(user_id).tier
    except Unavailable:  # and so is the decision, which says so
        return DEFAULT_TIER


def _standing(desk: Desk, user_id: str, reservation_id: str) -> Standing:
    """What has become of a user's reservation: 404 where the user has none of this id, 503 where nobody can tell."""
    try:
        standing = desk.guard.standing(user_id, reservation_id)
    except Unavailable as error:
        logger.warning("a reservation cannot be looked up", error=str(error))
        raise Problem.unavailable("the reservation cannot be looked up at the moment", "guard_unavailable") from error
    if standing is Standing.UNKNOWN:
        raise Problem.not_found(
            "the user has no such reservation, or it ended more than an hour ago", "reservation_unknown"
        )
    return standing


def _decision_answer(decided: Decided, now: datetime) -> DecisionAnswer:
    reservation, decision = decided.reservation, decided.reservation.decision
    expires_at_us, estimate = reservation.expires_at_us, decided.estimate
    return DecisionAnswer(
        user_id=reservation.user_id,
        decision=decision.verdict.value,
        code=decision.code,
        reason=decision.reason,
        estimate=_usd(decided.amount),
        month_to_date=_usd(decision.month_to_date),
        reserved=_usd(decision.reserved),
        budget=_usd(decision.budget),
        budget_version=decision.budget_version,
        period=decision.period,
        reservation_id=reservation.reservation_id,
        expires_at=None if expires_at_us is None else from_microseconds(expires_at_us),
        plan=limited_plan_answer(decided.limited),
        breakdown=None if estimate is None else estimate_answer(estimate, decided.limited.plan, now),
    )


def _usd(picodollars: int | None) -> str | None:
    return None if picodollars is None else usd_text(picodollars)
