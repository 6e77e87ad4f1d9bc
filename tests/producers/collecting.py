"""A tracker that keeps its events instead of publishing them: for tests of what is tracked, not of how it arrives."""

from __future__ import annotations

from decimal import Decimal
from uuid import UUID

from costledger.producers.prices import PriceBook
from costledger.producers.records import ChatDraft, Draft, build_chat_records, build_record, caller_clock_us
from costledger.producers.services import ServiceMethods
from costledger.schemas.errors import CostledgerError
from costledger.schemas.events import EventRecord, check_event
from costledger.schemas.ids import new_event_id

BOOK = PriceBook.load()


class CollectingTracker(ServiceMethods):
    """Builds, prices and checks every event as the real one does; `ledger` is what a ledger would keep of them."""

    def __init__(self, book: PriceBook = BOOK) -> None:
        self._book = book
        self.records: list[EventRecord] = []
        self.rejected: list[Exception] = []

    def _track(self, draft: Draft) -> UUID:
        try:
            return self._keep(*build_record(draft, self._book, "tests"))
        except CostledgerError as error:
            return self.reject(error)

    def _track_chat(self, draft: ChatDraft) -> list[UUID]:
        try:
            return [self._keep(event_id, record) for event_id, record in build_chat_records(draft, self._book, "tests")]
        except CostledgerError as error:
            return [self.reject(error)]

    def reject(self, error: Exception) -> UUID:
        """Keep the error."""
        self.rejected.append(error)
        return new_event_id(caller_clock_us())

    def _keep(self, event_id: UUID, record: EventRecord) -> UUID:
        check_event(record)
        self.records.append(record)
        return event_id

    @property
    def ledger(self) -> dict[str, EventRecord]:
        """Every event once: the first of each id, as the ledger keeps it."""
        kept: dict[str, EventRecord] = {}
        for record in self.records:
            first = kept.setdefault(record["event_id"], record)
            assert first == record, "the same id with another payload"
        return kept

    def usd(self) -> Decimal | None:
        """The sum of the ledger in USD; None where an event has no amount."""
        amounts = [record["amount"] for record in self.ledger.values()]
        return None if None in amounts else Decimal(sum(amounts)).scaleb(-12)

    def charges(self) -> dict[str, tuple[Decimal, int | None]]:
        """Quantity and amount (picodollars) by operation; every operation once."""
        found = {}
        for record in self.ledger.values():
            assert record["operation"] not in found
            found[record["operation"]] = (Decimal(record["quantity"]).scaleb(-9).normalize(), record["amount"])
        return found

    def only(self) -> EventRecord:
        """The one event there is."""
        assert self.rejected == []
        (record,) = self.ledger.values()
        return record
