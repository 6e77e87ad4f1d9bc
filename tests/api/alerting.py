"""Alerts for the tests of the API, put into the ledger as the notifier does."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import psycopg

from costledger.sinks.queries import query


def store_alert(connection: psycopg.Connection[Any], user: str, **other: Any) -> UUID:
    """Store an alert of a user; `other` replaces its fields. Returns its id."""
    now = datetime.now(UTC)
    values: dict[str, Any] = {
        "alert_id": uuid.uuid4(),
        "kind": "BUDGET_THRESHOLD",
        "state": "ALARM",
        "severity": "WARNING",
        "user_id": user,
        "scope": "total",
        "period_start": datetime(2026, 11, 1, tzinfo=UTC),
        "period_end": datetime(2026, 12, 1, tzinfo=UTC),
        "threshold_percent": Decimal("75.0000"),
        "actual": Decimal("7.500000000001"),
        "limit": Decimal(10),
        "currency": "USD",
        "budget_version": 1,
        "occurred_at": now,
        "raised_at": now,
        "late": False,
        "message": "75 % of the budget is used",
        **other,
    }
    connection.execute(query("insert_alert"), values)
    alert_id: UUID = values["alert_id"]
    return alert_id
