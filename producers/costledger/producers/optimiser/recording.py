"""A tracker that remembers what was spent through it.

It has the tracking methods of `CostTracker`, and whatever takes a tracker takes it. It builds the record of each
event, notes its amount, and hands the same record on; the tracker beneath does all the rest.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol
from uuid import UUID

from costledger.producers.prices.book import PriceBook
from costledger.producers.records import (
    ChatDraft,
    Draft,
    build_chat_records,
    build_record,
)
from costledger.producers.services import ServiceMethods
from costledger.producers.tracker import CostTracker
from costledger.schemas.events import CostEvent, EventRecord, check_event

#: Steps remembered one by one; of more, only the sum and the number are.
STEPS_MAX: Final = 10_000

#: Publishes an event's record and returns the event's id.
Through = Callable[[EventRecord], UUID]


class EventSink(Protocol):
    """What stands beneath: a `CostTracker`, or another recorder."""

    @property
    def price_book(self) -> PriceBook:
        """The prices that events are given."""
        ...

    @property
    def source(self) -> str:
        """The name of the emitting service."""
        ...

    def emit_record(self, record: EventRecord, wait_seconds: float = 0.0) -> UUID:
        """Publish an event's record; never raises unless strict."""
        ...

    def reject(self, error: Exception) -> UUID:
        """Count and report what could be made no event."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One paid call, as its event tells it: `quantity` in 1e-9 of `unit`, `amount` in 1e-12 USD (None: unpriced)."""

    event_id: UUID
    user_id: str
    service: str
    operation: str
    quantity: int
    unit: str
    amount: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Spend:
    """What was tracked so far for one user.

    `steps` are the paid calls in the order of tracking, those for other users too; beyond `STEPS_MAX` they are
    only counted in `steps_omitted`. `known` is the sum of the user's own amounts (1e-12 USD), `others` that of
    other users'. `unpriced` counts the user's own events without a price, `rejected` the calls whose arguments
    made no event: what those have cost is not known.
    """

    steps: tuple[Step, ...] = ()
    steps_omitted: int = 0
    known: int = 0
    others: int = 0
    unpriced: int = 0
    rejected: int = 0

    @property
    def is_complete(self) -> bool:
        """True where `known` is all that was spent; else it is "at least"."""
        return not (self.unpriced or self.rejected)

    @property
    def is_empty(self) -> bool:
        """True where nothing was tracked at all."""
        return not (self.steps or self.rejected)

    def by_operation(self) -> dict[tuple[str, str], int]:
        """The known amounts of the steps by (service, operation), in 1e-12 USD."""
        amounts: dict[tuple[str, str], int] = {}
        for step in self.steps:
            key = (step.service, step.operation)
            amounts[key] = amounts.get(key, 0) + (step.amount or 0)
        return amounts


class SpendRecorder(ServiceMethods):
    """Tracks into `sink` and remembers the spend of one user. Safe to share between threads and asyncio tasks.

    An event id that comes twice is handed on twice and counted once, as the ledger does (among the first
    `STEPS_MAX` events). `through` takes the events' records instead of the sink, for example into an outbox.
    """

    def __init__(self, sink: EventSink, user_id: str, through: Through | None = None) -> None:
        self.user_id: Final = user_id
        self._sink: Final = sink
        self._through: Final = through
        # Reentrant: a signal handler may track while its own thread is inside.
        self._lock = threading.RLock()
        self._steps: dict[UUID, Step] = {}
        self._steps_omitted = 0
        self._known = 0
        self._others = 0
        self._unpriced = 0
        self._rejected = 0

    @property
    def price_book(self) -> PriceBook:
        """The tracker's."""
        return self._sink.price_book

    @property
    def source(self) -> str:
        """The tracker's."""
        return self._sink.source

    def emit(self, event: CostEvent, wait_seconds: float = 0.0) -> UUID:
        """As `CostTracker.emit`."""
        try:
            record = event.to_record()
        except Exception as error:  # noqa: BLE001 - whatever is wrong with the event, the host must live
            return self.reject(error)
        return self.emit_record(record, wait_seconds)

    def emit_record(self, record: EventRecord, wait_seconds: float = 0.0) -> UUID:
        """As `CostTracker.emit_record`."""
        try:
            check_event(record)
        except Exception:  # noqa: BLE001 - the tracker comes to the same end, and reports it
            with self._lock:
                self._rejected += 1
        else:
            # Before it is handed on: a queue that is full drops the event, not what was paid.
            if self._note(record) and record["user_id"] == self.user_id:
                self._noted(UUID(record["event_id"]))
        return self._sink.emit_record(record, wait_seconds) if self._through is None else self._through(record)

    def reject(self, error: Exception) -> UUID:
        """As `CostTracker.reject`."""
        with self._lock:
            self._rejected += 1
        return self._sink.reject(error)

    def spend(self) -> Spend:
        """What was tracked up to now."""
        with self._lock:
            return Spend(
                steps=tuple(self._steps.values()),
                steps_omitted=self._steps_omitted,
                known=self._known,
                others=self._others,
                unpriced=self._unpriced,
                rejected=self._rejected,
            )

    def _track(self, draft: Draft) -> UUID:
        return self._built(lambda: [build_record(draft, self.price_book, self.source)])[0]

    def _track_chat(self, draft: ChatDraft) -> list[UUID]:
        return self._built(lambda: build_chat_records(draft, self.price_book, self.source))

    def _built(self, build: Callable[[], list[tuple[UUID, EventRecord]]]) -> list[UUID]:
        try:
            built = build()
        except Exception as error:  # noqa: BLE001 - a wrong argument must not stop the host
            return [self.reject(error)]
        return [self.emit_record(record) for _, record in built]

    def _noted(self, event_id: UUID) -> None:
        """An event of the user's own is remembered as a step, and is about to be handed on."""

    def _note(self, record: EventRecord) -> bool:
        """Add an event to the spend; True where it is a new step of it."""
        event_id, amount, own = UUID(record["event_id"]), record["amount"], record["user_id"] == self.user_id
        with self._lock:
            if event_id in self._steps:
                return False
            is_step = len(self._steps) < STEPS_MAX
            if is_step:
                self._steps[event_id] = _step(event_id, record)
            else:
                self._steps_omitted += 1
            if not own:
                self._others += amount or 0
            elif amount is None:
                self._unpriced += 1
            else:
                self._known += amount
            return is_step


#: Whatever events may be tracked through.
AnyTracker = CostTracker | SpendRecorder


def _step(event_id: UUID, record: EventRecord) -> Step:
    return Step(
        event_id=event_id,
        user_id=record["user_id"],
        service=record["service"],
        operation=record["operation"],
        quantity=record["quantity"],
        unit=record["unit"],
        amount=record["amount"],
    )
