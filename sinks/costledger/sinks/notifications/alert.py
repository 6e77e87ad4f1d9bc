"""An alert as it is told to people and machines: a row of `ledger.alerts`. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from costledger.schemas.alerts import CLOUDEVENTS_SOURCE, CLOUDEVENTS_TYPE_PREFIX, TOTAL_SCOPE, AlertKind, AlertState

_KINDS: Final = {
    AlertKind.BUDGET_THRESHOLD: "budget",
    AlertKind.HOURLY_SPIKE: "hourly spike",
    AlertKind.ANOMALY: "unusual usage",
    AlertKind.FORECAST_EXCEEDED: "forecast above the budget",
    AlertKind.UNPRICED_USAGE: "usage without a price",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """The columns of an alert under their own names. `actual` and `limit` are USD, exact; times are aware."""

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

    @property
    def title(self) -> str:
        """One line that says what happened, to whom."""
        over = "over: " if self.state == AlertState.OK else ""
        return f"{over}{self.user_id}: {self.message}"

    def facts(self) -> list[tuple[str, str]]:
        """(name, value) pairs for people, in the order in which they are read."""
        kind = next((words for name, words in _KINDS.items() if name == self.kind), self.kind)
        facts = [("User", self.user_id), ("Alert", f"{kind} ({self.severity.lower()})")]
        if self.scope != TOTAL_SCOPE:
            facts.append(("Scope", self.scope))
        facts.append(("Cost", f"{plain(self.actual)} {self.currency}"))
        if self.limit is not None:
            share = (
                "" if self.threshold_percent is None else f" ({plain_number(self.threshold_percent)} % of the budget)"
            )
            facts.append(("Limit", f"{plain(self.limit)} {self.currency}{share}"))
        facts.append(("Period", f"{minute(self.period_start)} to {minute(self.period_end)} UTC"))
        facts.append(("Happened", f"{minute(self.occurred_at)} UTC{' (arrived late)' if self.late else ''}"))
        return facts

    def document(self) -> dict[str, Any]:
        """The alert as a CloudEvent in JSON: money as decimal text, times RFC 3339 in UTC."""
        percent = self.threshold_percent
        return {
            "specversion": "1.0",
            "id": str(self.alert_id),
            "source": CLOUDEVENTS_SOURCE,
            "type": CLOUDEVENTS_TYPE_PREFIX + self.kind.lower(),
            "subject": self.user_id,
            "time": utc_text(self.raised_at),
            "datacontenttype": "application/json",
            "data": {
                "alert_id": str(self.alert_id),
                "kind": self.kind,
                "state": self.state,
                "severity": self.severity,
                "user_id": self.user_id,
                "scope": self.scope,
                "period_start": utc_text(self.period_start),
                "period_end": utc_text(self.period_end),
                "threshold_percent": None if percent is None else plain_number(percent),
                "actual": plain(self.actual),
                "limit": None if self.limit is None else plain(self.limit),
                "currency": self.currency,
                "budget_version": self.budget_version,
                "occurred_at": utc_text(self.occurred_at),
                "raised_at": utc_text(self.raised_at),
                "late": self.late,
                "message": self.message,
            },
        }


def plain(amount: Decimal) -> str:
    """An amount of money as decimal text: all digits that matter, at least two decimals."""
    whole, _, decimals = f"{amount:f}".partition(".")
    return f"{whole}.{decimals.rstrip('0').ljust(2, '0')}"


def plain_number(number: Decimal) -> str:
    """A number as decimal text without trailing zeros."""
    text = f"{number:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def utc_text(instant: datetime) -> str:
    """RFC 3339 in UTC, with a Z."""
    return instant.astimezone(UTC).isoformat().replace("+00:00", "Z")


def minute(instant: datetime) -> str:
    """A time for people, to the minute, in UTC."""
    return instant.astimezone(UTC).strftime("%Y-%m-%d %H:%M")
