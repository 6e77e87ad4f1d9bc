"""Budgets in the ledger: every version is kept, and each change reaches Kafka through an outbox.

The stream app reads budgets from the compacted topic `cost.budgets`; the row here and the message there come
from one transaction, so neither is without the other for longer than Kafka is away.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from decimal import Decimal
from typing import Any, Final

from costledger.schemas.budgets import DEFAULT_TIER, Budget
from costledger.schemas.codec import encode_budget
from costledger.schemas.errors import CostledgerError, InvalidValue, Unavailable
from costledger.schemas.fail_points import reach
from costledger.schemas.money import to_picodollars, to_usd
from costledger.schemas.times import from_microseconds, to_microseconds
from costledger.sinks.database import Connection
from costledger.sinks.delivery import ACKNOWLEDGE_SECONDS_MAX, Deliverer, Outgoing
from costledger.sinks.locks import AdvisoryLock
from costledger.sinks.queries import query

_RELAY_MESSAGES_MAX: Final = 500
#: A relay waits for Kafka with its transaction open.
_HELD_SECONDS_MAX: Final = ACKNOWLEDGE_SECONDS_MAX + 5.0


class BudgetChanged(CostledgerError):
    """The budget is not at the version that the caller saw; `version` is the one it has now."""

    def __init__(self, user_id: str, expected: int, version: int) -> None:
        super().__init__(f"the budget of {user_id!r} is at version {version}, not {expected}")
        self.version = version


def get_budget(connection: Connection, user_id: str) -> Budget | None:
    """The user's own budget; None where none was set, or it was deleted: the defaults of the tier apply."""
    row = _newest(connection, user_id)
    return None if row is None or row["deleted"] else _budget(row)


def save_budget(connection: Connection, budget: Budget, expected_version: int | None = None) -> Budget:
    """Store a budget as a new version, for Kafka too; returns it with `version` and `updated_at` filled in.

    With `expected_version` (0: none was set, or it was deleted) only if that is the one in force, else
    `BudgetChanged`. The user's tier and time zone become the budget's.
    """
    with connection.transaction():
        # Locks the user: the versions of one user are made one after the other.
        connection.execute(
            query("upsert_user"),
            {"user_id": budget.user_id, "tier": budget.tier, "time_zone": budget.time_zone},
        )
        newest = _newest(connection, budget.user_id)
        in_force = 0 if newest is None or newest["deleted"] else newest["version"]
        if expected_version is not None and expected_version != in_force:
            raise BudgetChanged(budget.user_id, expected_version, in_force)
        return _add_version(connection, budget, newest, deleted=False)


def delete_budget(connection: Connection, user_id: str) -> bool:
    """Take a user's budget back: the defaults apply again, for tier and time zone too. False where there is none."""
    with connection.transaction():
        defaults = Budget(user_id=user_id)
        newest = _newest(connection, user_id)
        if newest is None:
            return False
        connection.execute(
            query("upsert_user"), {"user_id": user_id, "tier": DEFAULT_TIER, "time_zone": defaults.time_zone}
        )
        # Read again: the user is locked only now.
        newest = _newest(connection, user_id)
        if newest is None or newest["deleted"]:
            return False
        _add_version(connection, defaults, newest, deleted=True)
        return True


def relay_budgets(connection: Connection, deliverer: Deliverer, topic: str) -> int:
    """Produce the budgets that Kafka does not have yet, in order, at least once; returns how many.

    They leave the outbox after the acknowledgement; `Unavailable` where there is none. Another relay at work: 0.
    """
    with connection.transaction():
        # One relay at a time: two would produce one user's versions in either order, and the topic keeps the last.
        key = AdvisoryLock.BUDGET_RELAY.value
        locked = connection.execute("SELECT pg_try_advisory_xact_lock(%s)", (key,)).fetchone()
        if locked is None or not locked[0]:
            return 0
        # The lock must last until Kafka has answered: a second relay would overtake what this one still has under way.
        idle_milliseconds = str(int(_HELD_SECONDS_MAX * 1000))
        connection.execute("SELECT set_config('idle_in_transaction_session_timeout', %s, true)", (idle_milliseconds,))
        cursor = connection.execute(query("pending_budgets"), {"limit": _RELAY_MESSAGES_MAX})
        rows = _dicts(cursor)
        if not rows:
            return 0
        outgoing, refused = _outgoing(rows, topic)
        reach("budgets.before_produce")
        deliverer.deliver(list(outgoing.values()))
        reach("budgets.after_produce")
        connection.execute("DELETE FROM ledger.budget_outbox WHERE id = ANY (%s)", (list(outgoing),))
    reach("budgets.after_delete")
    if refused:
        raise Unavailable("; ".join(refused))
    return len(outgoing)


def _outgoing(rows: Iterable[Mapping[str, Any]], topic: str) -> tuple[dict[int, Outgoing], list[str]]:
    """The messages of the rows by their ids, and why some users have none: another host has saved what is no budget here.

    Their later versions wait with it, and nobody else's.
    """
    outgoing: dict[int, Outgoing] = {}
    refused: dict[str, str] = {}
    for row in rows:
        user_id = row["user_id"]
        if user_id in refused:
            continue
        try:
            value = None if row["deleted"] else encode_budget(_budget(row))
        except InvalidValue as error:
            refused[user_id] = f"the budget of {user_id!r} cannot be sent from here: {error}"
        else:
            outgoing[row["id"]] = Outgoing(topic, user_id.encode(), value)
    return outgoing, list(refused.values())


def _newest(connection: Connection, user_id: str) -> dict[str, Any] | None:
    rows = _dicts(connection.execute(query("newest_budget"), {"user_id": user_id}))
    return rows[0] if rows else None


def _add_version(connection: Connection, budget: Budget, newest: Mapping[str, Any] | None, *, deleted: bool) -> Budget:
    row = connection.execute("SELECT date_trunc('microseconds', clock_timestamp())").fetchone()
    updated_at = to_microseconds(row[0], "updated_at") if row is not None else 0
    version = 1 if newest is None else newest["version"] + 1
    stored = replace(budget, version=version, updated_at=updated_at)
    thresholds = stored.alert_thresholds
    connection.execute(
        query("insert_budget"),
        {
            "user_id": stored.user_id,
            "version": stored.version,
            "deleted": deleted,
            "tier": stored.tier,
            "monthly_budget": _usd(stored.monthly_budget),
            "alert_thresholds": None if thresholds is None else list(thresholds),
            "currency": stored.currency,
            "time_zone": stored.time_zone,
            "hourly_spike_limit": _usd(stored.hourly_spike_limit),
            "updated_at": from_microseconds(stored.updated_at),
        },
    )
    return stored


def _budget(row: Mapping[str, Any]) -> Budget:
    thresholds = row["alert_thresholds"]
    return Budget(
        user_id=row["user_id"],
        version=row["version"],
        tier=row["tier"],
        monthly_budget=_picodollars(row["monthly_budget"]),
        alert_thresholds=None if thresholds is None else tuple(percent.normalize() for percent in thresholds),
        currency=row["currency"],
        time_zone=row["time_zone"],
        hourly_spike_limit=_picodollars(row["hourly_spike_limit"]),
        updated_at=to_microseconds(row["updated_at"], "updated_at"),
    )


def _dicts(cursor: Any) -> list[dict[str, Any]]:
    names = [column.name for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


def _usd(picodollars: int | None) -> Decimal | None:
    return None if picodollars is None else to_usd(picodollars)


def _picodollars(usd: Decimal | None) -> int | None:
    return None if usd is None else to_picodollars(usd)
