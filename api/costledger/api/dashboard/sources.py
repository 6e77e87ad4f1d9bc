"""Where the pages get their figures: the one module of the dashboard that knows the rest of the system."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from uuid import UUID

from costledger.api.analytics.costs import costs_answer
from costledger.api.dashboard.alert_views import ALERTS_SHOWN_MAX, Alert
from costledger.api.models.analytics import CostsAnswer, PeriodName
from costledger.api.services import Services
from costledger.schemas.budgets import Budget
from costledger.schemas.money import to_usd
from costledger.schemas.periods import PeriodKind, periods_between
from costledger.schemas.times import to_microseconds
from costledger.sinks.analytics import amounts_of_days
from costledger.sinks.budgets import get_budget, save_budget


def budget_of(services: Services, user_id: str) -> Budget:
    """The user's budget; where none was set one that says nothing, at version 0."""
    with services.ledger() as connection:
        return get_budget(connection, user_id) or Budget(user_id=user_id)


def set_budget(services: Services, budget: Budget, expected_version: int) -> Budget:
    """Store a budget; `BudgetChanged` where it is no longer at that version."""
    with services.ledger() as connection:
        return save_budget(connection, budget, expected_version)


def costs(services: Services, user_id: str, period: PeriodName, now: datetime) -> CostsAnswer:
    """The costs of a user, in detail; all zero where nothing is known of them."""
    with services.ledger() as connection:
        return costs_answer(connection, services.redis, user_id, period, detailed=True, now=now)


def month_days(services: Services, user_id: str, answer: CostsAnswer) -> list[Decimal]:
    """USD of each local day of the answer's running month until today."""
    start, now = to_microseconds(answer.current.start), to_microseconds(answer.generated_at)
    days = list(periods_between(PeriodKind.DAY, start, now + 1, answer.time_zone))
    with services.ledger() as connection:
        return [to_usd(amount) for amount in amounts_of_days(connection, user_id, days)]


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
