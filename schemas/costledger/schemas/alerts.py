"""What an alert is: a decision that somebody should be told, with an id derived from what it says."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

from costledger.schemas.ids import derived_alert_id
from costledger.schemas.times import from_microseconds, rfc3339

AlertRecord = dict[str, Any]

_LONG_MIN: Final = -(2**63)
_LONG_MAX: Final = 2**63 - 1
TOTAL_SCOPE: Final = "total"
CLOUDEVENTS_SOURCE: Final = "/costledger/streams"
CLOUDEVENTS_TYPE_PREFIX: Final = "costledger.v1.alert."


class AlertKind(StrEnum):
    """What an alert is about.

    BUDGET_THRESHOLD: the month has reached a share of the budget. HOURLY_SPIKE: an hour passed the hourly limit, or
    several times the user's usual hour. ANOMALY: a service cost more in an hour than the user's own history of it
    makes usual. FORECAST_EXCEEDED: the month will exceed the budget if the days left are like the latest.
    UNPRICED_USAGE: an event has no price.
    """

    BUDGET_THRESHOLD = "BUDGET_THRESHOLD"
    HOURLY_SPIKE = "HOURLY_SPIKE"
    ANOMALY = "ANOMALY"
    FORECAST_EXCEEDED = "FORECAST_EXCEEDED"
    UNPRICED_USAGE = "UNPRICED_USAGE"


class AlertState(StrEnum):
    """ALARM raises; OK says that an earlier ALARM is over."""

    ALARM = "ALARM"
    OK = "OK"


class Severity(StrEnum):
    """How urgent an alert is."""

    INFO = "INFO"
    WARNING = "WARNING"
    CRITICAL = "CRITICAL"


@dataclass(frozen=True, slots=True, kw_only=True)
class CostAlert:
    """One decision. Amounts are integers of 1e-12 USD, times Unix microseconds (UTC).

    `actual` and `limit` describe the moment of the decision: `actual` is the total of `scope` in
    [period_start, period_end) including the event that led to it.
    """

    kind: AlertKind
    state: AlertState
    severity: Severity
    user_id: str
    scope: str
    period_start: int
    period_end: int
    actual: int
    occurred_at: int
    raised_at: int
    message: str
    limit: int | None = None
    threshold_percent: Decimal | None = None
    budget_version: int | None = None
    currency: str = "USD"
    late: bool = False

    @property
    def alert_id(self) -> UUID:
        """The same for the same decision: kind, state, user, scope, budget version, period and threshold."""
        percent = "" if self.threshold_percent is None else f"{self.threshold_percent.normalize():f}"
        version = "" if self.budget_version is None else str(self.budget_version)
        period = f"{self.period_start}/{self.period_end}"
        return derived_alert_id(self.kind, self.state, self.user_id, self.scope, version, period, percent)

    def to_record(self) -> AlertRecord:
        """The record that Avro writes; totals beyond 64 bits are written as the nearest `long`."""
        record = asdict(self)
        percent = self.threshold_percent
        return {
            **record,
            "alert_id": str(self.alert_id),
            "kind": str(self.kind),
            "state": str(self.state),
            "severity": str(self.severity),
            "actual": _as_long(self.actual),
            "limit": None if self.limit is None else _as_long(self.limit),
            "threshold_percent": None if percent is None else percent.quantize(Decimal("0.0001")),
            "period_start": from_microseconds(self.period_start),
            "period_end": from_microseconds(self.period_end),
            "occurred_at": from_microseconds(self.occurred_at),
            "raised_at": from_microseconds(self.raised_at),
        }

    def cloudevents_headers(self) -> list[tuple[str, bytes]]:
        """Headers of the CloudEvents 1.0 Kafka binding, binary mode."""
        headers = {
            "ce_specversion": "1.0",
            "ce_id": str(self.alert_id),
            "ce_source": CLOUDEVENTS_SOURCE,
            "ce_type": CLOUDEVENTS_TYPE_PREFIX + self.kind.lower(),
            "ce_subject": self.user_id,
            "ce_time": rfc3339(self.raised_at),
            "content-type": "application/avro",
        }
        return [(name, value.encode()) for name, value in headers.items()]


def _as_long(total: int) -> int:
    return max(_LONG_MIN, min(total, _LONG_MAX))
