"""All users, page by page: what each has spent this month, and may."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from costledger.schemas.budgets import Budget, BudgetDefaults
from costledger.schemas.money import to_picodollars
from costledger.schemas.periods import Period, PeriodKind, period_at
from costledger.sinks.analytics.pieces import Piece, cut
from costledger.sinks.analytics.totals import columns, rests
from costledger.sinks.database import Connection
from costledger.sinks.queries import query


@dataclass(frozen=True, slots=True)
class UserOverview:
    """One user: the running month of the user's zone, what it has come to, and the budget in force; in 1e-12 USD.

    `budget_version` is 0 where none is set: the budget is then the tier's default.
    """

    user_id: str
    tier: str
    time_zone: str
    month: Period
    month_to_date: int
    unpriced: int
    monthly_budget: int
    budget_version: int


def users_overview(
    connection: Connection, after: str, limit: int, now_us: int, defaults: BudgetDefaults
) -> list[UserOverview]:
    """At most `limit` users whose ids come after `after` ("" for the first page), in the order of their ids.

    Two statements, whatever the number of users; a third where a zone's months begin within a UTC hour.
    """
    rows = connection.execute(query("analytics_users"), {"after": after, "limit": limit}).fetchall()
    months = [period_at(PeriodKind.MONTH, now_us, time_zone) for _, _, time_zone, _, _ in rows]
    spent = _spent(connection, [row[0] for row in rows], months)
    return [
        UserOverview(
            user_id,
            tier,
            time_zone,
            month,
            *spent.get(number, (0, 0)),
            _monthly(user_id, tier, budget, defaults),
            version,
        )
        for number, ((user_id, tier, time_zone, budget, version), month) in enumerate(zip(rows, months, strict=True))
    ]


def _spent(connection: Connection, users: Sequence[str], months: Sequence[Period]) -> Mapping[int, tuple[int, int]]:
    """Amount and unpriced events by the number of the user."""
    pieces = cut(tuple((month.start_us, month.end_us) for month in months))
    found: dict[int, tuple[int, int]] = {}
    parameters: dict[str, Any] = {
        **columns("day_", pieces.days),
        **columns("hour_", pieces.hours),
        "day_users": _users(users, pieces.days),
        "hour_users": _users(users, pieces.hours),
    }
    for number, amount, unpriced in connection.execute(query("analytics_users_totals"), parameters):
        found[number] = int(amount), unpriced
    if pieces.rests:
        parameters = {**rests(pieces.rests), "users": _users(users, pieces.rests)}
        for number, _, _, _, unpriced, _, amount, _ in connection.execute(query("analytics_rests"), parameters):
            known = found.get(number, (0, 0))
            found[number] = known[0] + int(amount), known[1] + unpriced
    return found


def _users(users: Sequence[str], pieces: Sequence[Piece]) -> list[str]:
    return [users[one.number] for one in pieces]


def _monthly(user_id: str, tier: str, budget: Any, defaults: BudgetDefaults) -> int:
    own = None if budget is None else to_picodollars(budget)
    return Budget(user_id=user_id, tier=tier, monthly_budget=own).limits(defaults).monthly
