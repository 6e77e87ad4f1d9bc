"""`POST /api/estimates`: what work will probably cost, from the price book."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Body

from costledger.api.auth import CurrentPrincipal
from costledger.api.decisions import CurrentDesk
from costledger.api.decisions.estimating import estimate_answer
from costledger.api.documents import ExactRoute
from costledger.api.models.decisions import EstimateAnswer
from costledger.api.models.estimates import EstimateRequest
from costledger.api.services import CurrentServices

router = APIRouter(tags=["decisions"], route_class=ExactRoute)


@router.post("/api/estimates")
def post_estimate(
    _principal: CurrentPrincipal,
    services: CurrentServices,
    desk: CurrentDesk,
    body: Annotated[EstimateRequest, Body()],
) -> EstimateAnswer:
    """What work will probably cost under a tier's plan; without a tier, under no plan."""
    at = services.now() if body.occurs_at is None else body.occurs_at
    plan = None if body.tier is None else desk.rules.plans.of(body.tier)
    return estimate_answer(body.work().estimate(desk.rules.book, at, plan), plan, at)
