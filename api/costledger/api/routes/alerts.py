"""`/api/alerts`: what a user was told, page by page; to acknowledge an alert, or to be left in peace for a while."""

from __future__ import annotations

from typing import Annotated, Any, Final
from uuid import UUID

import structlog
from fastapi import APIRouter, Query, Request, Response

from costledger.api.auth import CurrentPrincipal, Principal, Role
from costledger.api.documents import ExactRoute
from costledger.api.models.alerts import AlertAnswer, AlertPage, AlertQuery, SnoozeRequest
from costledger.api.paging import cursor_of, link_to_next, place_of
from costledger.api.problems import Problem
from costledger.api.services import CurrentServices
from costledger.sinks.alert_book import (
    BEFORE_ALL,
    AlertEntry,
    AlertFilter,
    acknowledge_alert,
    get_alert,
    list_alerts,
    snooze_alert,
)
from costledger.sinks.database import Connection
from costledger.sinks.users import user_known

logger = structlog.get_logger(__name__)
router = APIRouter(prefix="/api/alerts", tags=["alerts"], route_class=ExactRoute)

_UNKNOWN_ALERT: Final[dict[int | str, dict[str, Any]]] = {404: {"description": "The caller may read no such alert"}}
_LINK: Final = {"Link": {"description": '`rel="next"`, where there is another page', "schema": {"type": "string"}}}


@router.get("", responses={200: {"headers": _LINK}, 404: {"description": "The user is not known"}})
def read_alerts(
    principal: CurrentPrincipal,
    services: CurrentServices,
    request: Request,
    response: Response,
    query: Annotated[AlertQuery, Query()],
) -> AlertPage:
    """Alerts, newest first: the token's own user's; with the role analyst or operator another's or everybody's.

    Pages follow each other by `next_cursor`: alerts that are raised meanwhile neither repeat nor skip any.
    """
    user_id = _whose(principal, query)
    after = BEFORE_ALL if query.cursor is None else place_of(query.cursor)
    wanted = AlertFilter(
        user_id=user_id,
        kind=query.kind,
        state=query.state,
        severity=query.severity,
        acknowledged=query.acknowledged,
        since=query.since,
        until=query.until,
    )
    with services.ledger() as connection:
        # One more than is shown: it says whether another page follows.
        found = list_alerts(connection, wanted, after, query.limit + 1)
        if not found and user_id not in {None, principal.user_id} and not user_known(connection, str(user_id)):
            raise Problem.unknown_user(user_id)
    shown = found[: query.limit]
    cursor = cursor_of(shown[-1].place) if len(found) > len(shown) else None
    if cursor is not None:
        response.headers["Link"] = link_to_next(request, cursor)
    return AlertPage(alerts=[AlertAnswer.of(entry) for entry in shown], next_cursor=cursor)


@router.get("/{alert_id}", responses=_UNKNOWN_ALERT)
def read_alert(principal: CurrentPrincipal, services: CurrentServices, alert_id: UUID) -> AlertAnswer:
    """One alert."""
    with services.ledger() as connection:
        entry = _readable(connection, principal, alert_id)
    return AlertAnswer.of(entry)


@router.post("/{alert_id}/acknowledge", responses=_UNKNOWN_ALERT)
def acknowledge(principal: CurrentPrincipal, services: CurrentServices, alert_id: UUID) -> AlertAnswer:
    """Say that somebody knows. Done again it changes nothing: the first acknowledgement is answered."""
    with services.ledger() as connection:
        principal.writable_user(_readable(connection, principal, alert_id).user_id)
        entry = acknowledge_alert(connection, alert_id, principal.user_id)
    return _changed("alert acknowledged", principal, entry)


@router.post("/{alert_id}/snooze", responses=_UNKNOWN_ALERT)
def snooze(
    principal: CurrentPrincipal, services: CurrentServices, alert_id: UUID, wanted: SnoozeRequest
) -> AlertAnswer:
    """Not to be told of this alert `until` a time, or for so many `seconds`; at most 30 days. The last word counts."""
    with services.ledger() as connection:
        principal.writable_user(_readable(connection, principal, alert_id).user_id)
        entry = snooze_alert(connection, alert_id, wanted.end(services.now()))
    return _changed("alert snoozed", principal, entry)


def _whose(principal: Principal, query: AlertQuery) -> str | None:
    """The user whose alerts are asked for; None for everybody's."""
    if query.user_id is not None or not query.all_users:
        return principal.readable_user(query.user_id)
    principal.require(Role.ANALYST)
    return None


def _readable(connection: Connection, principal: Principal, alert_id: UUID) -> AlertEntry:
    """The alert, if it is one that the caller may read.

    Else 404, whether there is one or not: ids are derived from what alerts say, so whoever may ask whether an id exists
    could try out what another user was told.
    """
    entry = get_alert(connection, alert_id)
    if entry is None or not principal.may_read(entry.user_id):
        raise _unknown(alert_id)
    return entry


def _changed(event: str, principal: Principal, entry: AlertEntry | None) -> AlertAnswer:
    if entry is None:  # alerts are never deleted
        raise RuntimeError("an alert is gone")
    logger.info(event, alert_id=str(entry.alert_id), user=entry.user_id, by=principal.user_id)
    return AlertAnswer.of(entry)


def _unknown(alert_id: UUID) -> Problem:
    return Problem.not_found(f"there is no alert {alert_id}", "unknown_alert")
