"""A PostgreSQL that takes what is sent and never answers, as one does that is suspended, or behind a dead tunnel."""

from __future__ import annotations

import time
from collections.abc import Iterator
from urllib.parse import urlsplit

import psycopg
import pytest
from tests.fault.harness.proxy import LOOPBACK, Link, Loop
from tests.fixtures.fix_postgres import PostgresServer

from costledger.sinks.database import BoundedConnection, allow_silence, connect
from costledger.sinks.patience import PatientConnection

SILENCE_SECONDS = 1.0


@pytest.fixture
def link(postgres: PostgresServer) -> Iterator[Link]:
    """The way to the server."""
    port = urlsplit(postgres.url).port
    assert port is not None
    loop = Loop()
    made = Link(loop, "test - postgres", port)
    yield made
    made.close()
    loop.close()


def connect_through(link: Link, postgres: PostgresServer) -> BoundedConnection:
    """A connection over the link that bears a second of silence."""
    parts = urlsplit(postgres.url)
    address = parts.netloc.rpartition("@")[0] + f"@{LOOPBACK}:{link.port}"
    connection = connect(parts._replace(netloc=address).geturl(), "costledger test", 30, None)
    connection.silence_seconds_max = SILENCE_SECONDS
    return connection


def test_a_reply_that_does_not_come_ends_the_connection(link: Link, postgres: PostgresServer) -> None:
    """The COMMIT has passed, its reply does not come and no reset either: a passing error, in bounded time."""
    connection = connect_through(link, postgres)
    link.freeze_after(b"COMMIT")
    began = time.monotonic()
    with pytest.raises(psycopg.OperationalError, match="silent for 1 s"), connection.transaction():
        connection.execute("SELECT 1")
    assert SILENCE_SECONDS <= time.monotonic() - began < 20
    assert connection.closed


def test_patient_work_is_done_again_over_another_connection(link: Link, postgres: PostgresServer) -> None:
    """Nothing is healed: the next connection leads on."""
    made: list[BoundedConnection] = []

    def connect_anew() -> BoundedConnection:
        made.append(connect_through(link, postgres))
        return made[-1]

    patient = PatientConnection(connect_anew)
    assert patient.do(lambda connection: connection.execute("SELECT 1").fetchall()) == [(1,)]
    link.freeze_connections()
    assert patient.do(lambda connection: connection.execute("SELECT 2").fetchall()) == [(2,)]
    assert len(made) == 2
    patient.close()


def test_a_statement_that_was_allowed_more_time_is_waited_for(link: Link, postgres: PostgresServer) -> None:
    """Silence while a long statement works is no reason to give up."""
    connection = connect_through(link, postgres)
    allow_silence(connection, 10)
    assert connection.execute("SELECT 1 FROM pg_sleep(1.5)").fetchall() == [(1,)]
    allow_silence(connection, None)
    assert connection.execute("SELECT 1 FROM pg_sleep(1.5)").fetchall() == [(1,)]
    connection.close()


def test_the_limit_follows_that_of_statements(postgres: PostgresServer) -> None:
    """PostgreSQL ends a statement itself before the client gives the connection up."""
    with connect(postgres.url, "costledger test", 2, None) as connection:
        assert connection.silence_seconds_max == 7
        with pytest.raises(psycopg.errors.QueryCanceled):
            connection.execute("SELECT pg_sleep(20)")
        assert not connection.closed
