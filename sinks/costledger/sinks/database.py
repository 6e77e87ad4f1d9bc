"""Connections to PostgreSQL, and what an error of PostgreSQL means for the one who waits."""

from __future__ import annotations

import logging
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from enum import Enum
from typing import Any, Final, LiteralString, TypeVar

import psycopg
from psycopg import pq, sql

from costledger.schemas.sqlstates import is_about_data, passes

logger = logging.getLogger(__name__)

Connection = psycopg.Connection[tuple[Any, ...]]
_T = TypeVar("_T")

WRITER_ROLE: Final = "costledger_writer"
_CONNECT_TIMEOUT_SECONDS: Final = 10
#: A process that was stopped (SIGSTOP) in a transaction must not hold its locks for long.
_IDLE_IN_TRANSACTION_SECONDS_MAX: Final = 10.0
#: Of a statement's time: with the whole, a lock that others hold would be told as a slow statement.
LOCK_SHARE: Final = 0.9
#: PostgreSQL ends a statement itself when its time is over; a reply that is later than this will not come.
_REPLY_MARGIN_SECONDS: Final = 5.0


class Meaning(Enum):
    """What to do about an error of PostgreSQL."""

    PASSING = "wait and try again"
    DATA = "some row cannot be stored: find it and put it aside"
    DEFECT = "stop: trying again changes nothing"


def meaning_of(error: psycopg.Error) -> Meaning:
    """What an error means, by its SQLSTATE; a connection that broke has none, and passes."""
    state = error.sqlstate
    if state is None:
        # psycopg itself refuses some values, such as text with NUL.
        if isinstance(error, psycopg.DataError):
            return Meaning.DATA
        broken = isinstance(error, (psycopg.OperationalError, psycopg.InterfaceError))
        return Meaning.PASSING if broken else Meaning.DEFECT
    if passes(state):
        return Meaning.PASSING
    return Meaning.DATA if is_about_data(state) else Meaning.DEFECT


class BoundedConnection(psycopg.Connection[tuple[Any, ...]]):
    """A connection that is given up when the server is silent for too long.

    Keep-alives find a peer that is gone. They do not find one that acknowledges bytes and never replies: a server that
    is suspended, a pooler or tunnel whose other side died. Waiting for the reply to a COMMIT would last for ever then.
    """

    #: None: waits for ever.
    silence_seconds_max: float | None = None

    def wait(self, gen: Generator[Any, Any, _T], *args: Any, **kwargs: Any) -> _T:
        """As the base, and `psycopg.OperationalError` with the connection closed after too long a silence."""
        if self.silence_seconds_max is not None:
            gen = _heard_within(gen, self.silence_seconds_max, self.pgconn)
        return super().wait(gen, *args, **kwargs)


def connect(
    database_url: str, application_name: str, timeout_seconds: float, role: LiteralString | None = WRITER_ROLE
) -> BoundedConnection:
    """A connection in autocommit mode, in UTC, with limits on every statement and lock.

    Acts as `role` (None: as who logged in), so that even a superuser's connection cannot change an entry. A network
    that swallows packets is noticed after `timeout_seconds`, a server that takes a statement and never replies 5 s
    later: whoever allows a statement more time says so by `allow_silence`. Raises `psycopg.Error`.
    """
    milliseconds = int(timeout_seconds * 1000)
    connection = BoundedConnection.connect(
        database_url,
        autocommit=True,
        application_name=application_name,
        connect_timeout=_CONNECT_TIMEOUT_SECONDS,
        keepalives_idle=10,
        keepalives_interval=5,
        keepalives_count=3,
        tcp_user_timeout=milliseconds,
    )
    allow_silence(connection, timeout_seconds)
    try:
        prepare_session(connection, timeout_seconds, role)
    except BaseException:
        connection.close()
        raise
    return connection


def allow_silence(connection: Connection, statement_seconds_max: float | None) -> None:
    """A statement may take so long from now on (None: any time) before the connection is given up."""
    if not isinstance(connection, BoundedConnection):
        return
    if statement_seconds_max is None:
        connection.silence_seconds_max = None
    else:
        known = connection.silence_seconds_max or 0.0
        connection.silence_seconds_max = max(known, statement_seconds_max + _REPLY_MARGIN_SECONDS)


@contextmanager
def silence_allowed(connection: Connection, statement_seconds_max: float | None) -> Iterator[None]:
    """As `allow_silence`, inside alone: the connection is also used by others."""
    known = connection.silence_seconds_max if isinstance(connection, BoundedConnection) else None
    allow_silence(connection, statement_seconds_max)
    try:
        yield
    finally:
        if isinstance(connection, BoundedConnection):
            connection.silence_seconds_max = known


def prepare_session(connection: Connection, timeout_seconds: float, role: LiteralString | None = WRITER_ROLE) -> None:
    """Limits, time zone and role of a session in autocommit mode; also for connections that a pool has opened."""
    milliseconds = int(timeout_seconds * 1000)
    connection.add_notice_handler(_log_notice)
    limits = {
        "statement_timeout": milliseconds,
        "lock_timeout": int(milliseconds * LOCK_SHARE),
        "idle_in_transaction_session_timeout": int(min(timeout_seconds, _IDLE_IN_TRANSACTION_SECONDS_MAX) * 1000),
    }
    for name, value in limits.items():
        connection.execute("SELECT set_config(%s, %s, false)", (name, str(value)))
    connection.execute("SELECT set_config('timezone', 'UTC', false)")
    if role is not None:
        connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(role)))


def _log_notice(diagnostic: psycopg.errors.Diagnostic) -> None:
    level = logging.WARNING if diagnostic.severity_nonlocalized == "WARNING" else logging.DEBUG
    logger.log(level, "PostgreSQL: %s", diagnostic.message_primary)


def _heard_within(gen: Generator[Any, Any, _T], seconds: float, server: pq.abc.PGconn) -> Generator[Any, Any, _T]:
    """The generator of a wait, which closes the connection and fails when the socket was not ready for so long."""
    heard_at = time.monotonic()
    try:
        wanted = next(gen)
        while True:
            ready = yield wanted
            now = time.monotonic()
            if ready:
                heard_at = now
            elif now - heard_at > seconds:
                server.finish()
                raise psycopg.OperationalError(f"the server was silent for {seconds:.0f} s: the connection is given up")
            wanted = gen.send(ready)
    except StopIteration as done:
        return done.value  # type: ignore[no-any-return]  # it is a _T
