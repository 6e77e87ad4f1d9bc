"""Routes: where whose alerts go. Added, listed and removed by the CLI and the API; what they point to is never shown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final, TypeVar
from uuid import UUID

from psycopg.rows import class_row

from costledger.schemas.alerts import AlertKind, Severity
from costledger.schemas.budgets import Budget
from costledger.schemas.errors import CostledgerError, InvalidValue
from costledger.schemas.settings import Settings
from costledger.sinks.database import Connection
from costledger.sinks.locks import AdvisoryLock
from costledger.sinks.notifications.targets import Channel, Target, parse_target
from costledger.sinks.notifications.webhook import new_secret
from costledger.sinks.queries import query

_Name = TypeVar("_Name", bound=StrEnum)

#: Routes of one user, and of all operators together.
USER_ROUTES_MAX: Final = 20
OPERATOR_ROUTES_MAX: Final = 100
LIST_MAX: Final = 10_000


class RouteExists(CostledgerError):
    """The same owner has a route of this channel to this target already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WantedRoute:
    """A route to be added, checked. `user_id` None: an operator's, with the alerts of all users."""

    user_id: str | None
    channel: Channel
    target: Target
    kinds: tuple[AlertKind, ...] | None = None
    severity_min: Severity = Severity.INFO
    include_ok: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Route:
    """A route as it may be shown. `pending` and `dead` count its deliveries."""

    route_id: UUID
    owner: str
    user_id: str | None
    channel: str
    target_shown: str
    kinds: list[str] | None
    severity_min: str
    include_ok: bool
    enabled: bool
    disabled_reason: str | None
    created_at: datetime
    failures: int
    retry_at: datetime | None
    pending: int
    dead: int


@dataclass(frozen=True, slots=True)
class AddedRoute:
    """A route that was added. `secret` signs a webhook's messages, and is shown this once."""

    route_id: UUID
    secret: str | None


@dataclass(frozen=True, slots=True)
class RouteEndpoint:
    """What is needed to send to a route. `target` and `secret` are secrets."""

    channel: str
    target: str
    target_shown: str
    secret: str | None
    user_id: str | None

    def __repr__(self) -> str:
        return f"RouteEndpoint({self.channel} {self.target_shown})"


def wanted_route(
    settings: Settings,
    *,
    user_id: str | None,
    channel: str,
    target: str,
    kinds: Sequence[str] | None = None,
    severity_min: str = Severity.INFO,
    include_ok: bool = False,
) -> WantedRoute:
    """What was asked for, checked; `InvalidValue` names what is wrong with it. `user_id` None: an operator's."""
    if user_id is not None:
        Budget(user_id=user_id)  # the contract's check of a user's id: `InvalidValue`
    where = _one_of(Channel, "channel", channel)
    parsed = parse_target(
        where, target, operator=user_id is None, allow_private=settings.delivery_allow_private_targets
    )
    if where is Channel.EMAIL and "://" not in parsed.text and settings.delivery_email_url is None:
        raise InvalidValue("channel", "email", "a channel with a mail server: set COSTLEDGER_DELIVERY_EMAIL_URL")
    return WantedRoute(
        user_id=user_id,
        channel=where,
        target=parsed,
        kinds=tuple(dict.fromkeys(_one_of(AlertKind, "kinds", kind) for kind in kinds)) if kinds else None,
        severity_min=_one_of(Severity, "severity_min", severity_min),
        include_ok=include_ok,
    )


def add_route(connection: Connection, wanted: WantedRoute) -> AddedRoute:
    """Add a route; `RouteExists` where it is there already, `InvalidValue` where its owner has too many."""
    owner = "operator" if wanted.user_id is None else "user"
    limit = OPERATOR_ROUTES_MAX if wanted.user_id is None else USER_ROUTES_MAX
    secret = new_secret() if wanted.channel is Channel.WEBHOOK else None
    parameters = {
        "owner": owner,
        "user_id": wanted.user_id,
        "channel": wanted.channel.value,
        "target": wanted.target.text,
        "target_key": wanted.target.key,
        "target_shown": wanted.target.shown,
        "secret": secret,
        "kinds": None if wanted.kinds is None else [kind.value for kind in wanted.kinds],
        "severity_min": wanted.severity_min.value,
        "include_ok": wanted.include_ok,
    }
    with connection.transaction():
        # One at a time, so that two requests together do not pass the limit.
        connection.execute("SELECT pg_advisory_xact_lock(%s)", (AdvisoryLock.ALERT_ROUTES.value,))
        if len(list_routes(connection, owner=owner, user_id=wanted.user_id)) >= limit:
            raise InvalidValue("routes", limit, f"at most {limit}; remove one first")
        row = connection.execute(query("insert_route"), parameters).fetchone()
    if row is None:
        raise RouteExists(f"there is a route of this channel to {wanted.target.shown} already")
    return AddedRoute(row[0], secret)


def list_routes(
    connection: Connection, *, owner: str | None = None, user_id: str | None = None, route_id: UUID | None = None
) -> list[Route]:
    """Routes, the oldest first: of one owner (`user`, `operator`), one user, or one id; else all."""
    parameters = {"owner": owner, "user_id": user_id, "route_id": route_id, "limit": LIST_MAX}
    with connection.cursor(row_factory=class_row(Route)) as cursor:
        return cursor.execute(query("list_routes"), parameters).fetchall()


def get_endpoint(connection: Connection, route_id: UUID, *, user_id: str | None = None) -> RouteEndpoint | None:
    """Where messages of a route go, with its secrets: to send with, never to show. None: there is none."""
    row = connection.execute(query("route_secrets"), {"route_id": route_id, "user_id": user_id}).fetchone()
    return None if row is None else RouteEndpoint(*row)


def remove_route(connection: Connection, route_id: UUID, *, user_id: str | None = None) -> bool:
    """Remove a route (with `user_id`: only that user's own); what waits for it is not sent. False: there is none."""
    row = connection.execute(query("remove_route"), {"route_id": route_id, "user_id": user_id}).fetchone()
    return row is not None


def enable_route(connection: Connection, route_id: UUID, *, user_id: str | None = None) -> bool:
    """Use a route again that was disabled. False: there is none."""
    row = connection.execute(query("enable_route"), {"route_id": route_id, "user_id": user_id}).fetchone()
    return row is not None


def _one_of(names: type[_Name], field: str, text: str) -> _Name:
    try:
        return names(text)
    except ValueError:
        raise InvalidValue(field, text, f"one of {', '.join(names)}") from None
