"""A thread that does a small job about once a second, with a connection of its own.

Used for the outboxes: rows that Kafka must get at least once. Failures of any kind are logged and tried again; the job
itself leaves a row in the outbox until Kafka has acknowledged it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Final

import psycopg
from confluent_kafka import KafkaException

from costledger.schemas.backoff import backoff_seconds
from costledger.schemas.errors import Unavailable
from costledger.sinks.database import Connection

logger = logging.getLogger(__name__)

INTERVAL_SECONDS: Final = 1.0


class Relay:
    """Runs `job(connection)` until stopped; the job returns how much it moved, and is called again at once if any.

    `close` is called in the same thread at the end, for what the job keeps. With `when_told` the job runs after
    `tell`, and again after a failure, instead of once a second.
    """

    def __init__(
        self,
        name: str,
        connect: Callable[[], Connection],
        job: Callable[[Connection], int],
        close: Callable[[], None],
        *,
        when_told: bool = False,
    ) -> None:
        self._name = name
        self._connect = connect
        self._job = job
        self._close = close
        self._when_told = when_told
        self._stopping = threading.Event()
        self._told = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        #: Why the job fails at the moment, or None.
        self.trouble: str | None = None

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def tell(self) -> None:
        """Have the job run now rather than later; returns at once."""
        self._told.set()

    def stop(self, timeout_seconds: float) -> None:
        """Ask the thread to end and wait for it that long; what is in the outbox stays there."""
        self._stopping.set()
        self._told.set()
        if self._thread.is_alive():
            self._thread.join(timeout_seconds)

    def _run(self) -> None:
        connection: Connection | None = None
        failures = 0
        if self._when_told:
            self._told.wait()
        while not self._stopping.is_set():
            self._told.clear()
            wait_seconds: float | None = None if self._when_told else INTERVAL_SECONDS
            try:
                if connection is None or connection.closed or connection.broken:
                    connection = self._connect()
                if self._job(connection):
                    wait_seconds = 0.0
                failures, self.trouble = 0, None
            except Exception as error:
                failures += 1
                expected = isinstance(error, (psycopg.Error, KafkaException, Unavailable))
                text = str(error).strip() if expected else f"{type(error).__name__}: {error}"
                # A traceback a second would say nothing more.
                new, self.trouble = text != self.trouble, text
                wait_seconds = max(INTERVAL_SECONDS, backoff_seconds(failures))
                logger.error(  # noqa: TRY400
                    "%s failed, next attempt in %.1f s: %s",
                    self._name,
                    wait_seconds,
                    text,
                    exc_info=new and not expected,
                )
            # Asked to stop in between, the event is set: see `stop`.
            if not self._stopping.is_set():
                self._told.wait(wait_seconds)
        if connection is not None:
            connection.close()
        self._close()
