"""What a user can change from the page: the budget, and what becomes of an alert."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from http import HTTPStatus
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Form, Request
from starlette.responses import RedirectResponse, Response

from costledger.api.dashboard import sources
from costledger.api.dashboard.alert_views import SNOOZE_HOURS
from costledger.api.dashboard.budget_form import BudgetForm, describe, form_of, parse_form
from costledger.api.dashboard.pages import Subject, alerts_context, budget_context, page_context
from costledger.api.dashboard.rendering import HEADERS, html
from costledger.api.dashboard.routing import PageRoute, wants_fragment
from costledger.api.dashboard.session import FormSession, Session
from costledger.api.problems import Problem
from costledger.api.services import CurrentServices, Services
from costledger.schemas.errors import InvalidValue
from costledger.sinks.budgets import BudgetChanged

router = APIRouter(prefix="/dashboard", route_class=PageRoute, include_in_schema=False)

FormText = Annotated[str, Form(max_length=512)]


@router.post("/budget")
def save_budget(
    request: Request,
    services: CurrentServices,
    session: FormSession,
    version: Annotated[int, Form(ge=0)],
    monthly_budget: FormText = "",
    alert_thresholds: FormText = "",
    time_zone: FormText = "",
    hourly_spike_limit: FormText = "",
) -> Response:
    """Store the budget of who is signed in, unless it was changed since the form was shown."""
    form = BudgetForm(monthly_budget, alert_thresholds, time_zone, hourly_spike_limit, version)
    subject = Subject.of(services, session)
    parsed = parse_form(form, subject.budget, services.settings.threshold_percent_max)
    if isinstance(parsed, BudgetForm):
        return _form_again(request, services, subject, parsed, HTTPStatus.UNPROCESSABLE_ENTITY)
    try:
        stored = sources.set_budget(services, parsed, version)
    except BudgetChanged as changed:
        now = Subject.of(services, session)
        in_force = describe(now.budget, services.settings.budget_defaults())
        conflict = replace(form, version=changed.version, conflict=in_force)
        return _form_again(request, services, now, conflict, HTTPStatus.CONFLICT)
    if wants_fragment(request):
        return _form_again(
            request, services, replace(subject, budget=stored), form_of(stored, saved=True), HTTPStatus.OK
        )
    return _back("/dashboard?saved=true#part-budget")


@router.post("/alerts/{alert_id}/acknowledge")
def acknowledge(request: Request, services: CurrentServices, session: FormSession, alert_id: UUID) -> Response:
    """Take note of an alert."""
    if not sources.acknowledge(services, session.principal.user_id, alert_id):
        raise Problem.not_found("you have no such alert", code="alert_unknown")
    return _alerts(request, services, session)


@router.post("/alerts/{alert_id}/snooze")
def snooze(
    request: Request, services: CurrentServices, session: FormSession, alert_id: UUID, hours: Annotated[int, Form()]
) -> Response:
    """Silence an alert for some hours."""
    if hours not in SNOOZE_HOURS:
        raise InvalidValue("hours", hours, f"one of {', '.join(map(str, SNOOZE_HOURS))}")
    until = services.now() + timedelta(hours=hours)
    if not sources.snooze(services, session.principal.user_id, alert_id, until):
        raise Problem.not_found("you have no such alert", code="alert_unknown")
    return _alerts(request, services, session)


def _form_again(
    request: Request, services: Services, subject: Subject, form: BudgetForm, status: HTTPStatus
) -> Response:
    if wants_fragment(request):
        return html("parts_budget.html", budget_context(services, subject, form), status.value)
    return html("overview.html", page_context(services, subject, form=form), status.value)


def _alerts(request: Request, services: Services, session: Session) -> Response:
    if wants_fragment(request):
        return html("parts_alerts.html", alerts_context(services, Subject.of(services, session)))
    return _back("/dashboard#part-alerts")


def _back(location: str) -> Response:
    return RedirectResponse(location, HTTPStatus.SEE_OTHER.value, headers=dict(HEADERS))
