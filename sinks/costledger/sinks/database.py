"""Connections to PostgreSQL, and what an error of PostgreSQL means for the one who waits."""

from __future__ import annotations

import logging
from enum import Enum
from typing import Any, Final, LiteralString

import psycopg
from psycopg import sql

from costledger.schemas.sqlstates import is_about_data, passes

logger = logging.getLogger(__name__)

Connection = psycopg.Connection[tuple[Any, ...]]

WRITER_ROLE: Final = "costledger_writer"
_CONNECT_TIMEOUT_SECONDS: Final = 10
#: A process that was stopped (SIGSTOP) in a transaction must not hold its locks for long.
_IDLE_IN_TRANSACTION_SECONDS_MAX: Final = 10.0


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


def connect(
    database_url: str, application_name: str, timeout_seconds: float, role: LiteralString | None = WRITER_ROLE
) -> Connection:
    """A connection in autocommit mode, in UTC, with limits on every statement and lock.

    Acts as `role` (None: as who logged in), so that even a superuser's connection cannot change an entry. A network
    that swallows packets is noticed after `timeout_seconds`. Raises `psycopg.Error`.
    """
    milliseconds = int(timeout_seconds * 1000)
    connection = psycopg.connect(
        database_url,
        autocommit=True,
        application_name=application_name,
        connect_timeout=_CONNECT_TIMEOUT_SECONDS,
        keepalives_idle=10,
        keepalives_interval=5,
        keepalives_count=3,
        tcp_user_timeout=milliseconds,
    )
    try:
        prepare_session(connection, timeout_seconds, role)
    except BaseException:
        connection.close()
        raise
    return connection


def prepare_session(connection: Connection, timeout_seconds: float, role: LiteralString | None = WRITER_ROLE) -> None:
    """Limits, time zone and role of a session in autocommit mode; also for connections that a pool has opened."""
    milliseconds = int(timeout_seconds * 1000)
    connection.add_notice_handler(_log_notice)
    limits = {
        "statement_timeout": milliseconds,
        "lock_timeout": milliseconds,
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
