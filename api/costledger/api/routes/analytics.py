"""`/api/analytics/...`: what was spent, by whom, and what it will come to."""

from __future__ import annotations

from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel

from costledger.api.analytics.costs import costs_answer
from costledger.api.analytics.everybody import tiers_answer, users_answer
from costledger.api.auth import CurrentPrincipal, Role
from costledger.api.models.analytics import (
    CostsAnswer,
    CostsQuery,
    TiersAnswer,
    TiersQuery,
    UsersAnswer,
    UsersQuery,
)
from costledger.api.paging import link_to_next
from costledger.api.services import CurrentServices
from costledger.schemas.periods import PeriodKind
from costledger.schemas.times import to_microseconds
from costledger.sinks.analytics import period_bounds

router = APIRouter(prefix="/api/analytics", tags=["analytics"])

_UNKNOWN_USER: Final[dict[int | str, dict[str, Any]]] = {404: {"description": "The user is not known"}}
_LINK: Final = {"Link": {"description": '`rel="next"`, where there is another page', "schema": {"type": "string"}}}


@router.get("/costs", response_model=CostsAnswer, responses=_UNKNOWN_USER)
def read_costs(
    principal: CurrentPrincipal, services: CurrentServices, query: Annotated[CostsQuery, Query()]
) -> Response:
    """Costs of a user: running period, history, forecast, recommendations; on request every operation."""
    user_id = principal.readable_user(query.user_id)
    with services.ledger() as connection:
        answer = costs_answer(
            connection,
            services.redis,
            user_id,
            query.period,
            detailed=query.detailed,
            now=services.now(),
            must_exist=user_id != principal.user_id,
        )
    return _json(answer)


@router.get("/tiers", response_model=TiersAnswer)
def read_tiers(
    principal: CurrentPrincipal, services: CurrentServices, query: Annotated[TiersQuery, Query()]
) -> Response:
    """Cost by subscription tier, over all users: with the role analyst or operator. Remembered for some seconds."""
    principal.require(Role.ANALYST)

    now = services.now()

    def make() -> bytes:
        with services.ledger() as connection:
            return tiers_answer(connection, query.period, now).model_dump_json().encode()

    running = period_bounds(PeriodKind(query.period), to_microseconds(now))
    return _document(services.overviews.get(("tiers", running), make))


@router.get("/users", response_model=UsersAnswer, responses={200: {"headers": _LINK}})
def read_users(
    principal: CurrentPrincipal, services: CurrentServices, request: Request, query: Annotated[UsersQuery, Query()]
) -> Response:
    """All users in the order of their ids, with month to date and budget: with the role analyst or operator."""
    principal.require(Role.ANALYST)
    defaults = services.settings.budget_defaults()
    with services.ledger() as connection:
        answer = users_answer(connection, query.cursor, query.limit, services.now(), defaults)
    response = _json(answer)
    if answer.next_cursor is not None:
        response.headers["Link"] = link_to_next(request, answer.next_cursor)
    return response


def _json(answer: BaseModel) -> Response:
    """A document as JSON; it was checked when it was made, and is not checked again."""
    return _document(answer.model_dump_json().encode())


def _document(content: bytes) -> Response:
    return Response(content, media_type="application/json")
