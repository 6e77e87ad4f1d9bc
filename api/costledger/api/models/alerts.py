"""Alerts: as they are answered, how they are asked for, and what may be done with one."""

from __future__ import annotations

from dataclasses import fields
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from costledger.api.models.fields import Instant, UserInput, WholeInput, percent_of, usd_of
from costledger.api.paging import CURSOR_PATTERN
from costledger.schemas.alerts import AlertKind, AlertState, Severity
from costledger.schemas.errors import InvalidValue
from costledger.sinks.alert_book import AlertEntry

PAGE_ALERTS_MAX: Final = 200
SNOOZE_SECONDS_MAX: Final = 30 * 86_400
_EXAMPLE: Final[dict[str, JsonValue]] = {
    "alert_id": "3f0a9a4e-5f3b-5d0c-9a0e-6f9d6c1f2b3a",
    "kind": "BUDGET_THRESHOLD",
    "state": "ALARM",
    "severity": "WARNING",
    "user_id": "user-1",
    "scope": "total",
    "period_start": "2026-11-01T00:00:00Z",
    "period_end": "2026-12-01T00:00:00Z",
    "threshold_percent": "75",
    "actual": "18.76",
    "limit": "25.00",
    "currency": "USD",
    "budget_version": 3,
    "occurred_at": "2026-11-23T09:00:00Z",
    "raised_at": "2026-11-23T09:00:01Z",
    "late": False,
    "message": "75 % of the monthly budget of 25.00 USD is used",
    "acknowledged_at": None,
    "acknowledged_by": None,
    "snoozed_until": None,
}


class AlertAnswer(BaseModel):
    """One alert. `actual` and `limit` are USD at the moment of the decision."""

    model_config = ConfigDict(frozen=True, extra="forbid", json_schema_extra={"examples": [_EXAMPLE]})

    alert_id: UUID
    kind: str
    state: str
    severity: str
    user_id: str
    scope: str = Field(description="`total`, or what of the user's costs it is about")
    period_start: datetime
    period_end: datetime
    threshold_percent: str | None
    actual: str
    limit: str | None
    currency: str
    budget_version: int | None
    occurred_at: datetime
    raised_at: datetime
    late: bool = Field(description="the period was over when the event arrived")
    message: str
    acknowledged_at: datetime | None
    acknowledged_by: str | None
    snoozed_until: datetime | None = Field(description="not told to people until then")

    @classmethod
    def of(cls, entry: AlertEntry) -> Self:
        """The answer for an alert of the ledger."""
        values: dict[str, Any] = {one.name: getattr(entry, one.name) for one in fields(entry)}
        percent, limit = entry.threshold_percent, entry.limit
        values["threshold_percent"] = None if percent is None else percent_of(percent)
        values["actual"] = usd_of(entry.actual)
        values["limit"] = None if limit is None else usd_of(limit)
        return cls(**values)


class AlertPage(BaseModel):
    """One page of alerts, newest first."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    alerts: list[AlertAnswer]
    next_cursor: str | None = Field(description="give it as `cursor` for the next page; null on the last one")


class AlertQuery(BaseModel):
    """Which alerts."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    user_id: UserInput | None = None
    all_users: bool = Field(
        False, description="Of every user, unless user_id names one: with the role analyst or operator."
    )
    kind: AlertKind | None = None
    state: AlertState | None = None
    severity: Severity | None = None
    acknowledged: bool | None = Field(None, description="Only those that are, or are not.")
    since: Instant | None = Field(None, description="Raised at this time or later.")
    until: Instant | None = Field(None, description="Raised before this time.")
    limit: int = Field(50, ge=1, le=PAGE_ALERTS_MAX, description="Alerts on one page.")
    cursor: Annotated[str, Field(pattern=CURSOR_PATTERN)] | None = Field(
        None, description="`next_cursor` of the page before; with the same filters."
    )


def _not_given() -> datetime:
    """Stands where there is no time; never taken for one: see `SnoozeRequest.end`. (null is no time either.)"""
    return datetime.min.replace(tzinfo=UTC)


class SnoozeRequest(BaseModel):
    """How long to be left in peace: one of the two."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        json_schema_extra={"minProperties": 1, "maxProperties": 1, "examples": [{"seconds": 3600}]},
    )

    until: Instant = Field(default_factory=_not_given, description="at most 30 days ahead")
    seconds: WholeInput = Field(
        default_factory=int, ge=1, le=SNOOZE_SECONDS_MAX, description="from now on; at most 30 days"
    )

    def end(self, now: datetime) -> datetime:
        """When it is over; `InvalidValue` for a time that is past or too far ahead."""
        if len(self.model_fields_set) != 1:
            raise InvalidValue("until", sorted(self.model_fields_set), "given, or seconds: one of the two")
        if "seconds" in self.model_fields_set:
            return now + timedelta(seconds=self.seconds)
        if not now < self.until <= now + timedelta(seconds=SNOOZE_SECONDS_MAX):
            limit = f"later than now ({now.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}), and at most 30 days ahead"
            raise InvalidValue("until", self.until.isoformat(), limit)
        return self.until
