"""Deliveries: made with the alert, listed, and tried again by hand. Sending is in `dispatch`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from psycopg.rows import class_row

from costledger.sinks.database import Connection
from costledger.sinks.jobs.queue import defer_in
from costledger.sinks.queries import query

#: The job that delivers what is due on one route, and its queue.
DELIVER_TASK: Final = "notifications:deliver"
LIST_MAX: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One alert on its way to one target, as it may be shown."""

    alert_id: UUID
    channel: str
    target_shown: str | None
    route_id: UUID | None
    state: str
    attempts: int
    next_attempt_at: datetime
    last_error: str | None
    created_at: datetime
    delivered_at: datetime | None
    ended_at: datetime | None
    digest_id: UUID | None
    user_id: str
    kind: str
    severity: str


def insert_deliveries(connection: Connection, alert_id: object) -> set[UUID]:
    """Make a delivery of a stored alert for each route that wants it; returns the routes that have one now."""
    rows = connection.execute(query("insert_deliveries"), {"alert_id": alert_id}).fetchall()
    return {route_id for (route_id,) in rows}


def wake_routes(connection: Connection, routes: Iterable[UUID], at: datetime | None = None) -> None:
    """Enqueue the delivery of what is due on these routes, in the transaction that is open; `at`: not before then."""
    defer_in(connection, DELIVER_TASK, *({"route_id": str(one)} for one in sorted(routes)), schedule_at=at)


def list_deliveries(
    connection: Connection,
    *,
    state: str | None = None,
    route_id: UUID | None = None,
    alert_id: UUID | None = None,
    limit: int = 100,
) -> list[Delivery]:
    """Deliveries, the newest first, at most `LIST_MAX`."""
    parameters = {"state": state, "route_id": route_id, "alert_id": alert_id, "limit": min(limit, LIST_MAX)}
    with connection.cursor(row_factory=class_row(Delivery)) as cursor:
        return cursor.execute(query("list_deliveries"), parameters).fetchall()


def retry_deliveries(
    connection: Connection, *, alert_ids: Sequence[UUID] | None = None, route_id: UUID | None = None
) -> int:
    """Try deliveries again that were given up: of these alerts, of this route, or all. Returns how many.

    Those of a route that was removed or is disabled stay as they are.
    """
    parameters = {"alert_ids": None if alert_ids is None else list(alert_ids), "route_id": route_id}
    with connection.transaction():
        rows = connection.execute(query("retry_deliveries"), parameters).fetchall()
        wake_routes(connection, {one for one, _ in rows})
    return sum(count for _, count in rows)


def delivery_counts(connection: Connection) -> dict[str, tuple[int, int]]:
    """(pending, dead) by channel, for channels that have any."""
    return {channel: (pending, dead) for channel, pending, dead in connection.execute(query("delivery_counts"))}
