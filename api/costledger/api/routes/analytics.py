"""`/api/analytics/...`: what was spent, and what it will come to."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Query, Response

from costledger.api.analytics.costs import costs_answer
from costledger.api.auth.principal import CurrentPrincipal
from costledger.api.models.analytics import CostsAnswer, Document, PeriodName
from costledger.api.services import CurrentServices
from costledger.schemas.errors import InvalidValue
from costledger.schemas.events import NAME_CHARACTERS_MAX

router = APIRouter(prefix="/api/analytics", tags=["analytics"])

Period = Annotated[PeriodName, Query(description="the running day, week (ISO) or month, and its history")]
UserId = Annotated[
    str | None,
    Query(
        min_length=1,
        max_length=NAME_CHARACTERS_MAX,
        description="another user than the token's; needs the role analyst",
    ),
]


@router.get("/costs", response_model=CostsAnswer)
def costs(
    principal: CurrentPrincipal,
    services: CurrentServices,
    period: Period = "month",
    detailed: Annotated[bool, Query(description="with every service and operation of the running period")] = False,
    user_id: UserId = None,
) -> Response:
    """Costs of a user: running period, history, forecast, recommendations; on request every operation."""
    user = checked_user(principal.readable_user(user_id))
    with services.ledger() as connection:
        answer = costs_answer(
            connection,
            services.redis,
            user,
            period,
            detailed=detailed,
            now=datetime.now(UTC),
            must_exist=user != principal.user_id,
        )
    return json_response(answer)


def checked_user(user_id: str) -> str:
    """The id, if an event could have it; else `InvalidValue`: PostgreSQL knows no text with NUL."""
    if not (user_id.isprintable() and user_id.strip()):
        raise InvalidValue("user_id", user_id, "printable characters, not only blanks")
    return user_id


def json_response(answer: Document) -> Response:
    """A document as JSON; it was checked when it was made, and is not checked again."""
    return Response(answer.model_dump_json(), media_type="application/json")
