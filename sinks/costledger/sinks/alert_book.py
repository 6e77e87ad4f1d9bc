"""The alerts in the ledger, for people: found page by page, acknowledged, put off for a while.

Delivery of alerts reads what is kept here: `acknowledged_at` and `snoozed_until`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final, NamedTuple
from uuid import UUID

from psycopg.rows import class_row

from costledger.sinks.database import Connection
from costledger.sinks.queries import query

#: Before and after every alert: events are refused outside 2000 to 2100.
_FIRST: Final = datetime(1, 1, 2, tzinfo=UTC)
_LAST: Final = datetime(9999, 12, 30, tzinfo=UTC)


class AlertPlace(NamedTuple):
    """A place in the order of alerts, which is by `raised_at`, then by `alert_id`, newest first."""

    raised_at: datetime
    alert_id: UUID


#: The place before the newest alert.
BEFORE_ALL: Final = AlertPlace(_LAST, UUID(int=2**128 - 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertFilter:
    """Which alerts; None is any. `since` <= `raised_at` < `until`."""

    user_id: str | None = None
    kind: str | None = None
    state: str | None = None
    severity: str | None = None
    acknowledged: bool | None = None
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertEntry:
    """An alert as it stands in the ledger. Amounts in USD, exact; times in UTC."""

    alert_id: UUID
    kind: str
    state: str
    severity: str
    user_id: str
    scope: str
    period_start: datetime
    period_end: datetime
    threshold_percent: Decimal | None
    actual: Decimal
    limit: Decimal | None
    currency: str
    budget_version: int | None
    occurred_at: datetime
    raised_at: datetime
    late: bool
    message: str
    acknowledged_at: datetime | None
    acknowledged_by: str | None
    snoozed_until: datetime | None

    @property
    def place(self) -> AlertPlace:
        """Where it stands in the order."""
        return AlertPlace(self.raised_at, self.alert_id)


def list_alerts(
    connection: Connection, wanted: AlertFilter, after: AlertPlace = BEFORE_ALL, limit: int = 50
) -> list[AlertEntry]:
    """At most `limit` alerts that follow a place, newest first. Alerts raised meanwhile do not shift the pages."""
    parameters: dict[str, Any] = {
        "user_id": wanted.user_id,
        "kind": wanted.kind,
        "state": wanted.state,
        "severity": wanted.severity,
        "acknowledged": wanted.acknowledged,
        "since": wanted.since or _FIRST,
        "until": wanted.until or _LAST,
        "after_raised_at": after.raised_at,
        "after_alert_id": after.alert_id,
        "limit": limit,
    }
    name = "list_alerts_of_all" if wanted.user_id is None else "list_alerts_of_user"
    with connection.cursor(row_factory=class_row(AlertEntry)) as cursor:
        return cursor.execute(query(name), parameters).fetchall()


def get_alert(connection: Connection, alert_id: UUID) -> AlertEntry | None:
    """One alert, or None."""
    return _one(connection, "get_alert", {"alert_id": alert_id})


def acknowledge_alert(connection: Connection, alert_id: UUID, acknowledged_by: str) -> AlertEntry | None:
    """The alert, acknowledged: by this user now, or as it was before. None where there is none."""
    return _one(connection, "acknowledge_alert", {"alert_id": alert_id, "acknowledged_by": acknowledged_by})


def snooze_alert(connection: Connection, alert_id: UUID, until: datetime) -> AlertEntry | None:
    """The alert, put off until then, whatever it was put off to before. None where there is none."""
    return _one(connection, "snooze_alert", {"alert_id": alert_id, "snoozed_until": until})


def _one(connection: Connection, name: str, parameters: dict[str, Any]) -> AlertEntry | None:
    with connection.cursor(row_factory=class_row(AlertEntry)) as cursor:
        return cursor.execute(query(name), parameters).fetchone()
