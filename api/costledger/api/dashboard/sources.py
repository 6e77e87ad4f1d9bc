"""Where the pages get their figures: the one module of the dashboard that knows the rest of the system."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import TypeVar
from uuid import UUID

from costledger.api.dashboard.alert_views import ALERTS_SHOWN_MAX, Alert
from costledger.api.models.analytics import CostsAnswer, Current, Detail, HistoryPeriod, PeriodName
from costledger.api.services import Services
from costledger.schemas.budgets import Budget
from costledger.schemas.periods import PeriodKind, period_at, zone
from costledger.schemas.times import from_microseconds, to_microseconds
from costledger.sinks.budgets import get_budget, save_budget
from costledger.sinks.queries import query

Result = TypeVar("Result")


def budget_of(services: Services, user_id: str) -> Budget:
    """The user's budget; where none was set one that says nothing, at version 0."""
    with services.ledger() as connection:
        return get_budget(connection, user_id) or Budget(user_id=user_id)


def set_budget(services: Services, budget: Budget, expected_version: int) -> Budget:
    """Store a budget; `BudgetChanged` where it is no longer at that version."""
    with services.ledger() as connection:
        return save_budget(connection, budget, expected_version)


def month_days(services: Services, user_id: str, answer: CostsAnswer) -> list[Decimal]:
    """USD of each local day of the answer's running month until today."""
    current, time_zone = answer.current, answer.time_zone
    parameters = {"user_id": user_id, "start": current.start, "end": current.end, "time_zone": time_zone}
    with services.ledger() as connection:
        rows: dict[date, Decimal] = dict(connection.execute(query("month_by_day"), parameters).fetchall())
    day = current.start.astimezone(zone(time_zone)).date()
    today = answer.generated_at.astimezone(zone(time_zone)).date()
    return [rows.get(day + timedelta(days=index), Decimal(0)) for index in range((today - day).days + 1)]


def alerts(services: Services, user_id: str) -> list[Alert]:
    """TEMPORARY."""
    with services.ledger() as connection:
        rows = connection.execute(
            "SELECT alert_id::text, kind, state, severity, message, raised_at, late, acknowledged_at, snoozed_until "
            "FROM ledger.alerts WHERE user_id = %s ORDER BY raised_at DESC LIMIT %s",
            (user_id, ALERTS_SHOWN_MAX),
        ).fetchall()
    return [Alert(*row) for row in rows]


def acknowledge(services: Services, user_id: str, alert_id: UUID) -> bool:
    """TEMPORARY."""
    with services.ledger() as connection:
        return bool(
            connection.execute(
                "UPDATE ledger.alerts SET acknowledged_at = now(), acknowledged_by = %s WHERE alert_id = %s AND user_id = %s",
                (user_id, alert_id, user_id),
            ).rowcount
        )


def snooze(services: Services, user_id: str, alert_id: UUID, until: datetime) -> bool:
    """TEMPORARY."""
    with services.ledger() as connection:
        return bool(
            connection.execute(
                "UPDATE ledger.alerts SET snoozed_until = %s WHERE alert_id = %s AND user_id = %s",
                (until, alert_id, user_id),
            ).rowcount
        )


def costs(services: Services, user_id: str, period: PeriodName, time_zone: str) -> CostsAnswer:
    """TEMPORARY."""
    now = datetime.now(UTC)
    kind = PeriodKind(period)
    running = period_at(kind, to_microseconds(now), time_zone)
    periods = [running]
    for _ in range({"day": 6, "week": 3, "month": 11}[period]):
        periods.insert(0, periods[0].previous())
    history = []
    with services.ledger() as connection:
        for one in periods:
            start, end = from_microseconds(one.start_us), from_microseconds(one.end_us)
            rows = connection.execute(
                "SELECT service, sum(amount) FROM ledger.hourly_totals WHERE user_id=%s AND hour>=%s AND hour<%s GROUP BY 1",
                (user_id, start, end),
            ).fetchall()
            history.append(
                HistoryPeriod(
                    start=start,
                    end=end,
                    total=str(sum((row[1] for row in rows), Decimal(0))),
                    by_service={row[0]: str(row[1]) for row in rows},
                )
            )
        rows = connection.execute(
            "SELECT service, operation, sum(events)::int, sum(amount), sum(quantity), sum(unpriced)::int "
            "FROM ledger.hourly_totals WHERE user_id=%s AND hour>=%s GROUP BY 1, 2",
            (user_id, history[-1].start),
        ).fetchall()
    detailed = [
        Detail(
            service=row[0],
            operation=row[1],
            count=row[2],
            total=str(row[3]),
            average=str(row[3] / row[2]),
            maximum=None,
            units=str(row[4]),
            unpriced_events=row[5],
        )
        for row in rows
    ]
    return CostsAnswer(
        user_id=user_id,
        period=period,
        currency="USD",
        time_zone=time_zone,
        generated_at=now,
        current=Current(
            start=history[-1].start,
            end=history[-1].end,
            total=history[-1].total,
            by_service=history[-1].by_service,
            by_operation={},
            unpriced_events=sum(row[5] for row in rows),
            trend_percent="12.5",
        ),
        history=history,
        forecast=None,
        recommendations=[],
        efficiency_score=None,
        detailed=detailed,
    )
