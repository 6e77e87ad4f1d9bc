"""A connection for work that must not be given up because PostgreSQL is away for a while."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

import psycopg

from costledger.schemas.backoff import backoff_seconds
from costledger.schemas.errors import CostledgerError
from costledger.schemas.stopping import StopRequest
from costledger.sinks.database import Connection, Meaning, meaning_of

logger = logging.getLogger(__name__)

_T = TypeVar("_T")


class Abandoned(CostledgerError):
    """Told to stop while PostgreSQL was away; the work is not done, nor is anything lost."""


class PatientConnection:
    """One connection, made when needed and made again when it breaks.

    `connect` makes it; `on_retry` is told the SQLSTATE of each failure that passes ("connection" where there is
    none). `do` is for one thread at a time; `stop` and `trouble` for any.
    """

    def __init__(
        self, connect: Callable[[], Connection], on_retry: Callable[[str], None] = lambda _state: None
    ) -> None:
        self._connect = connect
        self._on_retry = on_retry
        self._connection: Connection | None = None
        self._stopping = StopRequest()
        #: Why PostgreSQL cannot be used at the moment, or None.
        self.trouble: str | None = None

    def stop(self) -> None:
        """Stop trying again: what does not succeed now raises `Abandoned`."""
        self._stopping.set()

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def do(self, work: Callable[[Connection], _T]) -> _T:
        """The result of the work. Errors that pass are waited for, with jitter, for as long as it takes.

        An attempt whose reply was lost may have been committed: the work must find that out when it is done again.
        Other errors of PostgreSQL are raised as they are.
        """
        failures = 0
        while True:
            try:
                result = work(self._usable())
            except psycopg.Error as error:
                if meaning_of(error) is not Meaning.PASSING:
                    raise
                failures += 1
                self._wait(error, failures)
            except BaseException:
                self.trouble = None
                raise
            else:
                if failures:
                    logger.warning("PostgreSQL can be used again after %d failed attempts", failures)
                self.trouble = None
                return result

    def _usable(self) -> Connection:
        if self._connection is None or self._connection.closed or self._connection.broken:
            self.close()
            self._connection = self._connect()
        return self._connection

    def _wait(self, error: psycopg.Error, failures: int) -> None:
        state = error.sqlstate or "connection"
        self.trouble = f"PostgreSQL ({state}): {str(error).strip()}"
        self._on_retry(state)
        seconds = backoff_seconds(failures)
        logger.error("attempt %d failed, the next is in %.1f s, nothing is lost: %s", failures, seconds, self.trouble)
        if self._stopping.wait(seconds):
            raise Abandoned(f"stopped while waiting for PostgreSQL: {self.trouble}") from error
