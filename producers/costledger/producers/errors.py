"""What the SDK tells of an event that it could not keep."""

from __future__ import annotations

from typing import Final, Literal
from uuid import UUID

from costledger.schemas.errors import CostledgerError
from costledger.schemas.events import EventRecord

Reason = Literal["invalid", "queue_full", "delivery_failed", "closed", "spool_lost", "outbox_failed", "rolled_back"]

INVALID: Final = "invalid"
QUEUE_FULL: Final = "queue_full"
DELIVERY_FAILED: Final = "delivery_failed"
CLOSED: Final = "closed"
SPOOL_LOST: Final = "spool_lost"
OUTBOX_FAILED: Final = "outbox_failed"
ROLLED_BACK: Final = "rolled_back"


class EventDropped(CostledgerError):
    """An event that will not reach the topic; `on_error` is called with it.

    `reason` is `invalid` (an argument is wrong: the cause names field, value and limit), `queue_full`,
    `delivery_failed` (Kafka did not confirm it in time; it may have arrived all the same), `closed`, `spool_lost`
    (told once for all events of a spool file that cannot be read, with their number in the explanation and an id of
    zeros), `outbox_failed` (no row could be written for it) or `rolled_back` (the block that gathered it raised).
    `record` is the event as far as it was built, None where its arguments made none. The `__cause__` is the
    error behind it.
    """

    def __init__(self, event_id: UUID, reason: Reason, explanation: str, record: EventRecord | None) -> None:
        super().__init__(event_id, reason, explanation, record)
        self.event_id = event_id
        self.reason: Reason = reason
        self.explanation = explanation
        self.record = record

    def __str__(self) -> str:
        return f"cost event {self.event_id} was dropped ({self.reason}): {self.explanation}"
