"""The database: migrations, partitions, roles, and that nothing in the ledger can be changed."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import errors
from tests.fixtures.fix_postgres import PostgresServer
from tests.sinks.conftest import Ledger, make_event

from costledger.sinks.migrations import migrate, pending_migrations

TABLES = {
    *("entries", "entries_default", "hourly_totals", "daily_totals", "sink_offsets", "quarantine", "users"),
    *("budgets", "budget_outbox", "alerts", "alert_deliveries", "reports", "prices", "chain_blocks"),
}
VIEWS = {"costs", "costs_hourly", "costs_daily", "focus", "budgets", "alerts", "completeness", "prices", "reports"}


def insert(ledger: Ledger, occurred_at: datetime, offset: int = 0) -> None:
    """An entry by hand."""
    event = make_event("u", occurred_at=occurred_at)
    ledger.connection.execute(
        "INSERT INTO ledger.entries (event_id, occurred_at, received_at, kafka_offset, kafka_partition, quantity, "
        "amount, user_id, service, operation, category, unit, currency, source, kafka_topic, metadata) "
        "VALUES (%s, %s, %s, %s, 0, 1, 0.001, 'u', 's', 'o', 'USAGE', 'x', 'USD', 'tests', 't', '{}')",
        (event.event_id, occurred_at, occurred_at, offset),
    )


@pytest.fixture
def analyst(postgres: PostgresServer, ledger: Ledger) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    """A connection of the analyst role, logged in with a password that the operator gave it."""
    ledger.connection.execute("ALTER ROLE costledger_analyst PASSWORD 'only-for-this-test'")
    url = urlsplit(ledger.url)
    place = f"{url.hostname}:{url.port}"
    login = url._replace(netloc=f"costledger_analyst:only-for-this-test@{place}").geturl()
    with psycopg.connect(login, autocommit=True) as connection:
        yield connection


def test_migrating_again_changes_nothing(ledger: Ledger) -> None:
    """A second run applies nothing, and everything is there."""
    assert migrate(ledger.url) == []
    assert pending_migrations(ledger.url) == []
    tables = {name for (name,) in ledger.all("SELECT tablename FROM pg_tables WHERE schemaname = 'ledger'")}
    assert tables >= TABLES
    assert {name for (name,) in ledger.all("SELECT viewname FROM pg_views WHERE schemaname = 'analyst'")} == VIEWS
    owners = ledger.all("SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'ledger'")
    assert owners == [("costledger_owner",)]
    assert ledger.one("SELECT rolcanlogin FROM pg_roles WHERE rolname = 'costledger_owner'") is False


def test_processes_may_migrate_at_once(postgres: PostgresServer) -> None:
    """Of several that start together one migrates; the others find it done."""
    url = postgres.create_database()
    with ThreadPoolExecutor(4) as pool:
        applied = list(pool.map(migrate, [url] * 4))
    assert sorted(map(len, applied)) == [0, 0, 0, len(max(applied, key=len))]
    assert pending_migrations(url) == []


def test_every_migration_can_be_repeated(ledger: Ledger) -> None:
    """A crash between a migration and its mark does no harm."""
    ledger.connection.execute("DELETE FROM public._yoyo_migration")
    assert len(migrate(ledger.url)) >= 7


@pytest.mark.parametrize("role", ["superuser", "costledger_owner", "costledger_writer"])
@pytest.mark.parametrize("table", ["entries", "entries_2026_01", "entries_default"])
@pytest.mark.parametrize(
    "statement",
    ["UPDATE ledger.{} SET amount = 0", "DELETE FROM ledger.{}", "TRUNCATE ledger.{}"],
)
def test_the_ledger_is_append_only(ledger: Ledger, role: str, table: str, statement: str) -> None:
    """Nobody changes, deletes or truncates entries: neither the table nor a partition of it."""
    ledger.connection.execute("SELECT ledger.ensure_partitions('2026-01-01', '2026-01-01')")
    insert(ledger, datetime(2026, 1, 5, tzinfo=UTC))
    insert(ledger, datetime(2031, 1, 5, tzinfo=UTC))
    if role != "superuser":
        ledger.connection.execute(f"SET ROLE {role}".encode())
    refused = errors.InsufficientPrivilege if role == "costledger_writer" else errors.ObjectNotInPrerequisiteState
    with pytest.raises(refused):
        ledger.connection.execute(statement.format(table).encode())
    ledger.connection.execute("RESET ROLE")
    assert ledger.one("SELECT count(*) FROM ledger.entries") == 2


def test_the_analyst_reads_the_views(analyst: psycopg.Connection[tuple[object, ...]], ledger: Ledger) -> None:
    """Every view can be read, and every column of every view is explained."""
    insert(ledger, datetime(2026, 1, 5, tzinfo=UTC))
    for view in VIEWS:
        analyst.execute(f"SELECT * FROM analyst.{view}".encode()).fetchall()
    assert analyst.execute('SELECT "BilledCost", "SubAccountId" FROM analyst.focus').fetchall() != []
    unexplained = ledger.all(
        "SELECT c.relname, a.attname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
        "JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 "
        "WHERE n.nspname = 'analyst' AND col_description(c.oid, a.attnum) IS NULL"
    )
    assert unexplained == []
    assert analyst.execute("SHOW statement_timeout").fetchone() == ("1min",)


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT * FROM ledger.entries",
        "SELECT * FROM ledger.quarantine",
        "SELECT * FROM public._yoyo_migration",
        "INSERT INTO analyst.costs (user_id) VALUES ('x')",
        "UPDATE analyst.budgets SET tier = 'free'",
        "DELETE FROM analyst.alerts",
        "CREATE TABLE analyst.t (x int)",
        "CREATE TABLE public.t (x int)",
        "CREATE TEMPORARY TABLE t (x int)",
        "SELECT ledger.ensure_partitions('2026-01-01', '2026-01-01')",
        "SET ROLE costledger_writer",
    ],
)
def test_the_analyst_can_do_nothing_else(analyst: psycopg.Connection[tuple[object, ...]], statement: str) -> None:
    """No table, no write, no other role; not even after switching off the read-only default."""
    analyst.execute("SET default_transaction_read_only = off")
    with pytest.raises((errors.InsufficientPrivilege, errors.ObjectNotInPrerequisiteState, errors.FeatureNotSupported)):
        analyst.execute(statement.encode())


def test_partitions_are_made_for_months(ledger: Ledger) -> None:
    """Every month asked for has its own partition, by the time in the event id; asking again changes nothing."""
    for _ in range(2):
        assert ledger.all("SELECT ledger.ensure_partitions('2025-12-15', '2026-02-01')") == []
    insert(ledger, datetime(2025, 12, 31, 23, 59, 59, 999_000, tzinfo=UTC))
    insert(ledger, datetime(2026, 1, 1, tzinfo=UTC))
    assert ledger.one("SELECT count(*) FROM ledger.entries_2025_12") == 1
    assert ledger.one("SELECT count(*) FROM ledger.entries_2026_01") == 1


def test_a_month_with_entries_in_the_default_partition_stays_there(ledger: Ledger) -> None:
    """The months that cannot have a partition are named; nothing is lost."""
    insert(ledger, datetime(2026, 3, 5, tzinfo=UTC))
    left = ledger.all("SELECT ledger.ensure_partitions('2026-02-01', '2026-04-01')")
    assert left == [(date(2026, 3, 1),)]
    assert ledger.one("SELECT count(*) FROM ledger.entries_default") == 1
    assert ledger.one("SELECT to_regclass('ledger.entries_2026_04') IS NOT NULL") is True


def test_bad_metadata_never_breaks_the_focus_view(ledger: Ledger) -> None:
    """A value that is no number, time or object is null or derived, and the rest of the row is there."""
    insert(ledger, datetime(2026, 1, 5, tzinfo=UTC))
    ledger.connection.execute(
        "INSERT INTO ledger.entries SELECT gen_random_uuid(), null, occurred_at, received_at, recorded_at, 1, 0, "
        "quantity, amount, null, user_id, service, operation, 'CREDIT', unit, null, currency, source, kafka_topic, "
        """'{"ListCost": "cheap", "ChargePeriodEnd": "2026-02-31 00:00:00", "Tags": "{nope", "RegionId": "eu"}' """
        "FROM ledger.entries"
    )
    rows = ledger.all(
        'SELECT "ListCost", "Tags", "RegionId", "ChargePeriodEnd" > "ChargePeriodStart" FROM analyst.focus '
        "WHERE \"ChargeCategory\" = 'Credit'"
    )
    assert [(str(cost), tags, region, later) for cost, tags, region, later in rows] == [
        ("0.001000000000", None, "eu", True)
    ]
