"""Any connection and any kind of transaction: events are committed with it, and a missing outbox does not spoil it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import psycopg
import pytest
from psycopg import rows
from tests.fixtures.fix_postgres import PostgresServer
from tests.producers.outbox.outbox_cases import (
    TABLE,
    ids_in,
    orders_in,
)

from costledger.producers import CostTracker, EventDropped


@contextmanager
def by_block(connection: psycopg.Connection[Any]) -> Iterator[None]:
    with connection.transaction():
        yield


@contextmanager
def by_commit(connection: psycopg.Connection[Any]) -> Iterator[None]:
    yield
    connection.commit()


@contextmanager
def by_statements(connection: psycopg.Connection[Any]) -> Iterator[None]:
    connection.execute("BEGIN")
    yield
    connection.execute("COMMIT")


@contextmanager
def in_a_pipeline(connection: psycopg.Connection[Any]) -> Iterator[None]:
    with connection.pipeline(), connection.transaction():
        yield


@contextmanager
def in_an_implicit_pipeline(connection: psycopg.Connection[Any]) -> Iterator[None]:
    with connection.pipeline():
        yield
        connection.commit()


@contextmanager
def nested(connection: psycopg.Connection[Any]) -> Iterator[None]:
    with connection.transaction(), connection.transaction():
        yield


Transaction = Callable[[psycopg.Connection[Any]], Any]
TRANSACTIONS: list[tuple[dict[str, Any], Transaction]] = [
    ({"autocommit": True}, by_block),
    ({"autocommit": True}, by_statements),
    ({"autocommit": True}, in_a_pipeline),
    ({"autocommit": True}, nested),
    ({}, by_block),
    ({}, by_commit),
    ({}, in_a_pipeline),
    ({}, in_an_implicit_pipeline),
    ({}, nested),
    ({"row_factory": rows.dict_row}, by_commit),
    ({"row_factory": rows.scalar_row}, by_block),
    ({"cursor_factory": psycopg.ClientCursor}, by_commit),
    ({"cursor_factory": psycopg.RawCursor}, by_block),
    ({"prepare_threshold": 0}, by_block),
    ({"prepare_threshold": None}, by_commit),
]


@pytest.mark.parametrize("event_first", [True, False])
@pytest.mark.parametrize(("options", "transaction"), TRANSACTIONS)
def test_any_connection_and_any_kind_of_transaction(
    url: str, tracker: CostTracker, options: dict[str, Any], transaction: Transaction, event_first: bool
) -> None:
    """Whatever begins and ends the transaction, nothing is visible before its commit, and all of it after."""
    order = "INSERT INTO orders (event_id) VALUES (gen_random_uuid())"
    with closing(psycopg.connect(url, **options)) as connection:
        costs = tracker.using(connection)
        for _ in range(2):
            before = ids_in(url)
            with transaction(connection):
                if not event_first:
                    connection.execute(order)
                costs.track_s3("u", "get", 1)
                costs.track_chat("u", "gpt-4o", 10, 1)
                if event_first:
                    connection.execute(order)
                assert ids_in(url) == before
    assert (len(ids_in(url)), orders_in(url)) == (6, 2)


@pytest.mark.parametrize("event_first", [True, False])
@pytest.mark.parametrize(("options", "transaction"), TRANSACTIONS)
def test_a_missing_table_is_loud_and_spoils_no_transaction(
    bare_url: str,
    tracker: CostTracker,
    errors: list[EventDropped],
    caplog: pytest.LogCaptureFixture,
    options: dict[str, Any],
    transaction: Transaction,
    event_first: bool,
) -> None:
    """The order is committed, the event is dropped, told with what to do, and logged."""
    order = "INSERT INTO orders (event_id) VALUES (gen_random_uuid())"
    with closing(psycopg.connect(bare_url, **options)) as connection:
        with transaction(connection):
            if not event_first:
                connection.execute(order)
            tracker.using(connection).track_s3("u", "get", 1)
            tracker.using(connection).track_chat("u", "gpt-4o", 10, 1)
            if event_first:
                connection.execute(order)
        assert connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
    assert orders_in(bare_url) == 1
    assert [error.reason for error in errors] == ["outbox_failed"] * 3
    assert "costledger outbox create --table costledger_outbox" in str(errors[0])
    assert "42P01" in str(errors[0])
    assert "costledger outbox create" in caplog.text
    assert (tracker.stats()["dropped"], tracker.stats()["spooled"]) == (3, 0)


def test_without_a_transaction_an_event_stands_for_itself(url: str, tracker: CostTracker) -> None:
    """In autocommit mode, outside of a transaction, each call is committed at once."""
    with psycopg.connect(url, autocommit=True) as connection:
        event_id = tracker.using(connection).track_s3("u", "get", 1)
        assert ids_in(url) == [event_id]


@pytest.mark.parametrize("known", [True, False])
def test_no_savepoint_is_left_behind(postgres: PostgresServer, url: str, tracker: CostTracker, known: bool) -> None:
    """Whether the write succeeds or fails: savepoints that pile up would slow a long transaction down."""
    with psycopg.connect(url) as connection:
        if not known:
            connection.execute(f"DROP TABLE {TABLE}")
        connection.execute("SELECT 1")
        tracker.using(connection).track_s3("u", "get", 1)
        with pytest.raises(psycopg.errors.InvalidSavepointSpecification):
            connection.execute("RELEASE SAVEPOINT costledger_outbox")
        connection.rollback()
