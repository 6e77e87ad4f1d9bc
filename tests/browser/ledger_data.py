"""Puts costs, budgets and alerts where the pages read them: roll-ups and Redis, as the sink and the stream app would."""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import psycopg
import redis

from costledger.schemas.alerts import AlertKind, AlertState, CostAlert, Severity
from costledger.schemas.money import PICODOLLARS_PER_USD, to_picodollars
from costledger.schemas.periods import PeriodKind, period_at
from costledger.schemas.redis_keys import totals_key
from costledger.schemas.times import to_microseconds
from costledger.sinks.queries import query

Connection = psycopg.Connection[Any]

#: service, operation, quantity of an event, usual events an hour, USD of an event
WORKLOAD = (
    ("openai", "input-tokens", 4200, 30, Decimal("0.0021")),
    ("openai", "output-tokens", 800, 30, Decimal("0.0048")),
    ("aws-rekognition", "detectLabels", 1, 40, Decimal("0.001")),
    ("aws-transcribe", "transcription", 3, 1, Decimal("0.072")),
    ("aws-comprehend", "detectSentiment", 12, 10, Decimal("0.0012")),
    ("aws-s3", "put", 20, 6, Decimal("0.0001")),
    ("internal", "processing", 1, 2, Decimal("0.0104")),
)


def now() -> datetime:
    """Not that of an import, which may have been in another month."""
    return datetime.now(UTC)


@dataclass(frozen=True)
class Cost:
    """Events of one user, service and operation in one hour; the amount is USD."""

    user: str
    hour: datetime
    amount: Decimal
    service: str = "aws-rekognition"
    operation: str = "detectLabels"
    events: int = 1
    quantity: Decimal = Decimal(1)
    unpriced: int = 0


def add_costs(connection: Connection, costs: Iterable[Cost]) -> None:
    """Add to both roll-ups."""
    hours, days = [], []
    for one in costs:
        hour = one.hour.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
        largest = one.amount / max(1, one.events)
        values = (one.service, one.operation, one.events, one.unpriced, one.quantity, one.amount, largest)
        hours.append((one.user, hour, *values))
        days.append((one.user, hour.date(), *values))
    with connection.cursor() as cursor:
        for table, column, rows in (("hourly_totals", "hour", hours), ("daily_totals", "day", days)):
            cursor.executemany(
                f"INSERT INTO ledger.{table} AS t (user_id, {column}, service, operation, events, unpriced, quantity, "
                "amount, max_amount) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s) "
                f"ON CONFLICT (user_id, {column}, service, operation) DO UPDATE SET events = t.events + excluded.events, "
                "unpriced = t.unpriced + excluded.unpriced, quantity = t.quantity + excluded.quantity, "
                "amount = t.amount + excluded.amount, max_amount = greatest(t.max_amount, excluded.max_amount)",
                rows,
            )


def history(user: str, now: datetime, days: int, seed: int, share: Decimal = Decimal(1)) -> list[Cost]:
    """A believable past: weekdays busier than weekends, a slow growth, a service that begins late."""
    rng = random.Random(seed)
    costs = []
    for back in range(days, -1, -1):
        for hour in (2, 8, 11, 14, 17, 21):
            at = (now - timedelta(days=back)).replace(hour=hour, minute=0, second=0, microsecond=0)
            if at > now:
                continue
            level = (0.35 if at.weekday() >= 5 else 1.0) * (1.4 - back / days * 0.8) * rng.uniform(0.7, 1.3)
            for service, operation, quantity, usual, price in WORKLOAD:
                if service == "aws-comprehend" and back > days // 3:
                    continue
                events = max(1, int(usual * 2 * level))
                amount = (price * events * share).quantize(Decimal(10) ** -12)
                costs.append(Cost(user, at, amount, service, operation, events, Decimal(quantity * events)))
    # Also in the first hours of a month there is something in it.
    return [*costs, *(Cost(user, now, price, service, operation) for service, operation, _, _, price in WORKLOAD)]


def say_in_real_time(client: redis.Redis, user: str, usd: Decimal, now: datetime, time_zone: str = "UTC") -> None:
    """What the stream app does after an event: the month's hash has another total."""
    label = period_at(PeriodKind.MONTH, to_microseconds(now), time_zone).label
    key = totals_key(user, PeriodKind.MONTH, label)
    client.hset(key, mapping={"total": to_picodollars(usd), "updated_at": datetime.now(UTC).isoformat()})


def add_alert(connection: Connection, user: str, percent: int, message: str, **other: Any) -> str:
    """An alert of the budget; its id."""
    now = other.pop("now", datetime.now(UTC))
    at = to_microseconds(now)
    month = period_at(PeriodKind.MONTH, at)
    values: dict[str, Any] = {
        "kind": AlertKind.BUDGET_THRESHOLD,
        "state": AlertState.ALARM,
        "severity": Severity.WARNING if percent < 100 else Severity.CRITICAL,
        "scope": "total",
        "period_start": month.start_us,
        "period_end": month.end_us,
        "actual": PICODOLLARS_PER_USD,
        "limit": PICODOLLARS_PER_USD,
        "threshold_percent": Decimal(percent),
        "budget_version": 1,
    }
    alert = CostAlert(**{**values, "user_id": user, "message": message, "occurred_at": at, "raised_at": at, **other})
    connection.execute(query("insert_alert"), {**alert.to_record(), "actual": Decimal(1), "limit": Decimal(1)})
    return str(alert.alert_id)
