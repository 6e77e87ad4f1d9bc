"""Routes of alerts to people: as they are asked for, and as they are answered, without what gives power."""

from __future__ import annotations

from dataclasses import fields
from datetime import UTC, datetime
from typing import Any, Final, Self
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from costledger.schemas.alerts import AlertKind, Severity
from costledger.sinks.notifications.routes import Route
from costledger.sinks.notifications.targets import TARGET_CHARACTERS_MAX, Channel

_EXAMPLE: Final[dict[str, JsonValue]] = {
    "channel": "webhook",
    "target": "https://example.org/cost-alerts",
    "severity_min": "WARNING",
}


class RouteQuery(BaseModel):
    """Whose routes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    operator: bool = Field(False, description="The operators' routes, with the role operator; else the user's own.")


class RouteRequest(BaseModel):
    """A route to be added."""

    model_config = ConfigDict(frozen=True, extra="forbid", json_schema_extra={"examples": [_EXAMPLE]})

    channel: Channel
    target: str = Field(
        min_length=1,
        max_length=TARGET_CHARACTERS_MAX,
        description="An email address; the URL of an incoming webhook of Slack or Teams; or for a webhook any public "
        "https URL. It is not shown again.",
    )
    kinds: list[AlertKind] | None = Field(
        None, min_length=1, max_length=len(AlertKind), description="Only alerts of these kinds; null: all."
    )
    severity_min: Severity = Field(Severity.INFO, description="Only alerts of at least this severity.")
    include_ok: bool = Field(False, description="Also when an alarm is over.")
    operator: bool = Field(False, description="For the alerts of all users; needs the role operator.")


class RouteAnswer(BaseModel):
    """A route. Its target is shown without what gives power."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    route_id: UUID
    owner: str = Field(description="`user` or `operator`")
    user_id: str | None
    channel: str
    target_shown: str
    kinds: list[str] | None
    severity_min: str
    include_ok: bool
    enabled: bool
    disabled_reason: str | None = Field(description="why nothing is sent: the target answered 410 Gone")
    created_at: datetime
    failures: int = Field(description="attempts in a row that failed")
    retry_at: datetime | None = Field(description="the next attempt is not before then")
    pending: int = Field(description="alerts that wait to be sent")
    dead: int = Field(description="alerts that were given up")

    @classmethod
    def of(cls, route: Route) -> Self:
        """The answer for a route of the ledger."""
        values: dict[str, Any] = {one.name: getattr(route, one.name) for one in fields(route)}
        values["created_at"] = route.created_at.astimezone(UTC)
        values["retry_at"] = None if route.retry_at is None else route.retry_at.astimezone(UTC)
        return cls(**values)


class RouteList(BaseModel):
    """Routes, the oldest first."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    routes: list[RouteAnswer]


class AddedRouteAnswer(BaseModel):
    """A route that was added."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    route: RouteAnswer
    secret: str | None = Field(
        description="signs the messages of a webhook (Standard Webhooks); shown this once, null for other channels"
    )
