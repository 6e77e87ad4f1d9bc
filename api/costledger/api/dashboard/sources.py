"""Where the pages get their figures: the one module of the dashboard that knows the rest of the system."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Final
from uuid import UUID

import structlog

from costledger.api.analytics.costs import costs_answer
from costledger.api.models.analytics import CostsAnswer, PeriodName
from costledger.api.services import Services
from costledger.schemas.budgets import Budget
from costledger.schemas.money import to_usd
from costledger.schemas.periods import PeriodKind, periods_between
from costledger.schemas.times import to_microseconds
from costledger.sinks.alert_book import (
    AlertEntry,
    AlertFilter,
    acknowledge_alert,
    get_alert,
    list_alerts,
    snooze_alert,
)
from costledger.sinks.analytics import amounts_of_days
from costledger.sinks.budgets import get_budget, save_budget
from costledger.sinks.database import Connection

logger = structlog.get_logger(__name__)

WAITING_MAX: Final = 20
ACKNOWLEDGED_MAX: Final = 10


def budget_of(services: Services, user_id: str) -> Budget:
    """The user's budget; where none was set one that says nothing, at version 0."""
    with services.ledger() as connection:
        return get_budget(connection, user_id) or Budget(user_id=user_id)


def set_budget(services: Services, budget: Budget, expected_version: int) -> Budget:
    """Store a budget, for Kafka too; `BudgetChanged` where it is no longer at that version."""
    with services.ledger() as connection:
        stored = save_budget(connection, budget, expected_version)
    services.budgets.tell()
    logger.info("budget changed", user=stored.user_id, by=stored.user_id, version=stored.version, over="dashboard")
    return stored


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


def alerts(services: Services, user_id: str) -> list[AlertEntry]:
    """The newest alerts of a user: those that wait to be acknowledged, and fewer of the others."""
    with services.ledger() as connection:
        return [
            entry
            for acknowledged, limit in ((False, WAITING_MAX), (True, ACKNOWLEDGED_MAX))
            for entry in list_alerts(connection, AlertFilter(user_id=user_id, acknowledged=acknowledged), limit=limit)
        ]


def acknowledge(services: Services, user_id: str, alert_id: UUID) -> bool:
    """Acknowledge an alert of this user; False where there is none."""
    with services.ledger() as connection:
        done = _has_alert(connection, user_id, alert_id) and (
            acknowledge_alert(connection, alert_id, user_id) is not None
        )
    if done:
        _tell("alert acknowledged", user_id, alert_id)
    return done


def snooze(services: Services, user_id: str, alert_id: UUID, until: datetime) -> bool:
    """Silence an alert of this user; False where there is none."""
    with services.ledger() as connection:
        done = _has_alert(connection, user_id, alert_id) and snooze_alert(connection, alert_id, until) is not None
    if done:
        _tell("alert snoozed", user_id, alert_id)
    return done


def _tell(event: str, user_id: str, alert_id: UUID) -> None:
    logger.info(event, alert_id=str(alert_id), user=user_id, by=user_id, over="dashboard")


def _has_alert(connection: Connection, user_id: str, alert_id: UUID) -> bool:
    found = get_alert(connection, alert_id)
    return found is not None and found.user_id == user_id
