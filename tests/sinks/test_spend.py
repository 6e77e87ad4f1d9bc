"""What the ledger says of one user's month."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from tests.fixtures.fix_postgres import OwnPostgres
from tests.fixtures.wait import wait_until
from tests.sinks.conftest import Ledger, Running, Topic, make_event, random_events

from costledger.schemas.budgets import Budget
from costledger.schemas.periods import PeriodKind, period_at
from costledger.schemas.settings import Settings
from costledger.schemas.times import from_microseconds, to_microseconds
from costledger.sinks.budgets import save_budget
from costledger.sinks.migrations import migrate
from costledger.sinks.spend import LedgerReader, month_to_date

ZONES = ["UTC", "Asia/Kolkata", "America/St_Johns", "Australia/Lord_Howe", "Asia/Kathmandu", "Pacific/Auckland"]


def test_a_month_is_summed_in_every_zone(
    settings: Settings, ledger: Ledger, topic: Topic, start_sink: Callable[..., Running], seed: int
) -> None:
    """Exactly the priced events of the user in the zone's month: also those around its edges, to the microsecond."""
    now = datetime.now(UTC) - timedelta(seconds=5)
    events = random_events(seed, 300, users=3)
    edges = [timedelta(microseconds=-1), timedelta(), timedelta(minutes=20), timedelta(minutes=59)]
    for zone in ZONES:
        # Those of this month are not all past in a month's first hour.
        for at in (now, now - timedelta(days=30)):
            start = from_microseconds(period_at(PeriodKind.MONTH, to_microseconds(at), zone).start_us)
            moments = [start + edge for edge in edges if start + edge <= now]
            events += [make_event("user-000", occurred_at=moment, amount=7) for moment in moments]
    topic.send(events)
    start_sink(settings)
    wait_until(lambda: ledger.consumed() == topic.produced, 30, "all events are in the ledger")
    reader = LedgerReader(ledger.url)
    for zone in ZONES:
        for at in (now, now - timedelta(days=30)):
            period = period_at(PeriodKind.MONTH, to_microseconds(at), zone)
            for user in ("user-000", "user-001", "nobody"):
                expected = sum(
                    event.amount or 0
                    for event in events
                    if event.user_id == user and to_microseconds(event.occurred_at) in period
                )
                assert month_to_date(ledger.connection, user, period) == expected
                assert reader.month_to_date(user, period) == expected
            # Any period, also one within an hour.
            short = replace(period, start_us=period.start_us + 60_000_000, end_us=period.start_us + 1_260_000_000)
            expected = sum(
                event.amount or 0
                for event in events
                if event.user_id == "user-000" and to_microseconds(event.occurred_at) in short
            )
            assert month_to_date(ledger.connection, "user-000", short) == expected
    reader.close()


def test_a_reader_outlives_a_restart_of_the_database(own_postgres: OwnPostgres) -> None:
    """While it is away the reader raises; afterwards it answers again, at the first question."""
    url = own_postgres.create_database()
    migrate(url)
    with psycopg.connect(url) as connection:
        saved = save_budget(connection, Budget(user_id="ann", monthly_budget=5))
    reader = LedgerReader(url, timeout_seconds=5)
    assert reader.budget("ann") == saved
    own_postgres.stop()
    with pytest.raises(psycopg.OperationalError):
        reader.budget("ann")
    own_postgres.start()
    assert reader.budget("ann") == saved
    own_postgres.stop()
    own_postgres.start()
    assert reader.budget("ann") == saved
    assert reader.budget("bob") is None
    reader.close()
