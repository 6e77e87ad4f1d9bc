"""What the operators' page shows, by pure functions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from typing import Literal

from costledger.api.dashboard import formats
from costledger.api.dashboard.formats import Money, money
from costledger.api.models.analytics import TiersAnswer
from costledger.schemas.budgets import DEFAULT_TIER, BudgetDefaults
from costledger.schemas.money import to_usd
from costledger.sinks.analytics import UserOverview
from costledger.sinks.oversight import DeliveryCount, PartitionState, UserSpend

Tone = Literal["good", "warning", "bad"]


@dataclass(frozen=True, slots=True)
class Sign:
    """One line of the system's health."""

    name: str
    tone: Tone
    text: str


@dataclass(frozen=True, slots=True)
class UserRow:
    """A user in the list; `bar` is the share of the budget, 0 to 100, and `tone` how it stands."""

    user_id: str
    tier: str
    total: Money
    budget: Money
    share: str
    bar: float
    tone: Literal["calm", "warning", "over"]
    unpriced: int = 0
    events: str = "–"
    open_alerts: str = "–"


@dataclass(frozen=True, slots=True)
class TierRow:
    """A tier in the list; `bar` is its share of all costs, 0 to 100."""

    name: str
    users: str
    total: Money
    share: str
    bar: float
    average: Money


@dataclass(frozen=True, slots=True)
class PartitionRow:
    """A partition: how far the ledger is, and what is missing (None where Kafka does not say)."""

    partition: int
    watermark: int
    end: int | None
    lag: int | None
    inserted: int
    duplicates: int
    quarantined: int
    unexplained: int
    moved: str


def user_rows(users: Sequence[UserSpend], defaults: BudgetDefaults) -> tuple[UserRow, ...]:
    """Users with the budget of their own or their tier's default."""
    by_tier = defaults.monthly_by_tier
    rows = []
    for user in users:
        budget = user.monthly_budget
        if budget is None:
            budget = to_usd(by_tier.get(user.tier, by_tier[DEFAULT_TIER]))
        row = _user(user.user_id, user.tier, user.amount, budget, min(defaults.alert_thresholds))
        events, open_alerts = formats.count(user.events), formats.count(user.open_alerts)
        rows.append(replace(row, unpriced=user.unpriced, events=events, open_alerts=open_alerts))
    return tuple(rows)


def named_rows(users: Sequence[UserOverview], defaults: BudgetDefaults) -> tuple[UserRow, ...]:
    """Users without the figures that only the list by cost has."""
    warned_at = min(defaults.alert_thresholds)
    return tuple(
        replace(
            _user(user.user_id, user.tier, to_usd(user.month_to_date), to_usd(user.monthly_budget), warned_at),
            unpriced=user.unpriced,
        )
        for user in users
    )


def _user(user_id: str, tier: str, amount: Decimal, budget: Decimal, warned_at: Decimal) -> UserRow:
    share = amount / budget * 100 if budget else None
    over = amount > budget
    return UserRow(
        user_id,
        tier,
        money(amount),
        money(budget),
        "–" if share is None else formats.percent(share),
        100.0 if share is None and over else _bar(share or Decimal(0)),
        "over" if over else "warning" if share is not None and share >= warned_at else "calm",
    )


def tier_rows(answer: TiersAnswer) -> tuple[TierRow, ...]:
    """Tiers with their share of all costs, the dearest first."""
    rows = []
    for tier in answer.tiers:
        share = Decimal(tier.share_percent or 0)
        total, average = money(Decimal(tier.total)), money(Decimal(tier.average_per_user))
        rows.append(TierRow(tier.tier, formats.count(tier.users), total, formats.percent(share), _bar(share), average))
    return tuple(rows)


def partition_rows(
    states: Sequence[PartitionState], ranges: Mapping[int, tuple[int, int]] | None, now: datetime
) -> tuple[PartitionRow, ...]:
    """Every partition that the ledger or Kafka knows."""
    by_number = {state.partition: state for state in states}
    rows = []
    for number in sorted(by_number.keys() | (ranges or {}).keys()):
        state = by_number.get(number)
        low, end = (ranges or {}).get(number, (0, None))
        watermark = state.next_offset if state is not None else low
        rows.append(
            PartitionRow(
                number,
                watermark,
                end,
                None if end is None else max(0, end - max(watermark, low)),
                state.inserted if state is not None else 0,
                state.duplicates if state is not None else 0,
                state.quarantined if state is not None else 0,
                state.unexplained if state is not None else 0,
                "never" if state is None else f"{formats.age((now - state.updated_at).total_seconds())} ago",
            )
        )
    return tuple(rows)


def signs(
    partitions: Sequence[PartitionRow],
    quarantined: Mapping[str, int],
    deliveries: Sequence[DeliveryCount],
    *,
    kafka: bool,
    redis: bool,
) -> tuple[Sign, ...]:
    """The state of each part in one line."""
    found = [
        Sign("Ledger", "good", "PostgreSQL answers"),
        Sign("Real time", "good", "Redis answers") if redis else Sign("Real time", "bad", "Redis does not answer"),
    ]
    if kafka:
        lag = sum(row.lag or 0 for row in partitions)
        behind = f"{formats.count(lag)} {'event' if lag == 1 else 'events'} behind Kafka"
        found.append(
            Sign("Sink", "good" if lag == 0 else "warning", "has written all that Kafka has" if not lag else behind)
        )
    else:
        found.append(Sign("Kafka", "bad", "does not answer: the lag is not known"))
    unexplained = sum(abs(row.unexplained) for row in partitions)
    found.append(
        Sign("Completeness", "bad", f"{_counted(unexplained, 'offset')} not accounted for")
        if unexplained
        else Sign("Completeness", "good", "every offset is accounted for")
    )
    aside = sum(quarantined.values())
    found.append(
        Sign("Quarantine", "warning", f"{formats.count(aside)} waiting for a fix")
        if aside
        else Sign("Quarantine", "good", "empty")
    )
    found.append(_delivery_sign(deliveries))
    return tuple(found)


def _counted(number: int, name: str) -> str:
    return f"{formats.count(number)} {name} is" if number == 1 else f"{formats.count(number)} {name}s are"


def _delivery_sign(deliveries: Sequence[DeliveryCount]) -> Sign:
    dead = sum(one.deliveries for one in deliveries if one.state == "dead")
    pending = sum(one.deliveries for one in deliveries if one.state == "pending")
    if dead:
        return Sign("Delivery", "bad", f"{formats.count(dead)} given up, {formats.count(pending)} pending")
    if pending:
        return Sign("Delivery", "warning", f"{formats.count(pending)} pending")
    return Sign("Delivery", "good", "nothing is pending")


def _bar(percent: Decimal) -> float:
    return round(float(min(max(percent, Decimal(0)), Decimal(100))), 2)
