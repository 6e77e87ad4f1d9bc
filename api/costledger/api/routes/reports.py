"""`/api/reports`: the daily reports and weekly analyses that were made; for analysts."""

from __future__ import annotations

import re
from dataclasses import asdict
from datetime import date
from typing import Annotated, Any, Final, Literal

from fastapi import APIRouter, Query, Response
from pydantic import BeforeValidator

from costledger.api.auth import CurrentPrincipal, Role
from costledger.api.models.reports import ReportAnswer, ReportListAnswer, ReportListQuery, ReportQuery
from costledger.api.problems import Problem
from costledger.api.services import CurrentServices
from costledger.schemas.errors import InvalidValue
from costledger.sinks.reports import ReportKind, list_reports, read_stored, report_period
from costledger.sinks.reports.rendering import MEDIA_TYPES, render

router = APIRouter(prefix="/api/reports", tags=["reports"])

_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
_TEXT: Final = {"schema": {"type": "string"}}
_RESPONSES: Final[dict[int | str, dict[str, Any]]] = {
    200: {"content": {"text/csv": _TEXT, "text/plain": _TEXT}},
    404: {"description": "No report was made of this date"},
}


@router.get("")
def read_reports(
    principal: CurrentPrincipal, services: CurrentServices, query: Annotated[ReportListQuery, Query()]
) -> ReportListAnswer:
    """The newest reports, without their content."""
    principal.require(Role.ANALYST)
    kind = None if query.kind is None else ReportKind(query.kind)
    with services.ledger() as connection:
        found = list_reports(connection, kind, query.limit)
    return ReportListAnswer.model_validate({"reports": [asdict(one) for one in found]})


def _plain_day(text: object) -> object:
    """Dates as people write them alone: the library takes seconds since 1970 and times of a day too."""
    if not isinstance(text, str) or not _DAY.fullmatch(text):
        raise ValueError("a date as YYYY-MM-DD")
    return text


@router.get("/{kind}/{date}", response_model=ReportAnswer, responses=_RESPONSES)
def read_report(
    principal: CurrentPrincipal,
    services: CurrentServices,
    kind: Literal["daily", "weekly"],
    date: Annotated[date, BeforeValidator(_plain_day)],
    query: Annotated[ReportQuery, Query()],
) -> Any:
    """A report: daily, of the day; weekly, of the seven days before the date. As it was made, in the jobs' time zone."""
    principal.require(Role.ANALYST)
    missing = Problem.not_found(f"no {kind} report of {date.isoformat()} was made", "unknown_report")
    try:
        period = report_period(ReportKind(kind), date, services.settings.jobs_time_zone)
    except InvalidValue:  # a date of another century: well-formed, and nothing was made of it
        raise missing from None
    with services.ledger() as connection:
        stored = read_stored(connection, services.redis, period)
    if stored is None:
        raise missing
    if query.format == "json":
        return stored.document()
    media_type = MEDIA_TYPES[query.format].partition(";")[0]
    return Response(render(stored, query.format), media_type=media_type)
