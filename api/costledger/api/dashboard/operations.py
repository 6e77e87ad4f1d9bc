"""The operators' page: every user, the tiers, and the state of the system."""

from __future__ import annotations

from asyncio import to_thread
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import date, timedelta
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlencode

import psycopg
import redis
from fastapi import APIRouter, FastAPI, Query, Request
from starlette.responses import Response

from costledger.api.analytics.everybody import tiers_answer
from costledger.api.auth import Role
from costledger.api.dashboard.operator_views import UserRow, named_rows, partition_rows, signs, tier_rows, user_rows
from costledger.api.dashboard.pages import frame_context
from costledger.api.dashboard.rendering import html
from costledger.api.dashboard.routing import PageRoute
from costledger.api.dashboard.session import CurrentSession
from costledger.api.dashboard.watermarks import Watermarks
from costledger.api.models.analytics import TiersAnswer
from costledger.api.services import CurrentServices, Services, get_services
from costledger.schemas.errors import InvalidValue
from costledger.schemas.periods import PeriodKind
from costledger.schemas.times import to_microseconds
from costledger.sinks.analytics import period_bounds, users_overview
from costledger.sinks.analytics.snapshot import snapshot
from costledger.sinks.oversight import (
    delivery_counts,
    newest_quarantined,
    partition_states,
    users_by_spend,
)
from costledger.sinks.quarantine import count_quarantined


@asynccontextmanager
async def _watermarks(app: FastAPI) -> AsyncIterator[None]:
    yield
    if hasattr(app.state, "watermarks"):
        await to_thread(app.state.watermarks.close)


router = APIRouter(prefix="/dashboard/operator", route_class=PageRoute, include_in_schema=False, lifespan=_watermarks)

#: Of an amount that a page begins after: beyond what any total has, and within PostgreSQL's numeric.
_DIGITS_MAX: Final = 60
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
    order: Literal["cost", "name"] = "cost",
    prefix: Annotated[str, Query(max_length=128)] = "",
    after_amount: Annotated[str, Query(max_length=64)] = "",
    after_user: Annotated[str, Query(max_length=128)] = "",
) -> Response:
    """The page; only for operators."""
    session.principal.require(Role.OPERATOR)
    slow = False
    if order == "cost":
        try:
            users = _users_by_cost(services, prefix.strip(), _amount(after_amount), after_user)
        except psycopg.errors.QueryCanceled:
            # More totals than can be sorted within the time of a request.
            slow = True
            users = _users_by_name(services, "")
    else:
        users = _users_by_name(services, after_user)
    context = users | _tiers(services) | _system(services, watermarks_of(request))
    return html("operator.html", {**frame_context(session, "operator"), **context, "slow": slow})


@router.get("/state")
def state(request: Request, services: CurrentServices, session: CurrentSession) -> Response:
    """The part of the page that is about the system, for the module that keeps it up to date."""
    session.principal.require(Role.OPERATOR)
    context = _system(services, watermarks_of(request))
    return html("fragments/system.html", {**frame_context(session, "operator"), **context})


def _users_by_cost(services: Services, prefix: str, amount: Decimal | None, user: str) -> dict[str, Any]:
    since, until = _month(services.now().date())
    after = None if amount is None else (amount, user)
    with services.ledger() as connection:
        users = users_by_spend(connection, since, until, after=after, prefix=prefix or None, limit=USERS_ON_PAGE + 1)
    shown = users[:USERS_ON_PAGE]
    following = None
    if len(users) > USERS_ON_PAGE:
        following = {"after_amount": str(shown[-1].amount), "after_user": shown[-1].user_id}
    return _page_of_users(
        "cost", user_rows(shown, services.settings.budget_defaults()), following, prefix=prefix, first=after is None
    )


def _users_by_name(services: Services, after: str) -> dict[str, Any]:
    defaults = services.settings.budget_defaults()
    with services.ledger() as connection, snapshot(connection):
        users = users_overview(connection, after, USERS_ON_PAGE + 1, to_microseconds(services.now()), defaults)
    shown = users[:USERS_ON_PAGE]
    following = {"after_user": shown[-1].user_id} if len(users) > USERS_ON_PAGE else None
    return _page_of_users("name", named_rows(shown, defaults), following, prefix="", first=not after)


def _page_of_users(
    order: str, rows: Sequence[UserRow], following: Mapping[str, str] | None, *, prefix: str, first: bool
) -> dict[str, Any]:
    kept = {"order": order, **({"prefix": prefix} if prefix else {})}
    return {
        "order": order,
        "users": rows,
        "prefix": prefix,
        "first_page": first,
        "first_query": urlencode(kept),
        "next_query": None if following is None else urlencode({**kept, **following}),
    }


def _tiers(services: Services) -> dict[str, Any]:
    now = services.now()

    def make() -> bytes:
        with services.ledger() as connection:
            return tiers_answer(connection, "month", now).model_dump_json().encode()

    # The same that the API answers and remembers.
    running = period_bounds(PeriodKind.MONTH, to_microseconds(now))
    answer = TiersAnswer.model_validate_json(services.overviews.get(("tiers", running), make))
    return {"month_name": f"{answer.start:%B %Y}", "tiers": tier_rows(answer)}


def _system(services: Services, watermarks: Watermarks) -> dict[str, Any]:
    now = services.now()
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


def _amount(text: str) -> Decimal | None:
    if not text:
        return None
    try:
        amount = Decimal(text)
    except InvalidOperation:
        amount = Decimal("NaN")
    if not amount.is_finite() or abs(amount.adjusted()) > _DIGITS_MAX:
        raise InvalidValue("after_amount", text, f"a decimal number of at most {_DIGITS_MAX} digits")
    return amount
