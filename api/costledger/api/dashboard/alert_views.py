"""Alerts and recommendations as they are shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final, Literal

from costledger.api.dashboard.formats import Money, money
from costledger.api.models.analytics import Recommendation
from costledger.schemas.alerts import AlertKind, AlertState
from costledger.sinks.alert_book import AlertEntry

#: Hours for which an alert can be silenced from the page.
SNOOZE_HOURS: Final = (1, 8, 24)
_KINDS: Final[Mapping[str, str]] = {
    AlertKind.BUDGET_THRESHOLD: "Budget",
    AlertKind.HOURLY_SPIKE: "Hourly spike",
    AlertKind.ANOMALY: "Unusual cost",
    AlertKind.FORECAST_EXCEEDED: "Forecast",
    AlertKind.UNPRICED_USAGE: "No price known",
}
Handling = Literal["open", "acknowledged", "snoozed", "over"]


@dataclass(frozen=True, slots=True)
class AlertView:
    """One alert; `tone` is info, warning or critical."""

    alert_id: str
    kind: str
    tone: str
    message: str
    raised_at: datetime
    late: bool
    handling: Handling
    handled_at: datetime | None


@dataclass(frozen=True, slots=True)
class RecommendationView:
    """One recommendation."""

    title: str
    reason: str
    priority: str
    saving: Money


@dataclass(frozen=True, slots=True)
class EfficiencyView:
    """The score as text, and as the length of a bar, 0 to 100."""

    text: str
    bar: float


def efficiency_view(score: str | None) -> EfficiencyView | None:
    """The score of an answer; None where there is none."""
    if score is None:
        return None
    value = min(max(Decimal(score), Decimal(0)), Decimal(100))
    return EfficiencyView(f"{value.quantize(Decimal(1))}", float(value))


def alert_views(alerts: Sequence[AlertEntry], now: datetime) -> tuple[AlertView, ...]:
    """Open alerts first, then what was acknowledged, silenced or is over; the newest first among each."""
    views = [_alert(alert, now) for alert in alerts]
    views.sort(key=lambda view: (view.handling != "open", -view.raised_at.timestamp()))
    return tuple(views)


def recommendation_views(recommendations: Sequence[Recommendation]) -> tuple[RecommendationView, ...]:
    """Recommendations in the order of the answer."""
    return tuple(
        RecommendationView(one.title, one.reason, one.priority, money(Decimal(one.potential_saving)))
        for one in recommendations
    )


def _alert(alert: AlertEntry, now: datetime) -> AlertView:
    handling: Handling = "open"
    handled_at = None
    if alert.acknowledged_at is not None:
        handling, handled_at = "acknowledged", alert.acknowledged_at
    elif alert.state == AlertState.OK:
        handling = "over"
    elif alert.snoozed_until is not None and alert.snoozed_until > now:
        handling, handled_at = "snoozed", alert.snoozed_until
    tone = alert.severity.lower()
    return AlertView(
        alert_id=str(alert.alert_id),
        kind=_KINDS.get(alert.kind, alert.kind),
        tone=tone if tone in {"info", "warning", "critical"} else "info",
        message=alert.message,
        raised_at=alert.raised_at,
        late=alert.late,
        handling=handling,
        handled_at=handled_at,
    )
