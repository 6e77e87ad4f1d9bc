"""The page of one user's costs, and its parts for the module that keeps it up to date."""

from __future__ import annotations

from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Literal, Self
from urllib.parse import quote

from fastapi import APIRouter
from starlette.responses import RedirectResponse, Response

from costledger.api.auth import Role
from costledger.api.dashboard import sources
from costledger.api.dashboard.alert_views import SNOOZE_HOURS, alert_views, efficiency_view, recommendation_views
from costledger.api.dashboard.breakdown import breakdown_view
from costledger.api.dashboard.budget_form import ZONES_OFFERED, BudgetForm, form_of, placeholders_of
from costledger.api.dashboard.rendering import HEADERS, html
from costledger.api.dashboard.routing import PageRoute
from costledger.api.dashboard.session import CurrentSession, Session
from costledger.api.dashboard.view_models import (
    PERIOD_NAMES,
    costs_view,
    has_costs,
    month_view,
    summary_view,
)
from costledger.api.models.analytics import PeriodName
from costledger.api.services import CurrentServices, Services
from costledger.schemas.budgets import Budget

router = APIRouter(prefix="/dashboard", route_class=PageRoute, include_in_schema=False)

FragmentName = Literal["costs", "alerts"]


@router.get("")
def overview(
    services: CurrentServices,
    session: CurrentSession,
    period: PeriodName = "day",
    user: str | None = None,
    saved: bool = False,
) -> Response:
    """The page; another user's only for who may read it."""
    return html("overview.html", page_context(services, Subject.of(services, session, user), period, saved=saved))


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
    subject = Subject.of(services, session, user)
    context = alerts_context(services, subject) if name == "alerts" else costs_context(services, subject, period)
    return html(f"parts_{name}.html", context)


@dataclass(frozen=True, slots=True)
class Subject:
    """Whose page it is, who looks at it, and the budget in force."""

    session: Session
    user_id: str
    budget: Budget

    @classmethod
    def of(cls, services: Services, session: Session, user: str | None = None) -> Self:
        """The subject of a request: the own user, or another one that may be read; else 403."""
        user_id = session.principal.readable_user(user)
        return cls(session, user_id, sources.budget_of(services, user_id))

    def context(self) -> dict[str, Any]:
        """What every part needs."""
        own = self.user_id == self.session.principal.user_id
        return {
            "user_id": self.user_id,
            "own": own,
            "user_query": "" if own else f"&user={quote(self.user_id, safe='')}",
            "time_zone": self.budget.time_zone,
            "csrf": self.session.csrf,
        }


def page_context(
    services: Services,
    subject: Subject,
    period: PeriodName = "day",
    *,
    form: BudgetForm | None = None,
    saved: bool = False,
) -> dict[str, Any]:
    """All that the templates of the page need."""
    return {
        **frame_context(subject.session, "costs"),
        **costs_context(services, subject, period),
        **alerts_context(services, subject),
        **budget_context(services, subject, form if form is not None else form_of(subject.budget, saved=saved)),
    }


def costs_context(services: Services, subject: Subject, period: PeriodName) -> dict[str, Any]:
    """What the sections about costs need."""
    now = services.now()
    limits = subject.budget.limits(services.settings.budget_defaults())
    this_month = sources.costs(services, subject.user_id, "month", now)
    history = this_month if period == "month" else sources.costs(services, subject.user_id, period, now)
    return {
        **subject.context(),
        "period_names": PERIOD_NAMES,
        "summary": summary_view(this_month, limits),
        "costs": costs_view(history),
        "month": month_view(this_month, sources.month_days(services, subject.user_id, this_month), limits),
        "breakdown": breakdown_view(this_month.detailed or ()),
        "efficiency": efficiency_view(this_month.efficiency_score if has_costs(this_month) else None),
        "recommendations": recommendation_views(this_month.recommendations),
    }


def alerts_context(services: Services, subject: Subject) -> dict[str, Any]:
    """What the section of alerts needs."""
    found = alert_views(sources.alerts(services, subject.user_id), services.now())
    return {**subject.context(), "alerts": found, "snooze_hours": SNOOZE_HOURS}


def budget_context(services: Services, subject: Subject, form: BudgetForm) -> dict[str, Any]:
    """What the budget's form needs."""
    return {
        **subject.context(),
        "form": form,
        "placeholders": placeholders_of(subject.budget, services.settings.budget_defaults()),
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
