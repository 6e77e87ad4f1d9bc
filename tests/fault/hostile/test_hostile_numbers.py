"""Integers at their bounds: exact however far the sums go, or refused with field, value and limit."""

from __future__ import annotations

import subprocess
from decimal import Decimal

import psycopg
import pytest
from tests.fault.hostile.conftest import HostileSystem
from tests.schemas.samples import LONG_MAX, LONG_MIN
from tests.sinks.conftest import make_event

from costledger.schemas import codec
from costledger.schemas.budgets import (
    DEFAULT_HOURLY_SPIKE_LIMIT,
    MONTHLY_BUDGET_MAX,
    THRESHOLD_PERCENT_LIMIT,
    Budget,
)
from costledger.schemas.money import AMOUNT_PICODOLLARS_MAX, QUANTITY_NANOUNITS_MAX
from costledger.sinks.budgets import save_budget

pytestmark = [pytest.mark.fault, pytest.mark.long]

#: More than 64 bits hold, by a sign of each kind.
REPEATS = 5
BEYOND = {
    "amount": (LONG_MIN, -AMOUNT_PICODOLLARS_MAX - 1, AMOUNT_PICODOLLARS_MAX + 1, LONG_MAX),
    "quantity": (LONG_MIN, -QUANTITY_NANOUNITS_MAX - 1, QUANTITY_NANOUNITS_MAX + 1, LONG_MAX),
    "occurred_at": (LONG_MIN, -1, 0, LONG_MAX),
}


#: 9,000,000 USD, which is one event, are 90,000 % of the highest budget; what is more is beyond 64 bits.
RICH = Budget(user_id="rich", monthly_budget=MONTHLY_BUDGET_MAX, alert_thresholds=(Decimal(1), THRESHOLD_PERCENT_LIMIT))
#: One picodollar a month, which one event is.
ONE = Budget(user_id="one", monthly_budget=1, alert_thresholds=(Decimal("0.0001"), Decimal(100)), hourly_spike_limit=1)


def test_numbers_at_their_bounds_are_exact_or_refused(hostile: HostileSystem) -> None:
    """Ledger, roll-ups, Redis and the stream's own state, which outlives a restart, hold sums beyond 64 bits exactly.

    An alert, whose schema has 64 bits, has the nearest number that fits them.
    """
    workers = start_with_budgets(hostile, RICH, ONE)
    expected = {}
    for user, amount in {"rich": AMOUNT_PICODOLLARS_MAX, "owed": -AMOUNT_PICODOLLARS_MAX, "one": 1}.items():
        hostile.send([make_event(user, amount=amount, quantity=QUANTITY_NANOUNITS_MAX) for _ in range(REPEATS)])
        expected[user] = REPEATS * amount
    hostile.send_raw(
        [
            (b"rich", codec._EVENTS.encode(make_event("rich").to_record() | {field: value}))
            for field, values in BEYOND.items()
            for value in values
        ]
    )
    hostile.await_read()
    errors = hostile.sql("SELECT error FROM ledger.quarantine")
    assert len(errors) == sum(map(len, BEYOND.values()))
    for field, values in BEYOND.items():
        assert sum(text.startswith(f"{field} is ") and "must be" in text for (text,) in errors) == len(values)
    check(hostile, expected)
    check_alerts(hostile)
    hostile.stop(workers["stream"])
    workers["stream"] = hostile.start("stream")
    for user in expected:
        hostile.send([make_event(user, amount=-1)])
        expected[user] -= 1
    hostile.await_read()
    check(hostile, expected)
    check_alerts(hostile)
    for worker in workers.values():
        hostile.stop(worker)


def start_with_budgets(hostile: HostileSystem, *budgets: Budget) -> dict[str, subprocess.Popen[bytes]]:
    """One of each worker; the stream knows the budgets before it reads an event."""
    hostile.environment["COSTLEDGER_THRESHOLD_PERCENT_MAX"] = str(THRESHOLD_PERCENT_LIMIT)
    workers = {"notifier": hostile.start("notifier")}
    with psycopg.connect(hostile.database_url, autocommit=True) as connection:
        for budget in budgets:
            save_budget(connection, budget)
    hostile.wait_until(
        lambda: hostile.value("SELECT count(*) FROM ledger.budget_outbox") == 0, 60, "Kafka has the budgets"
    )
    return workers | {name: hostile.start(name) for name in ("stream", "sink")}


def check(hostile: HostileSystem, expected: dict[str, int]) -> None:
    """Entries, both roll-ups and every total of Redis say the same, to the picodollar."""
    hostile.await_reconciled()
    for table in ("entries", "hourly_totals", "daily_totals"):
        sums = hostile.sql(f"SELECT user_id, sum(amount) * 1000000000000 FROM ledger.{table} GROUP BY 1")
        assert {user: int(total) for user, total in sums} == expected
    months = {user: total for (user, kind, _), total in hostile.redis_totals().items() if kind == "month"}
    assert months == expected


def check_alerts(hostile: HostileSystem) -> None:
    """Every alert that is due, once; none for whoever is owed."""
    first, beyond = AMOUNT_PICODOLLARS_MAX, LONG_MAX
    due = {
        ("rich", "BUDGET_THRESHOLD", Decimal(1)): (first, MONTHLY_BUDGET_MAX // 100),
        ("rich", "BUDGET_THRESHOLD", THRESHOLD_PERCENT_LIMIT): (beyond, beyond),
        ("rich", "HOURLY_SPIKE", None): (first, DEFAULT_HOURLY_SPIKE_LIMIT),
        **{("one", "BUDGET_THRESHOLD", percent): (1, 1) for percent in ONE.alert_thresholds or ()},
        # Above its limit, not at it.
        ("one", "HOURLY_SPIKE", None): (2, 1),
    }
    amounts = 'actual * 1000000000000, "limit" * 1000000000000'
    hostile.wait_until(lambda: hostile.value("SELECT count(*) FROM ledger.alerts") >= len(due), 60, f"the alerts {due}")
    rows = hostile.sql(f"SELECT user_id, kind, threshold_percent, {amounts} FROM ledger.alerts")
    assert len(rows) == len(due)
    assert {row[:3]: tuple(map(int, row[3:])) for row in rows} == due
