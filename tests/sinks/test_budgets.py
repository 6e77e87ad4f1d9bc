"""Budgets in the ledger."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal

import psycopg
import pytest
from tests.sinks.conftest import Ledger

from costledger.schemas.budgets import Budget
from costledger.schemas.errors import Unavailable
from costledger.schemas.settings import load_settings
from costledger.sinks.budgets import BudgetChanged, delete_budget, get_budget, relay_budgets, save_budget
from costledger.sinks.database import connect
from costledger.sinks.delivery import ACKNOWLEDGE_SECONDS_MAX, Deliverer, Outgoing

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


def test_a_relay_keeps_its_lock_for_as_long_as_kafka_may_take(ledger: Ledger) -> None:
    """Else another relay sends a newer version, and what this one had under way comes after it."""
    save_budget(ledger.connection, FULL)
    with connect(ledger.url, "relay", 5.0) as connection:

        class Slow(Deliverer):
            def deliver(self, messages: Sequence[Outgoing]) -> None:
                assert len(messages) == 1
                row = connection.execute(
                    "SELECT current_setting('idle_in_transaction_session_timeout')::interval"
                ).fetchone()
                assert row is not None
                waits.append(row[0].total_seconds())
                raise Unavailable("Kafka does not answer")

        waits: list[float] = []
        with pytest.raises(Unavailable):
            relay_budgets(connection, Slow(load_settings(), "relay"), "topic")
        assert waits[0] > ACKNOWLEDGE_SECONDS_MAX
        row = connection.execute("SELECT current_setting('idle_in_transaction_session_timeout')").fetchone()
        assert row == ("5s",)
    assert ledger.one("SELECT count(*) FROM ledger.budget_outbox") == 1


def test_versions_are_made_one_after_the_other(ledger: Ledger) -> None:
    """Of many that save at once each gets a version of its own, as the writer role."""

    def save(_: int) -> int:
        with psycopg.connect(ledger.url, autocommit=True) as connection:
            connection.execute("SET ROLE costledger_writer")
            return save_budget(connection, FULL).version

    with ThreadPoolExecutor(5) as pool:
        assert sorted(pool.map(save, range(20))) == list(range(1, 21))
