"""The operators' page: every user, the tiers, and the state of the system."""

from __future__ import annotations

from asyncio import to_thread
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Final
from urllib.parse import urlencode

import redis
from fastapi import APIRouter, FastAPI, Query, Request
from starlette.responses import Response

from costledger.api.auth import Role
from costledger.api.dashboard.operator_views import partition_rows, signs, tier_rows, user_rows
from costledger.api.dashboard.pages import frame_context
from costledger.api.dashboard.rendering import html
from costledger.api.dashboard.routing import PageRoute
from costledger.api.dashboard.session import CurrentSession
from costledger.api.dashboard.watermarks import Watermarks
from costledger.api.services import CurrentServices, Services, get_services
from costledger.schemas.errors import InvalidValue
from costledger.sinks.oversight import (
    UserSpend,
    delivery_counts,
    newest_quarantined,
    partition_states,
    spend_by_tier,
    users_by_spend,
)
from costledger.sinks.quarantine import count_quarantined


@asynccontextmanager
async def _watermarks(app: FastAPI) -> AsyncIterator[None]:
    yield
    if hasattr(app.state, "watermarks"):
        await to_thread(app.state.watermarks.close)


router = APIRouter(prefix="/dashboard/operator", route_class=PageRoute, include_in_schema=False, lifespan=_watermarks)

USERS_ON_PAGE: Final = 25


def watermarks_of(request: Request) -> Watermarks:
    """The reader of Kafka's watermarks of the app that answers, made when it is first needed."""
    state = request.app.state
    if not hasattr(state, "watermarks"):
        settings = get_services(request).settings
        state.watermarks = Watermarks(settings, settings.topics.events)
    found = state.watermarks
    assert isinstance(found, Watermarks)  # noqa: S101 - set above
    return found


@router.get("")
def operations(
    request: Request,
    services: CurrentServices,
    session: CurrentSession,
    prefix: Annotated[str, Query(max_length=128)] = "",
    after_amount: Annotated[str, Query(max_length=64)] = "",
    after_user: Annotated[str, Query(max_length=512)] = "",
) -> Response:
    """The page; only for operators."""
    session.principal.require(Role.OPERATOR)
    after = (_amount(after_amount), after_user) if after_amount else None
    context = _users(services, prefix.strip(), after) | _system(services, watermarks_of(request))
    return html("operator.html", {**frame_context(session, "operator"), **context})


@router.get("/state")
def state(request: Request, services: CurrentServices, session: CurrentSession) -> Response:
    """The part of the page that is about the system, for the module that keeps it up to date."""
    session.principal.require(Role.OPERATOR)
    context = _system(services, watermarks_of(request))
    return html("fragments/system.html", {**frame_context(session, "operator"), **context})


def _users(services: Services, prefix: str, after: tuple[Decimal, str] | None) -> dict[str, Any]:
    since, until = _month(datetime.now(UTC).date())
    with services.ledger() as connection:
        users = users_by_spend(connection, since, until, after=after, prefix=prefix or None, limit=USERS_ON_PAGE + 1)
        tiers = spend_by_tier(connection, since, until)
    shown = users[:USERS_ON_PAGE]
    return {
        "month_name": f"{since:%B %Y}",
        "users": user_rows(shown, services.settings.budget_defaults()),
        "tiers": tier_rows(tiers),
        "prefix": prefix,
        "first_page": after is None,
        "first_query": urlencode({"prefix": prefix} if prefix else {}),
        "next_query": _next_query(prefix, shown[-1]) if len(users) > USERS_ON_PAGE else None,
    }


def _system(services: Services, watermarks: Watermarks) -> dict[str, Any]:
    now = datetime.now(UTC)
    with services.ledger() as connection:
        states = partition_states(connection, services.settings.topics.events)
        quarantined = count_quarantined(connection)
        newest = newest_quarantined(connection)
        deliveries = delivery_counts(connection)
    ranges = watermarks.ranges()
    partitions = partition_rows(states, ranges, now)
    return {
        "now": now,
        "partitions": partitions,
        "quarantined": quarantined,
        "newest": newest,
        "deliveries": deliveries,
        "signs": signs(partitions, quarantined, deliveries, kafka=ranges is not None, redis=_redis_answers(services)),
    }


def _redis_answers(services: Services) -> bool:
    try:
        return bool(services.redis.ping())
    except redis.RedisError:
        return False


def _month(today: date) -> tuple[date, date]:
    since = today.replace(day=1)
    return since, (since + timedelta(days=32)).replace(day=1)


def _next_query(prefix: str, last: UserSpend) -> str:
    fields = {"after_amount": str(last.amount), "after_user": last.user_id}
    return urlencode({**fields, "prefix": prefix} if prefix else fields)


def _amount(text: str) -> Decimal:
    try:
        amount = Decimal(text)
    except InvalidOperation:
        amount = Decimal("NaN")
    if not amount.is_finite():
        raise InvalidValue("after_amount", text, "a decimal number")
    return amount
