"""The page of one user's costs, and its parts for the module that keeps it up to date."""

from __future__ import annotations

from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Literal
from urllib.parse import quote

from fastapi import APIRouter
from starlette.responses import RedirectResponse, Response

from costledger.api.auth import Role
from costledger.api.dashboard import sources
from costledger.api.dashboard.alert_views import SNOOZE_HOURS, alert_views, efficiency_view, recommendation_views
from costledger.api.dashboard.budget_form import ZONES_OFFERED, BudgetForm, form_of, placeholders_of
from costledger.api.dashboard.rendering import HEADERS, html
from costledger.api.dashboard.routing import PageRoute
from costledger.api.dashboard.session import CurrentSession, Session
from costledger.api.dashboard.view_models import (
    PERIOD_NAMES,
    breakdown_view,
    costs_view,
    has_costs,
    month_view,
    summary_view,
)
from costledger.api.models.analytics import PeriodName
from costledger.api.services import CurrentServices, Services

router = APIRouter(prefix="/dashboard", route_class=PageRoute, include_in_schema=False)

FragmentName = Literal["costs", "alerts", "budget"]


@router.get("")
def overview(
    services: CurrentServices,
    session: CurrentSession,
    period: PeriodName = "day",
    user: str | None = None,
    saved: bool = False,
) -> Response:
    """The page; another user's only for who may read it."""
    return html("overview.html", page_context(services, session, period, user, saved=saved))


@router.get("/")
def with_slash() -> Response:
    """The page has one address."""
    return RedirectResponse("/dashboard", HTTPStatus.PERMANENT_REDIRECT.value, headers=dict(HEADERS))


@router.get("/fragments/{name}")
def fragment(
    services: CurrentServices,
    session: CurrentSession,
    name: FragmentName,
    period: PeriodName = "day",
    user: str | None = None,
) -> Response:
    """The sections of the page that change together."""
    context = page_context(services, session, period, user)
    return html(f"parts_{name}.html", context)


def page_context(
    services: Services,
    session: Session,
    period: PeriodName = "day",
    user: str | None = None,
    *,
    form: BudgetForm | None = None,
    saved: bool = False,
) -> dict[str, Any]:
    """All that the templates of the page need."""
    user_id = session.principal.readable_user(user)
    budget = sources.budget_of(services, user_id)
    defaults = services.settings.budget_defaults()
    limits = budget.limits(defaults)
    now = datetime.now(UTC)
    this_month = sources.costs(services, user_id, "month", now)
    history = this_month if period == "month" else sources.costs(services, user_id, period, now)
    own = user_id == session.principal.user_id
    return {
        **frame_context(session, "costs"),
        "user_id": user_id,
        "own": own,
        "user_query": "" if own else f"&user={quote(user_id, safe='')}",
        "period_names": PERIOD_NAMES,
        "summary": summary_view(this_month, limits),
        "costs": costs_view(history),
        "month": month_view(this_month, sources.month_days(services, user_id, this_month), limits),
        "breakdown": breakdown_view(this_month.detailed or ()),
        "alerts": alert_views(sources.alerts(services, user_id), this_month.generated_at),
        "snooze_hours": SNOOZE_HOURS,
        "efficiency": efficiency_view(this_month.efficiency_score if has_costs(this_month) else None),
        "recommendations": recommendation_views(this_month.recommendations),
        "form": form if form is not None else form_of(budget, saved=saved),
        "placeholders": placeholders_of(budget, defaults),
        "zones": ZONES_OFFERED,
    }


def frame_context(session: Session, place: str) -> dict[str, Any]:
    """What the frame of every page needs."""
    return {
        "viewer": session.principal.user_id,
        "is_operator": session.principal.has(Role.OPERATOR),
        "csrf": session.csrf,
        "place": place,
    }
