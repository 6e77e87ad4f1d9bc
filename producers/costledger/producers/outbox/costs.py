"""What `CostTracker.using` and `using_async` give: the tracking methods, bound to a connection of the caller's.

Both price, check, count and tell of drops as their tracker does. They belong to one thread (or task) at a time, as
their connection does.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from uuid import UUID

from costledger.producers.errors import CLOSED, OUTBOX_FAILED, QUEUE_FULL, ROLLED_BACK, Reason
from costledger.producers.fates import Fates
from costledger.producers.outbox.errors import BlockEnded, CallersFailure
from costledger.producers.outbox.writing import Row, write_rows, write_rows_async
from costledger.producers.prices.book import PriceBook
from costledger.producers.records import ChatDraft, Draft, build_chat_records, build_record
from costledger.producers.sender import SenderClosed
from costledger.producers.services import ServiceMethods
from costledger.schemas.codec import encode_event
from costledger.schemas.events import CostEvent, EventRecord

if TYPE_CHECKING:
    from psycopg import AsyncConnection, Connection

Built = list[tuple[UUID, EventRecord]]


class OutboxCosts(ServiceMethods):
    """From the arguments of a call to rows; what becomes of the rows is the subclass's matter."""

    def __init__(self, fates: Fates, book: PriceBook, source: str, table: str) -> None:
        self._fates = fates
        self._book = book
        self._source = source
        self._table = table

    @property
    def price_book(self) -> PriceBook:
        """The tracker's."""
        return self._book

    @property
    def source(self) -> str:
        """The tracker's."""
        return self._source

    def emit(self, event: CostEvent, wait_seconds: float = 0.0) -> UUID:  # noqa: ARG002 - as the tracker has it
        """Write an event that is complete, as importers make it. There is no queue to wait for."""
        return self._keep(lambda: [(event.event_id, event.to_record())])[0]

    def emit_record(self, record: EventRecord, wait_seconds: float = 0.0) -> UUID:  # noqa: ARG002 - as above
        """The same for an event's record (times in Unix microseconds, ids as text)."""
        return self._keep(lambda: [(UUID(record["event_id"]), record)])[0]

    def reject(self, error: Exception) -> UUID:
        """Count, log and report what could be made no event at all, as the tracker does."""
        return self._fates.reject(error, None)

    @abstractmethod
    def _store(self, rows: list[Row]) -> None:
        """Bring rows to where they belong, or drop them."""

    def _track(self, draft: Draft) -> UUID:
        return self._keep(lambda: [build_record(draft, self._book, self._source)])[0]

    def _track_chat(self, draft: ChatDraft) -> list[UUID]:
        return self._keep(lambda: build_chat_records(draft, self._book, self._source))

    def _keep(self, build: Callable[[], Built]) -> list[UUID]:
        try:
            built = build()
        except Exception as error:  # noqa: BLE001 - a wrong argument must not stop the host
            return [self._fates.reject(error, None)]
        rows = []
        for event_id, record in built:
            try:
                rows.append(Row(event_id, record["user_id"].encode(), encode_event(record), record))
            except Exception as error:  # noqa: BLE001 - as above
                self._fates.reject(error, record, event_id)
        if rows and self._fates.closed:
            self._drop(rows, CLOSED, SenderClosed("the tracker is closed"))
        elif rows:
            self._store(rows)
        return [event_id for event_id, _ in built]

    # An event is counted when its fate is known: none of them is ever queued, so `flush` has nothing to wait for.

    def _written(self, rows: Sequence[Row]) -> None:
        for row in rows:
            self._fates.hand_over(row.record)

    def _drop(self, rows: Sequence[Row], reason: Reason, error: Exception, *, may_raise: bool = True) -> None:
        """Count and tell of every row before a strict tracker raises."""
        for row in rows:
            self._fates.drop_unsent(row.event_id, reason, error, row.record, may_raise and row is rows[-1])


class ConnectionCosts(OutboxCosts):
    """Writes each event at once, through a synchronous connection."""

    def __init__(self, fates: Fates, book: PriceBook, source: str, table: str, connection: Connection[Any]) -> None:
        super().__init__(fates, book, source, table)
        self._connection = connection

    def _store(self, rows: list[Row]) -> None:
        try:
            write_rows(self._connection, self._table, rows)
        except CallersFailure as failure:
            self._drop(rows, OUTBOX_FAILED, failure, may_raise=False)
            # The caller's own statement failed: hiding it would let the caller commit what PostgreSQL rolls back.
            raise failure.error from None
        except Exception as error:  # noqa: BLE001 - whatever the connection raises, the host must live
            self._drop(rows, OUTBOX_FAILED, error)
        except BaseException as error:
            self._drop(rows, OUTBOX_FAILED, _interrupted(error), may_raise=False)
            raise
        else:
            self._written(rows)


class GatheredCosts(OutboxCosts):
    """Gathers events in an `async with` block and writes them, all or none, when the block ends.

    The block must lie inside the transaction: what it gathers is written at its end. Where it raises, nothing is
    written, and its events are dropped as `rolled_back`.
    """

    def __init__(
        self,
        fates: Fates,
        book: PriceBook,
        source: str,
        table: str,
        connection: AsyncConnection[Any],
        events_max: int,
    ) -> None:
        super().__init__(fates, book, source, table)
        self._connection = connection
        self._events_max = events_max
        self._gathered: list[Row] = []
        self._open = False

    async def __aenter__(self) -> Self:
        self._open = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._open = False
        rows, self._gathered = self._gathered, []
        if error is not None:
            self._drop(rows, ROLLED_BACK, _interrupted(error), may_raise=False)
        elif rows:
            await self._write(rows)

    def _store(self, rows: list[Row]) -> None:
        if not self._open:
            self._drop(rows, CLOSED, BlockEnded("outside of the `async with` block of using_async, nothing is written"))
        elif len(self._gathered) + len(rows) > self._events_max:
            self._drop(rows, QUEUE_FULL, BufferError(f"the block has {len(self._gathered)} events, the most it may"))
        else:
            self._gathered += rows

    async def _write(self, rows: list[Row]) -> None:
        try:
            await write_rows_async(self._connection, self._table, rows)
        except CallersFailure as failure:
            self._drop(rows, OUTBOX_FAILED, failure, may_raise=False)
            raise failure.error from None  # as above
        except Exception as error:  # noqa: BLE001 - as above
            self._drop(rows, OUTBOX_FAILED, error)
        except BaseException as error:
            self._drop(rows, OUTBOX_FAILED, _interrupted(error), may_raise=False)
            raise
        else:
            self._written(rows)


def _interrupted(error: BaseException) -> BlockEnded:
    """Also for what is no `Exception`, such as the cancellation of a task."""
    return BlockEnded(f"ended by {type(error).__name__} before it was written: {error}")
