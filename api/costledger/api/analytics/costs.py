"""The answer of `GET /api/analytics/costs`, put together: used by the route and by the dashboard."""

from __future__ import annotations

from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Final

import redis

from costledger.api.analytics.live import live_total
from costledger.api.analytics.outlook import read_forecast
from costledger.api.models.analytics import (
    CostsAnswer,
    Current,
    Detail,
    HistoryPeriod,
    PeriodName,
    Recommendation,
)
from costledger.api.problems import Problem
from costledger.producers.optimiser.ledger_usage import two_decimals
from costledger.producers.optimiser.recommendations import Advice, advise
from costledger.producers.savings import SAVINGS_SERVICE
from costledger.schemas.money import from_nanounits, usd_text
from costledger.schemas.periods import PeriodKind
from costledger.schemas.times import from_microseconds, to_microseconds
from costledger.sinks.analytics import Costs, PeriodCosts, Subject, Sums, average, read_costs, read_subject
from costledger.sinks.analytics.snapshot import snapshot
from costledger.sinks.database import Connection
from costledger.sinks.usage import read_usage

CURRENCY: Final = "USD"
#: Recommendations and the score rest on so many UTC days, whatever the period: a morning says nothing.
ADVICE_DAYS: Final = 30


def costs_answer(
    connection: Connection,
    client: redis.Redis | None,
    user_id: str,
    period: PeriodName,
    *,
    detailed: bool,
    now: datetime,
    must_exist: bool = False,
) -> CostsAnswer:
    """Everything about the costs of one user, from one snapshot of the roll-ups; the live total from Redis.

    `connection` is in autocommit mode. `client` decodes its answers; None, or a Redis that cannot be asked, leaves
    `live_total` null. With `must_exist` a user of whom nothing is known is a `Problem` (404), else all is zero.
    Periods are those of the user's own time zone.
    """
    kind, now_us = PeriodKind(period), to_microseconds(now, "now")
    with snapshot(connection):
        subject = _subject(connection, user_id, must_exist)
        costs = read_costs(connection, user_id, kind, subject.time_zone, now_us)
        forecast = read_forecast(connection, user_id, costs.current.period, now_us)
        day = from_microseconds(now_us).date()
        end = day + timedelta(days=1)
        advice = advise(read_usage(connection, end - timedelta(days=ADVICE_DAYS), end, user_id))
    return CostsAnswer(
        user_id=user_id,
        period=period,
        currency=CURRENCY,
        time_zone=subject.time_zone,
        generated_at=from_microseconds(now_us),
        current=_current(costs, live_total(client, user_id, costs.current.period)),
        history=[_history_period(one) for one in costs.history],
        forecast=forecast,
        recommendations=_recommendations(advice),
        efficiency_score=None if advice.efficiency_score is None else f"{advice.efficiency_score:f}",
        detailed=[_detail(one) for one in paid_for(costs.current.sums)] if detailed else None,
    )


def _subject(connection: Connection, user_id: str, must_exist: bool) -> Subject:
    # No event and no budget is of a user whose id cannot be printed; PostgreSQL would refuse some of them.
    if user_id.isprintable():
        subject = read_subject(connection, user_id)
        if subject.known or not must_exist:
            return subject
    raise Problem.unknown_user(user_id)


def paid_for(sums: list[Sums]) -> list[Sums]:
    """Without the events that only tell of savings and lookups: they cost nothing."""
    return [one for one in sums if one.service != SAVINGS_SERVICE]


def percent_text(percent: Fraction) -> str:
    """With two decimals, ties to even; zero has no sign."""
    rounded: Decimal = two_decimals(percent)
    return f"{rounded if rounded else abs(rounded):f}"


def _current(costs: Costs, live: int | None) -> Current:
    current = costs.current
    shown = PeriodCosts(current.period, paid_for(current.sums))
    return Current(
        start=from_microseconds(current.period.start_us),
        end=from_microseconds(current.period.end_us),
        total=usd_text(current.total),
        by_service=_texts(shown.by_service),
        by_operation=_texts(shown.by_operation),
        unpriced_events=shown.unpriced,
        trend_percent=percent_text(costs.trend_percent),
        trend_to_date_percent=percent_text(costs.trend_to_date_percent),
        live_total=None if live is None else usd_text(live),
    )


def _history_period(one: PeriodCosts) -> HistoryPeriod:
    shown = PeriodCosts(one.period, paid_for(one.sums))
    return HistoryPeriod(
        start=from_microseconds(one.period.start_us),
        end=from_microseconds(one.period.end_us),
        total=usd_text(one.total),
        by_service=_texts(shown.by_service),
    )


def _detail(sums: Sums) -> Detail:
    mean = average(sums)
    return Detail(
        service=sums.service,
        operation=sums.operation,
        count=sums.events,
        total=usd_text(sums.amount),
        # To the nearest 1e-12 USD, ties to even.
        average=None if mean is None else usd_text(round(mean)),
        maximum=None if sums.maximum is None else usd_text(sums.maximum),
        units=f"{from_nanounits(sums.quantity).normalize():f}",
        unpriced_events=sums.unpriced,
    )


def _recommendations(advice: Advice) -> list[Recommendation]:
    return [
        Recommendation(
            code=one.code,
            title=one.title,
            reason=one.reason,
            priority=one.priority,
            potential_saving=usd_text(one.potential_saving),
        )
        for one in advice.recommendations
    ]


def _texts(amounts: dict[str, int]) -> dict[str, str]:
    return {name: usd_text(amount) for name, amount in amounts.items()}
