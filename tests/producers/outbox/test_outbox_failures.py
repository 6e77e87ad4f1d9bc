"""What goes wrong in the caller's transaction: whose failure it is; tracking neither hides it nor adds to it."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import psycopg
import pytest
from tests.fixtures.fix_postgres import OwnPostgres
from tests.producers.outbox.outbox_cases import (
    NOBODY,
    ORDER,
    TABLE,
    ids_in,
    orders_in,
)

from costledger.producers import CostTracker, EventDropped
from costledger.producers.outbox.table import OutboxTable


def test_a_strict_tracker_takes_the_transaction_with_it(bare_url: str) -> None:
    """Cost and business stand or fall together; a caller that catches the error can still commit."""
    with CostTracker(NOBODY, "tests", "outbox", strict=True) as tracker:

        def order_and_track() -> None:
            with psycopg.connect(bare_url) as connection:
                connection.execute(ORDER, (UUID(int=1),))
                tracker.using(connection).track_chat("u", "gpt-4o", 10, 1)

        with pytest.raises(EventDropped, match="outbox_failed"):
            order_and_track()
        assert orders_in(bare_url) == 0
        assert tracker.stats()["dropped"] == 2
        with psycopg.connect(bare_url) as connection:
            connection.execute(ORDER, (UUID(int=1),))
            with pytest.raises(EventDropped):
                tracker.using(connection).track_s3("u", "get", 1)
        assert orders_in(bare_url) == 1


def test_a_pipelines_own_failure_is_the_callers(url: str, tracker: CostTracker, errors: list[EventDropped]) -> None:
    """A caller's statement that failed before is raised as what it is: hiding it would feign a commit."""

    def order_and_track() -> None:
        with psycopg.connect(url, autocommit=True) as connection, connection.pipeline(), connection.transaction():
            connection.execute(ORDER, (UUID(int=1),))
            connection.execute("SELECT 1 / 0")
            tracker.using(connection).track_s3("u", "get", 1)
            pytest.fail("the failure of the caller's own statement was hidden")

    with pytest.raises(psycopg.errors.DivisionByZero):
        order_and_track()
    assert (ids_in(url), orders_in(url)) == ([], 0)
    assert [error.reason for error in errors] == ["outbox_failed"]


def test_a_transaction_that_has_failed_takes_no_event(
    url: str, tracker: CostTracker, errors: list[EventDropped]
) -> None:
    """The caller's own failure stays what it is, until the caller has rolled back."""
    with psycopg.connect(url) as connection:
        costs = tracker.using(connection)
        with pytest.raises(psycopg.errors.DivisionByZero):
            connection.execute("SELECT 1 / 0")
        costs.track_s3("u", "get", 1)
        assert errors[-1].reason == "outbox_failed"
        connection.rollback()
        costs.track_s3("u", "get", 1)
    assert len(ids_in(url)) == 1


def test_in_the_middle_of_a_copy_or_a_stream_nothing_hangs(
    url: str, tracker: CostTracker, errors: list[EventDropped]
) -> None:
    """The event is dropped loudly; the caller's command goes on."""
    with psycopg.connect(url) as connection:
        costs = tracker.using(connection)
        with connection.cursor().copy("COPY orders FROM STDIN") as copy:
            copy.write_row([str(UUID(int=1))])
            costs.track_s3("u", "get", 1)
        streamed = 0
        for _ in connection.cursor().stream("SELECT generate_series(1, 3)"):
            streamed += 1
            costs.track_s3("u", "get", 1)
        costs.track_s3("u", "get", 1)
    assert streamed == 3
    assert {error.reason for error in errors} == {"outbox_failed"}
    assert (len(errors), len(ids_in(url)), orders_in(url)) == (4, 1, 1)
    assert "in the middle of another command" in str(errors[0])


def test_a_read_only_transaction_goes_on(url: str, tracker: CostTracker, errors: list[EventDropped]) -> None:
    """PostgreSQL refuses the row, not the caller."""
    with psycopg.connect(url) as connection:
        connection.read_only = True
        connection.execute("SELECT 1")
        tracker.using(connection).track_s3("u", "get", 1)
        assert connection.execute("SELECT 2").fetchone() == (2,)
    assert "25006" in str(errors[0])


def test_the_callers_own_limits_bound_the_wait(url: str, tracker: CostTracker, errors: list[EventDropped]) -> None:
    """While a migration has the table, the caller's lock timeout ends the wait; the order is committed."""
    with psycopg.connect(url) as migration, psycopg.connect(url) as connection:
        migration.execute(f"LOCK TABLE {TABLE}")
        connection.execute("SET lock_timeout = '50ms'")
        tracker.using(connection).track_s3("u", "get", 1)
        connection.execute(ORDER, (UUID(int=1),))
        migration.rollback()
        tracker.using(connection).track_s3("u", "get", 1)
    assert "55P03" in str(errors[0])
    assert (len(errors), len(ids_in(url)), orders_in(url)) == (1, 1, 1)


@pytest.mark.parametrize("connection", [None, "postgresql://", object()])
def test_what_is_no_connection_never_reaches_the_host(
    tracker: CostTracker, errors: list[EventDropped], connection: Any
) -> None:
    """It is dropped and told like any other failure."""
    tracker.using(connection).track_s3("u", "get", 1)
    assert [error.reason for error in errors] == ["outbox_failed"]


def test_a_lost_connection_is_the_callers_to_notice(own_postgres: OwnPostgres, tracker: CostTracker) -> None:
    """PostgreSQL dies in the midst of a transaction: tracking raises nothing, and the caller's commit fails."""
    url = own_postgres.create_database()
    with OutboxTable(url, TABLE, 30) as table:
        table.create()
    connection = psycopg.connect(url)
    costs = tracker.using(connection)
    costs.track_s3("u", "get", 1)
    own_postgres.kill()
    costs.track_s3("u", "get", 1)
    costs.track_s3("u", "get", 1)
    with pytest.raises(psycopg.OperationalError):
        connection.commit()
    own_postgres.start()
    assert ids_in(url) == []
    assert tracker.stats()["dropped"] == 2
    connection.close()
