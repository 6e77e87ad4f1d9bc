"""The load after a history: what is decided of it, by the rules themselves, without any service."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime

import pytest
from tests.bench.bench_stream import BUDGET_EVERY, budgets_of, check_alerts
from tests.bench.ledgers import WrongResult
from tests.bench.workload import THRIFTY_EVERY, History, Workload, load_end_us

from costledger.schemas.alerts import AlertKind, CostAlert
from costledger.schemas.budgets import Budget
from costledger.schemas.times import to_microseconds
from costledger.streams.domain.buckets import QUARTER_MICROSECONDS
from costledger.streams.domain.partition import PartitionTotals
from costledger.streams.domain.rules import Rules

USERS = 6
#: 2026-11-14 at 08:53: the history lies in two months.
END_US = 1_794_646_380_000_000
LOAD = Workload(150 * USERS, USERS, END_US, 7)
HISTORY = History(30, USERS, LOAD.start_us)


def alerts_of_load(history: History) -> tuple[list[CostAlert], PartitionTotals]:
    """All that is told after the history, as one partition has it; the broker received everything just now."""
    totals = PartitionTotals(Rules())
    received_us = END_US + 60_000_000
    for offset, budget in enumerate(budgets_of(LOAD, history)):
        totals.apply_budget(budget.user_id, budget, offset, received_us)
    for offset, record in enumerate(history.records()):
        totals.add_event(record, offset, received_us)
    totals.flush()
    for offset, record in enumerate(LOAD.records(), history.events):
        totals.add_event(record, offset, received_us)
    return totals.flush().alerts, totals


def test_a_load_after_a_history_is_unusual_for_few_and_decided_for_all() -> None:
    """The thrifty users have anomalies and spikes, hardly anybody else; every service's hour has been held against a limit."""
    alerts, totals = alerts_of_load(HISTORY)
    thrifty = {f"user-{user:05d}" for user in range(0, USERS, THRIFTY_EVERY)}
    for kind in (AlertKind.ANOMALY, AlertKind.HOURLY_SPIKE):
        assert thrifty <= {alert.user_id for alert in alerts if alert.kind is kind}
    by_others = Counter(alert.kind for alert in alerts if alert.user_id not in thrifty)
    assert by_others.total() < USERS / 2, by_others
    for user_id in totals.users:
        hours = [
            hour for key, hour in totals.users[user_id].calendar.hours() if key * QUARTER_MICROSECONDS >= LOAD.start_us
        ]
        assert hours
        assert all(found is not None for hour in hours for found in hour.baselines.values())


def test_the_history_adds_up() -> None:
    """Its sum is that of its records, of each user and of all; a user has that much for a month."""
    history = History(2, USERS, END_US)
    spent: Counter[str] = Counter()
    for record in history.records():
        spent[record["user_id"]] += record["amount"] or 0
    assert spent.total() == history.amount
    assert {one.user_id: one.monthly_budget for one in budgets_of(LOAD, history)} == spent
    assert spent["user-00001"] == 10 * spent["user-00000"]


def test_without_a_history_some_users_have_a_budget_of_their_own() -> None:
    """The others have the default."""
    found = list(budgets_of(Workload(1_000, 2 * BUDGET_EVERY + 1, END_US, 7), None))
    assert found == [Budget(user_id=f"user-{BUDGET_EVERY * n:05d}", version=1, tier="premium") for n in range(3)]


def test_a_load_lies_in_one_month() -> None:
    """In the first two hours of a month in the one before, to its very end."""
    first_us = to_microseconds(datetime(2026, 12, 1, tzinfo=UTC))
    hour_us = 3_600_000_000
    assert load_end_us(first_us + 2 * hour_us) == first_us + 2 * hour_us
    assert load_end_us(first_us + hour_us) == first_us - 1
    assert load_end_us(first_us - hour_us) == first_us - hour_us


def test_a_run_without_new_alerts_is_wrong() -> None:
    """Alerts of earlier runs are on the same topic: they do not count."""
    check_alerts(5, 6)
    with pytest.raises(WrongResult, match="5 alerts before the run and 5 after"):
        check_alerts(5, 5)
