"""`/api/alerts/routes`: where a user's alerts go, and with the role operator where everybody's go.

Included before `alerts`: its paths are more special than that one's `/{alert_id}`.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Any, Final
from uuid import UUID

import structlog
from fastapi import APIRouter, Query

from costledger.api.auth import CurrentPrincipal, Principal, Role
from costledger.api.documents import ExactRoute
from costledger.api.models.alert_routes import AddedRouteAnswer, RouteAnswer, RouteList, RouteQuery, RouteRequest
from costledger.api.problems import Problem
from costledger.api.services import CurrentServices
from costledger.sinks.notifications.routes import RouteExists, add_route, list_routes, remove_route, wanted_route

logger = structlog.get_logger(__name__)
router = APIRouter(prefix="/api/alerts/routes", tags=["alerts"], route_class=ExactRoute)

_EXISTS: Final[dict[int | str, dict[str, Any]]] = {409: {"description": "There is such a route already"}}
_UNKNOWN: Final[dict[int | str, dict[str, Any]]] = {404: {"description": "The caller has no such route"}}


@router.get("")
def read_routes(
    principal: CurrentPrincipal, services: CurrentServices, query: Annotated[RouteQuery, Query()]
) -> RouteList:
    """The routes of the token's user, or the operators'. Targets are shown without what gives power."""
    user_id = _owner(principal, operator=query.operator)
    with services.ledger() as connection:
        found = list_routes(connection, owner="operator" if user_id is None else "user", user_id=user_id)
    return RouteList(routes=[RouteAnswer.of(route) for route in found])


@router.post("", status_code=HTTPStatus.CREATED, responses=_EXISTS)
def create_route(principal: CurrentPrincipal, services: CurrentServices, wanted: RouteRequest) -> AddedRouteAnswer:
    """Send alerts that come from now on to a target: by email, to Slack or Teams, or to a webhook, signed.

    At most 20 routes of a user. A user's webhook must be https and public.
    """
    user_id = _owner(principal, operator=wanted.operator)
    checked = wanted_route(
        services.settings,
        user_id=user_id,
        channel=wanted.channel,
        target=wanted.target,
        kinds=wanted.kinds,
        severity_min=wanted.severity_min,
        include_ok=wanted.include_ok,
    )
    with services.ledger() as connection:
        try:
            added = add_route(connection, checked)
        except RouteExists as error:
            raise Problem(HTTPStatus.CONFLICT, "route_exists", str(error)) from error
        (route,) = list_routes(connection, route_id=added.route_id)
    logger.info("alert route added", route=str(added.route_id), by=principal.user_id, target=route.target_shown)
    return AddedRouteAnswer(route=RouteAnswer.of(route), secret=added.secret)


@router.delete("/{route_id}", status_code=HTTPStatus.NO_CONTENT, responses=_UNKNOWN)
def delete_route(principal: CurrentPrincipal, services: CurrentServices, route_id: UUID) -> None:
    """Send nothing more there, also not what waits. One's own; with the role operator any."""
    user_id = None if principal.has(Role.OPERATOR) else principal.user_id
    with services.ledger() as connection:
        removed = remove_route(connection, route_id, user_id=user_id)
    if not removed:
        raise Problem.not_found(f"you have no route {route_id}", "unknown_route")
    logger.info("alert route removed", route=str(route_id), by=principal.user_id)


def _owner(principal: Principal, *, operator: bool) -> str | None:
    """The user whose routes these are; None for the operators'."""
    if not operator:
        return principal.user_id
    principal.require(Role.OPERATOR)
    return None
