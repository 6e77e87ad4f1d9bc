"""`/api/billing/budget`: what a user may spend in a month, and when to be told."""

from __future__ import annotations

from dataclasses import replace
from http import HTTPStatus
from typing import Annotated, Any, Final

import structlog
from fastapi import APIRouter, Header, Query, Response
from pydantic import BaseModel, ConfigDict

from costledger.api.auth import CurrentPrincipal, Principal
from costledger.api.conditional import changed, check_preconditions, etag_of, matches
from costledger.api.documents import ExactRoute
from costledger.api.models.budget import BudgetAnswer, BudgetUpdate
from costledger.api.models.fields import UserInput
from costledger.api.problems import Problem
from costledger.api.services import CurrentServices, Services
from costledger.schemas.budgets import Budget
from costledger.sinks.budgets import BudgetChanged, get_budget, save_budget
from costledger.sinks.database import Connection
from costledger.sinks.users import user_known

logger = structlog.get_logger(__name__)
router = APIRouter(prefix="/api/billing", tags=["budget"], route_class=ExactRoute)

#: A change without If-Match is tried anew when another one comes between reading and writing.
TRIES_MAX: Final = 32
#: Told in words, not as a parameter of the document: a made-up tag is well-formed, and is refused all the same.
Condition = Annotated[str | None, Header(include_in_schema=False)]
_ETAG: Final = {"ETag": {"description": "the version, in quotes", "schema": {"type": "string"}}}
_UNKNOWN: Final[dict[str, Any]] = {"description": "The user is not known"}


class BudgetQuery(BaseModel):
    """Whose budget."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    user_id: UserInput | None = None


@router.get(
    "/budget",
    response_model=BudgetAnswer,
    responses={
        200: {"headers": _ETAG},
        304: {"description": "It is at the version that `If-None-Match` names", "headers": _ETAG},
        404: _UNKNOWN,
    },
)
def read_budget(
    principal: CurrentPrincipal,
    services: CurrentServices,
    response: Response,
    query: Annotated[BudgetQuery, Query()],
    if_none_match: Condition = None,
) -> Any:
    """A user's budget, with the defaults filled in. A user who set none has the tier's defaults, at version 0.

    `If-None-Match` with the ETag that the caller has is answered with 304 while nothing has changed.
    """
    user_id = principal.readable_user(query.user_id)
    with services.ledger() as connection:
        budget = _budget(connection, principal, user_id)
    tag = etag_of(budget.version)
    if if_none_match is not None and matches(if_none_match, budget.version, weak=True):
        return Response(status_code=HTTPStatus.NOT_MODIFIED.value, headers={"ETag": tag})
    response.headers["ETag"] = tag
    return BudgetAnswer.of(budget, services.settings.budget_defaults())


@router.put(
    "/budget",
    response_model=BudgetAnswer,
    responses={
        200: {"headers": _ETAG},
        404: _UNKNOWN,
        412: {"description": "The budget is at another version than `If-Match` says", "headers": _ETAG},
    },
)
def change_budget(
    principal: CurrentPrincipal,
    services: CurrentServices,
    response: Response,
    query: Annotated[BudgetQuery, Query()],
    update: BudgetUpdate,
    if_match: Condition = None,
    if_none_match: Condition = None,
) -> BudgetAnswer:
    """Change a budget: fields that are given replace, null sets back to the default, others stay as they are.

    It holds from now on, also for the running month, and also when Kafka cannot be reached at this moment: the change
    and its message are stored together, and the message follows. Another user's budget needs the role `operator`.

    `If-Match` with the ETag that was read makes sure that nobody else's change is lost: 412 where there was one.
    `If-None-Match: *` changes it only where none was set.
    """
    user_id = principal.writable_user(query.user_id)
    changes = update.changes(services.settings.threshold_percent_max)
    saved = _change(services, principal, user_id, changes, (if_match, if_none_match))
    services.budgets.tell()
    logger.info("budget changed", user=user_id, by=principal.user_id, version=saved.version, fields=sorted(changes))
    response.headers["ETag"] = etag_of(saved.version)
    return BudgetAnswer.of(saved, services.settings.budget_defaults())


def _change(
    services: Services,
    principal: Principal,
    user_id: str,
    changes: dict[str, Any],
    conditions: tuple[str | None, str | None],
) -> Budget:
    version = 0
    with services.ledger() as connection:
        for _ in range(TRIES_MAX):
            budget = _budget(connection, principal, user_id)
            check_preconditions(*conditions, budget.version)
            try:
                return save_budget(connection, replace(budget, **changes), expected_version=budget.version)
            except BudgetChanged as error:
                # Somebody was faster: the conditions are asked again, of what it is now.
                version = error.version
    if conditions == (None, None):
        raise Problem.unavailable("the budget is being changed by many at once", "budget_busy")
    raise changed(version)


def _budget(connection: Connection, principal: Principal, user_id: str) -> Budget:
    """The budget in force; the defaults for a user who set none. 404 for another user of whom nothing is known."""
    found = get_budget(connection, user_id)
    if found is not None:
        return found
    if user_id != principal.user_id and not user_known(connection, user_id):
        raise Problem.unknown_user(user_id)
    return Budget(user_id=user_id)
