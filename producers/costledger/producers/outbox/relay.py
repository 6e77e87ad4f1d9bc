"""The relay: rows of the outbox to Kafka, each deleted when Kafka has acknowledged it. At least once.

A batch is one transaction: lock the oldest rows, produce them, wait for the acknowledgements, delete what arrived,
commit. Whatever dies in between leaves rows in the table, which are sent again with the same event ids.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final, Literal

from costledger.producers.outbox.delivery import Deliverer, Outcome, WaitingRow
from costledger.producers.outbox.errors import OutboxError
from costledger.producers.outbox.table import OutboxTable
from costledger.schemas.backoff import backoff_seconds
from costledger.schemas.errors import InvalidValue, Unavailable
from costledger.schemas.fail_points import reach_step_of
from costledger.schemas.settings import Settings
from costledger.schemas.stopping import StopRequest

_logger = logging.getLogger(__name__)

BATCH_ROWS: Final = 500
BATCH_ROWS_MAX: Final = 10_000
#: How often an empty outbox is looked at.
_IDLE_SECONDS: Final = 0.25
#: How often the log says how much was relayed.
_REPORT_SECONDS: Final = 60.0
#: More rows than this that Kafka refuses for good stop the relay: then it is not the rows.
REFUSED_ROWS_MAX: Final = 1000

#: The moments of one batch, in order; each is a fail point, `outbox.` and its name.
Step = Literal["claimed", "delivered", "committed"]
reach_step: Final[Callable[[Step], None]] = reach_step_of("outbox")


def check_batch_rows(rows: int) -> int:
    """The number, if a batch may have so many rows; else `InvalidValue`."""
    if not 1 <= rows <= BATCH_ROWS_MAX:
        raise InvalidValue("batch", rows, f"1 to {BATCH_ROWS_MAX} rows")
    return rows


class Relay:
    """One relay of one table; several may run side by side. `run` blocks, `stop` is for any thread.

    `on_step` is told of each step of a batch, for tests that end the process there.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        batch_rows: int = BATCH_ROWS,
        on_step: Callable[[Step], None] = reach_step,
    ) -> None:
        check_batch_rows(batch_rows)
        url = settings.database_url.get_secret_value()
        self._table = OutboxTable(url, settings.outbox_table, settings.database_timeout_seconds)
        self._deliverer = Deliverer(settings, batch_rows)
        self._topic = settings.topics.events
        self._batch_rows = batch_rows
        self._on_step = on_step
        self._stopping = StopRequest()
        self._refused: dict[int, str] = {}
        self._failures = 0
        self._reported_at = time.monotonic()
        self._unreported = 0
        #: Rows that Kafka has acknowledged and that are deleted, since the start.
        self.relayed = 0
        #: Why nothing can be relayed at the moment, or None.
        self.trouble: str | None = None

    @property
    def refused(self) -> dict[int, str]:
        """Rows that Kafka will not take as they are, by id, with the reason; they stay in the table."""
        return dict(self._refused)

    def stop(self) -> None:
        """Ask `run` to end its batch and to return, within 10 s."""
        self._stopping.set()

    def run(self) -> int:
        """Relay until stopped: 0. Waits while PostgreSQL or Kafka is away; `OutboxError` where the table is wrong."""
        try:
            while not self._stopping.is_set():
                self._stopping.wait(self._turn())
        finally:
            self._close()
        self._report()
        return 0

    def run_once(self) -> None:
        """Relay what waits and is in nobody else's hand. `Unavailable` where that is not possible now."""
        try:
            self._table.check()
            while not self._stopping.is_set() and self._batch() == self._batch_rows:
                pass
        finally:
            self._close()

    def _turn(self) -> float:
        """One batch; how long to wait before the next, in seconds."""
        try:
            taken = self._batch()
        except Unavailable as error:
            self._failures += 1
            self.trouble = str(error)
            wait_seconds = backoff_seconds(self._failures)
            _logger.warning(
                "attempt %d failed, the next is in %.1f s, nothing is lost: %s", self._failures, wait_seconds, error
            )
            return wait_seconds
        if self.trouble is not None:
            _logger.warning("relaying again after %d failed attempts", self._failures)
        self._failures, self.trouble = 0, None
        if time.monotonic() - self._reported_at >= _REPORT_SECONDS:
            self._report()
        return 0.0 if taken else _IDLE_SECONDS

    def _batch(self) -> int:
        """One batch; how many rows it took. `Unavailable` where Kafka did not acknowledge all that it could take."""
        self._deliverer.reach()
        outcome = Outcome()

        def deliver(rows: list[WaitingRow]) -> list[int]:
            nonlocal outcome
            self._on_step("claimed")
            outcome = self._deliverer.deliver(rows, self._stopping.is_set)
            self._on_step("delivered")
            return outcome.acknowledged

        taken = self._table.relay_batch(self._batch_rows, list(self._refused), deliver)
        self._on_step("committed")
        self.relayed += len(outcome.acknowledged)
        self._unreported += len(outcome.acknowledged)
        self._put_aside(outcome.refused)
        if outcome.failure is not None:
            raise Unavailable(f"Kafka has not acknowledged every row, the others stay in the outbox: {outcome.failure}")
        return taken

    def _put_aside(self, refused: dict[int, str]) -> None:
        for row_id, reason in refused.items():
            _logger.error("row %d of %s cannot be sent and stays there: %s", row_id, self._table.table, reason)
        self._refused.update(refused)
        if len(self._refused) > REFUSED_ROWS_MAX:
            raise OutboxError(f"Kafka refuses more than {REFUSED_ROWS_MAX} rows of {self._table.table} for good")

    def _report(self) -> None:
        if self._unreported:
            _logger.info("%d events relayed from %s to %s", self._unreported, self._table.table, self._topic)
        self._unreported, self._reported_at = 0, time.monotonic()

    def _close(self) -> None:
        self._deliverer.close()
        self._table.close()
