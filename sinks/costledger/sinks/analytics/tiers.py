"""What the subscription tiers cost: over all users, in UTC days."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date

from costledger.sinks.database import Connection
from costledger.sinks.queries import query


@dataclass(slots=True)
class TierCosts:
    """One tier: users that had an event, amounts in 1e-12 USD, and events without a price."""

    tier: str
    users: int
    total: int
    unpriced: int
    by_service: dict[str, int] = field(default_factory=dict)


def by_tier(connection: Connection, start: date, end: date, without: Sequence[str] = ()) -> list[TierCosts]:
    """The tiers whose users had an event in the UTC days [start, end), by name; a user has the tier of today.

    Services in `without` are left out. Reads every daily total of those days: seconds where they are millions.
    """
    tiers: dict[str, TierCosts] = {}
    parameters = {"start": start, "end": end, "without": list(without)}
    for tier, service, users, amount, unpriced in connection.execute(query("analytics_tiers"), parameters):
        if service is None:
            tiers[tier] = TierCosts(tier, users, int(amount), unpriced)
        else:
            tiers[tier].by_service[service] = int(amount)
    return list(tiers.values())
