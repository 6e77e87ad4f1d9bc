"""What becomes of a tracker's events: counted, told of, and, where the tracker is strict, raised."""

from __future__ import annotations

from uuid import UUID

from costledger.producers.counters import Counters
from costledger.producers.errors import (
    CLOSED,
    DELIVERY_FAILED,
    INVALID,
    OUTBOX_FAILED,
    QUEUE_FULL,
    EventDropped,
    Reason,
)
from costledger.producers.outbox.errors import ConnectionNeeded
from costledger.producers.records import caller_clock_us
from costledger.producers.reporting import OnError, Reporter
from costledger.producers.sender import SenderClosed
from costledger.schemas.events import EventRecord
from costledger.schemas.ids import new_event_id


class Fates:
    """One per tracker, shared by all that tracks for it. Safe to use from any thread.

    `counters` and `reporter` are this process's: a forked child has others.
    """

    def __init__(self, on_error: OnError | None, *, strict: bool) -> None:
        self._on_error = on_error
        self._strict = strict
        #: Whether the tracker is closed, and takes no more events.
        self.closed = False
        self.start_afresh()

    def start_afresh(self) -> None:
        """Begin to count at zero, without the locks of before: for a forked child."""
        self.counters = Counters()
        self.reporter = Reporter(self._on_error)

    def reject(self, error: Exception, record: EventRecord | None, event_id: UUID | None = None) -> UUID:
        """Count an event with wrong arguments; its id is made up where the arguments gave none."""
        self.counters.reject()
        event_id = new_event_id(caller_clock_us()) if event_id is None else event_id
        return self._tell(event_id, INVALID, error, record, may_raise=True)

    def drop(
        self, event_id: UUID, reason: Reason, error: Exception, record: EventRecord | None, *, may_raise: bool = True
    ) -> UUID:
        """Give up an event that was counted before. `may_raise`: a caller is there whom a strict tracker can tell so."""
        self.counters.drop()
        return self._tell(event_id, reason, error, record, may_raise)

    def hand_over(self, record: EventRecord) -> None:
        """Count an event that is a row of an outbox now."""
        self.counters.hand_over(unpriced=record["amount"] is None)

    def drop_unsent(
        self, event_id: UUID, reason: Reason, error: Exception, record: EventRecord, may_raise: bool
    ) -> None:
        """Count an event and give it up."""
        self.counters.track(unpriced=record["amount"] is None)
        self.drop(event_id, reason, error, record, may_raise=may_raise)

    def _tell(
        self, event_id: UUID, reason: Reason, error: Exception, record: EventRecord | None, may_raise: bool
    ) -> UUID:
        dropped = EventDropped(event_id, reason, _explained(error), record)
        dropped.__cause__ = error
        self.reporter.report(dropped)
        if self._strict and may_raise:
            raise dropped
        return event_id


def reason_of(error: Exception) -> Reason:
    """Why an event that could not be sent was dropped."""
    if isinstance(error, BufferError):
        return QUEUE_FULL
    if isinstance(error, SenderClosed):
        return CLOSED
    return OUTBOX_FAILED if isinstance(error, ConnectionNeeded) else DELIVERY_FAILED


def _explained(error: Exception) -> str:
    """An error in words; one of a host's own classes may fail to say them."""
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:  # noqa: BLE001 - whatever its `__str__` raises, the host must live
        return type(error).__name__
