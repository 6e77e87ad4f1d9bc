"""Which tables the statements of the read models touch, and how: on a ledger with some hundred thousand totals."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime
from typing import Any

import psycopg
import pytest
from tests.bench.ledger_filler import HEAVY, fill
from tests.fixtures.fix_postgres import PostgresServer

from costledger.schemas.budgets import BudgetDefaults
from costledger.schemas.periods import PeriodKind, period_at
from costledger.schemas.times import to_microseconds
from costledger.sinks.analytics import (
    amounts_of_days,
    by_tier,
    days_until,
    read_costs,
    read_subject,
    users_overview,
)
from costledger.sinks.database import Connection, connect
from costledger.sinks.migrations import migrate
from costledger.sinks.queries import query
from costledger.sinks.usage import read_usage

NOW = datetime(2026, 11, 24, 18, 20, tzinfo=UTC)
NOW_US = to_microseconds(NOW)
DAYS = 100
EVENTS = 220_000
ROLL_UPS = {"hourly_totals", "daily_totals"}
SMALL_TABLES = {"users", "budgets"}


@pytest.fixture(scope="module")
def filled(postgres: PostgresServer) -> str:
    """URL of a ledger of 100 days, with more than 200,000 totals."""
    url = postgres.create_database()
    migrate(url)
    assert fill(url, EVENTS, NOW, seed=1, days=DAYS, say=lambda _line: None) > EVENTS * 0.9
    with psycopg.connect(url) as connection:
        ((hours, days),) = connection.execute(
            "SELECT (SELECT count(*) FROM ledger.hourly_totals), (SELECT count(*) FROM ledger.daily_totals)"
        ).fetchall()
    assert hours + days > 200_000
    return url


class Explaining:
    """A connection that has every statement explained by the server as it runs it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.plans: list[dict[str, Any]] = []

    def execute(self, statement: bytes, parameters: object = None) -> Any:
        """Run it, twice: once to see the plan."""
        explained = self._connection.execute(b"EXPLAIN (ANALYZE, FORMAT JSON) " + statement, parameters)  # type: ignore[arg-type]  # a mapping
        ((plan,),) = explained.fetchall()
        self.plans.append(plan[0]["Plan"])
        return self._connection.execute(statement, parameters)  # type: ignore[arg-type]  # a mapping


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A node of a plan and all below it."""
    yield plan
    for below in plan.get("Plans", ()):
        yield from nodes(below)


def scans(plans: list[dict[str, Any]]) -> dict[str, set[str]]:
    """Relation -> kinds of nodes that read it."""
    found: dict[str, set[str]] = {}
    for plan in plans:
        for node in nodes(plan):
            if "Relation Name" in node and node["Actual Loops"] > 0:
                found.setdefault(node["Relation Name"], set()).add(node["Node Type"])
    return found


INDEX_SCANS = {"Index Scan", "Index Only Scan", "Bitmap Heap Scan"}


@pytest.mark.parametrize("user", ["heavy-utc", "heavy-vienna", "user-00000", "user-04999", "nobody"])
def test_answers_of_a_user_read_roll_ups_alone_by_their_keys(filled: str, user: str) -> None:
    """Whatever is asked, of the busiest and the idlest: no entry is read, and no roll-up in full."""
    with connect(filled, "test", 20) as connection:
        explaining: Any = Explaining(connection)
        zone = HEAVY.get(user, "UTC")
        for kind in (PeriodKind.DAY, PeriodKind.WEEK, PeriodKind.MONTH):
            read_costs(explaining, user, kind, zone, NOW_US)
        amounts_of_days(explaining, user, days_until(period_at(PeriodKind.DAY, NOW_US, zone), 120))
        read_subject(explaining, user)
        read_usage(explaining, date(2026, 10, 25), date(2026, 11, 25), user)
    found = scans(explaining.plans)
    assert set(found) <= ROLL_UPS | SMALL_TABLES
    assert set(found) >= ROLL_UPS
    assert set().union(*(found[table] for table in ROLL_UPS)) <= INDEX_SCANS
    if zone == "UTC":
        rows = [node["Actual Rows"] * node["Actual Loops"] for plan in explaining.plans for node in nodes(plan)]
        # Every daily total of the user once, and those of the previous period once more.
        assert max(rows) <= 2 * 15 * DAYS


def test_only_zones_within_an_hour_read_entries_and_few_of_them(filled: str) -> None:
    """Of a history of 12 months in Kathmandu a part of an hour at each edge, by the primary key."""
    with connect(filled, "test", 20) as connection:
        explaining: Any = Explaining(connection)
        read_costs(explaining, "heavy-kathmandu", PeriodKind.MONTH, "Asia/Kathmandu", NOW_US)
    roll_ups, rests = explaining.plans
    assert set(scans([roll_ups])) <= ROLL_UPS
    touched = scans([rests])
    # Of months without a partition; it is empty.
    touched.pop("entries_default")
    assert set().union(*touched.values()) <= INDEX_SCANS
    read = sum(
        node["Actual Rows"] * node["Actual Loops"] + node.get("Rows Removed by Filter", 0) * node["Actual Loops"]
        for node in nodes(rests)
        if "Relation Name" in node
    )
    assert read < EVENTS / 100


def test_answers_over_all_users_read_roll_ups_alone(filled: str) -> None:
    """Tiers the daily totals of their days; a page of users, each user's own by key."""
    with connect(filled, "test", 20) as connection:
        explaining: Any = Explaining(connection)
        by_tier(explaining, date(2026, 11, 24), date(2026, 11, 25))
        tiers = scans(explaining.plans)
        assert set(tiers) <= ROLL_UPS | SMALL_TABLES
        assert tiers["daily_totals"] <= INDEX_SCANS
        explaining.plans.clear()
        page = users_overview(explaining, "user-00000", 50, NOW_US, BudgetDefaults())
        assert len(page) == 50
        found = scans(explaining.plans)
        assert set(found) <= ROLL_UPS | SMALL_TABLES
        assert found["daily_totals"] <= INDEX_SCANS


def test_the_filled_ledger_is_as_a_sink_leaves_it(filled: str) -> None:
    """Roll-ups are the sums of the entries, offsets have no gap: else no figure from it means anything."""
    with psycopg.connect(filled) as connection:
        for name in ("compare_hourly", "compare_daily"):
            assert connection.execute(query(name)).fetchall() == []
        rows = connection.execute(
            "SELECT consumed, inserted, next_offset, (SELECT count(DISTINCT kafka_offset) FROM ledger.entries AS e "
            "WHERE e.kafka_partition = o.partition AND kafka_offset < next_offset) FROM ledger.sink_offsets AS o"
        ).fetchall()
    assert len(rows) == 12
    assert all(len(set(row)) == 1 for row in rows)
