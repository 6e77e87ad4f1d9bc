"""The answers over all users: cost by tier, and the users page by page."""

from __future__ import annotations

from datetime import datetime
from fractions import Fraction

from costledger.api.analytics.costs import CURRENCY, percent_text
from costledger.api.models.analytics import PeriodName, TierCost, TiersAnswer, UserCost, UsersAnswer
from costledger.producers.savings import SAVINGS_SERVICE
from costledger.schemas.budgets import BudgetDefaults
from costledger.schemas.money import usd_text
from costledger.schemas.periods import PeriodKind
from costledger.schemas.times import from_microseconds, to_microseconds
from costledger.sinks.analytics import TierCosts, UserOverview, by_tier, period_bounds, users_overview
from costledger.sinks.analytics.snapshot import snapshot
from costledger.sinks.database import Connection


def tiers_answer(connection: Connection, period: PeriodName, now: datetime) -> TiersAnswer:
    """What each tier has cost in the running period of UTC."""
    now_us = to_microseconds(now, "now")
    running = period_bounds(PeriodKind(period), now_us)
    start, end = from_microseconds(running.start_us), from_microseconds(running.end_us)
    tiers = by_tier(connection, start.date(), end.date(), without=(SAVINGS_SERVICE,))
    whole = sum(tier.total for tier in tiers)
    return TiersAnswer(
        period=period,
        currency=CURRENCY,
        time_zone="UTC",
        generated_at=from_microseconds(now_us),
        start=start,
        end=end,
        total=usd_text(whole),
        tiers=[_tier(one, whole) for one in sorted(tiers, key=lambda one: (-one.total, one.tier))],
    )


def users_answer(
    connection: Connection, cursor: str | None, limit: int, now: datetime, defaults: BudgetDefaults
) -> UsersAnswer:
    """The page of users that begins after the cursor."""
    now_us = to_microseconds(now, "now")
    with snapshot(connection):
        # One more than is shown: it says whether another page follows.
        found = users_overview(connection, user_of(cursor), limit + 1, now_us, defaults)
    shown = found[:limit]
    return UsersAnswer(
        generated_at=from_microseconds(now_us),
        currency=CURRENCY,
        users=[_user(one) for one in shown],
        next_cursor=cursor_of(shown[-1].user_id) if len(found) > limit else None,
    )


def cursor_of(user_id: str) -> str:
    """The cursor of the page that begins after this user."""
    return user_id.encode().hex()


def user_of(cursor: str | None) -> str:
    """The place of a cursor: what is no user's id is still a place in the order of ids. "" comes before all."""
    if cursor is None:
        return ""
    # PostgreSQL has no text with NUL.
    return bytes.fromhex(cursor.strip()).decode(errors="replace").replace("\0", "")


def _tier(costs: TierCosts, whole: int) -> TierCost:
    return TierCost(
        tier=costs.tier,
        users=costs.users,
        total=usd_text(costs.total),
        average_per_user=usd_text(round(Fraction(costs.total, costs.users))),
        share_percent=percent_text(Fraction(costs.total * 100, whole)) if whole > 0 else None,
        by_service={service: usd_text(amount) for service, amount in costs.by_service.items()},
        unpriced_events=costs.unpriced,
    )


def _user(one: UserOverview) -> UserCost:
    budget = one.monthly_budget
    return UserCost(
        user_id=one.user_id,
        tier=one.tier,
        time_zone=one.time_zone,
        month_start=from_microseconds(one.month.start_us),
        month_to_date=usd_text(one.month_to_date),
        monthly_budget=usd_text(budget),
        budget_percent=percent_text(Fraction(one.month_to_date * 100, budget)) if budget else None,
        own_budget=one.budget_version > 0,
        unpriced_events=one.unpriced,
    )
