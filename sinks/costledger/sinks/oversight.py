"""What operators look at: users by cost, how far the ledger is, what was put aside, what was delivered."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Final

from psycopg.rows import class_row

from costledger.sinks.database import Connection
from costledger.sinks.quarantine import Quarantined
from costledger.sinks.queries import query

USERS_PAGE_MAX: Final = 200


@dataclass(frozen=True, slots=True)
class UserSpend:
    """A user's costs in USD; `monthly_budget` is None where none of their own was set."""

    user_id: str
    tier: str
    amount: Decimal
    events: int
    unpriced: int
    monthly_budget: Decimal | None
    open_alerts: int


@dataclass(frozen=True, slots=True)
class PartitionState:
    """How far the ledger is with a partition. `unexplained` is 0, or something is wrong."""

    partition: int
    next_offset: int
    consumed: int
    inserted: int
    duplicates: int
    quarantined: int
    unpriced: int
    unexplained: int
    updated_at: datetime
    last_inserted_at: datetime | None


@dataclass(frozen=True, slots=True)
class DeliveryCount:
    """Deliveries of one channel in one state: pending, delivered or dead."""

    channel: str
    state: str
    deliveries: int
    oldest: datetime


def users_by_spend(
    connection: Connection,
    since: date,
    until: date,
    *,
    after: tuple[Decimal, str] | None = None,
    prefix: str | None = None,
    limit: int = 25,
) -> list[UserSpend]:
    """Users with costs on the UTC days from `since` to before `until`, the dearest first, at most `limit` (200).

    Page with `after`, the amount and id of the last one seen; `prefix` keeps those whose id begins with it. Reads every
    daily total of those days: where they are millions it runs into the statement timeout (`QueryCanceled`).
    """
    parameters = {
        "since": since,
        "until": until,
        "after_amount": None if after is None else after[0],
        "after_user": None if after is None else after[1],
        "prefix": prefix,
        "limit": max(1, min(limit, USERS_PAGE_MAX)),
    }
    with connection.cursor(row_factory=class_row(UserSpend)) as cursor:
        return cursor.execute(query("oversight_users"), parameters).fetchall()


def partition_states(connection: Connection, topic: str) -> list[PartitionState]:
    """The partitions of a topic in the ledger, in order."""
    with connection.cursor(row_factory=class_row(PartitionState)) as cursor:
        return cursor.execute(query("oversight_partitions"), {"topic": topic}).fetchall()


def delivery_counts(connection: Connection) -> list[DeliveryCount]:
    """Deliveries to people by channel and state."""
    with connection.cursor(row_factory=class_row(DeliveryCount)) as cursor:
        return cursor.execute(query("oversight_deliveries")).fetchall()


def newest_quarantined(connection: Connection, limit: int = 10) -> list[Quarantined]:
    """The latest messages that wait for a fix, at most `limit` (200)."""
    with connection.cursor(row_factory=class_row(Quarantined)) as cursor:
        parameters = {"limit": max(1, min(limit, USERS_PAGE_MAX))}
        return cursor.execute(query("newest_quarantine"), parameters).fetchall()
