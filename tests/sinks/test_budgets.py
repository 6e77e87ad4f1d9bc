"""Budgets in the ledger."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import psycopg
import pytest
from tests.sinks.conftest import Ledger

from costledger.schemas.budgets import Budget
from costledger.sinks.budgets import BudgetChanged, delete_budget, get_budget, save_budget

FULL = Budget(
    user_id="u",
    tier="premium",
    monthly_budget=12_345_678_901_234,
    alert_thresholds=(Decimal("12.5"), Decimal(100)),
    time_zone="Asia/Kolkata",
    hourly_spike_limit=1,
)


def test_what_is_saved_is_found(ledger: Ledger) -> None:
    """Every field comes back, exactly, with a version that counts up."""
    assert get_budget(ledger.connection, "u") is None
    saved = save_budget(ledger.connection, FULL)
    assert saved.version == 1
    assert get_budget(ledger.connection, "u") == saved
    bare = save_budget(ledger.connection, Budget(user_id="u"))
    assert (bare.version, bare.monthly_budget, bare.alert_thresholds) == (2, None, None)
    assert get_budget(ledger.connection, "u") == bare
    assert bare.updated_at > saved.updated_at
    assert ledger.all("SELECT user_id, version FROM ledger.budget_outbox ORDER BY id") == [("u", 1), ("u", 2)]


def test_saving_sets_tier_and_time_zone(ledger: Ledger) -> None:
    """The user's row says what the budget says; deleting brings the defaults back, and the version never returns."""
    save_budget(ledger.connection, FULL)
    assert ledger.all("SELECT user_id, tier, time_zone FROM ledger.users") == [("u", "premium", "Asia/Kolkata")]
    assert delete_budget(ledger.connection, "u")
    assert not delete_budget(ledger.connection, "u")
    assert not delete_budget(ledger.connection, "nobody")
    assert get_budget(ledger.connection, "u") is None
    assert ledger.all("SELECT user_id, tier, time_zone FROM ledger.users") == [("u", "default", "UTC")]
    assert save_budget(ledger.connection, FULL).version == 3


def test_a_stale_version_is_refused(ledger: Ledger) -> None:
    """Who did not see the newest version changes nothing."""
    save_budget(ledger.connection, FULL, expected_version=0)
    save_budget(ledger.connection, FULL, expected_version=1)
    with pytest.raises(BudgetChanged, match="at version 2, not 1"):
        save_budget(ledger.connection, FULL, expected_version=1)
    assert ledger.one("SELECT max(version) FROM ledger.budgets") == 2


def test_versions_are_made_one_after_the_other(ledger: Ledger) -> None:
    """Of many that save at once each gets a version of its own, as the writer role."""

    def save(_: int) -> int:
        with psycopg.connect(ledger.url, autocommit=True) as connection:
            connection.execute("SET ROLE costledger_writer")
            return save_budget(connection, FULL).version

    with ThreadPoolExecutor(5) as pool:
        assert sorted(pool.map(save, range(20))) == list(range(1, 21))
