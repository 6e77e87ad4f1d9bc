"""Rating an entry of the ledger again with a price book: pure functions from its record to its correction.

An entry is never changed. A correction is two new ones: a *reversing entry* takes the original back, with its
quantity and amount negated, and a *new entry* says the same call with the price of the book. Both have ids that are
derived from the original's, so that whoever computes the same correction again posts the same two events, which the
ledger refuses as repeats.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Final, NamedTuple
from uuid import UUID

from costledger.producers.prices.book import PriceBook
from costledger.producers.prices.rates import Priced
from costledger.producers.records import UNKNOWN_UNIT
from costledger.schemas.errors import InvalidEvent
from costledger.schemas.events import EventRecord, check_event
from costledger.schemas.ids import derived_event_id

#: In the metadata of both entries of a correction: the id of the entry that was rated again.
RERATED_FROM_KEY: Final = "rerated_from"
#: What the charges of one chat are given so that they add up to the whole rounded once: the rest of at most twelve
#: charges, each rounded by at most half a picodollar. So much is no other price.
ROUNDING_PICODOLLARS_MAX: Final = 6


class RatingFinding(StrEnum):
    """What the price book says of an entry."""

    UNCHANGED = "unchanged"
    CORRECTED = "corrected"
    STILL_UNPRICED = "still unpriced"
    NO_LONGER_PRICED = "no longer in the price book"
    CANNOT_BE_CORRECTED = "cannot be corrected"


class Correction(NamedTuple):
    """The two entries that correct one: post `reversal` first."""

    reversal: EventRecord
    entry: EventRecord


@dataclass(frozen=True, slots=True)
class Rating:
    """What became of one entry: `correction` where it is to be corrected, `reason` where it cannot be."""

    finding: RatingFinding
    correction: Correction | None = None
    reason: str = ""


def rerate(record: EventRecord, book: PriceBook) -> Rating:
    """Rate an entry again. The record has passed `check_event`; quantity in 1e-9 units, amount in 1e-12 USD.

    Entries whose amount their caller gave, and reversing entries, are no matter of the price book: unchanged. So is
    an entry whose amount stays the same, whatever version of the book gave it. An entry that the book cannot price
    keeps what it has.
    """
    if not is_priced_by_book(record):
        return Rating(RatingFinding.UNCHANGED)
    priced = _priced_now(record, book)
    if priced.amount_picodollars is None:
        return Rating(RatingFinding.STILL_UNPRICED if record["amount"] is None else RatingFinding.NO_LONGER_PRICED)
    if _is_same_price(record, priced):
        return Rating(RatingFinding.UNCHANGED)
    correction = Correction(_reversal(record), _new_entry(record, priced))
    try:
        for made in correction:
            check_event(made)
    except InvalidEvent as error:
        return Rating(RatingFinding.CANNOT_BE_CORRECTED, reason=str(error))
    return Rating(RatingFinding.CORRECTED, correction)


def is_priced_by_book(record: EventRecord) -> bool:
    """Is this entry's amount the price book's matter: unpriced, or priced by a version of it, and no reversing entry?"""
    if record["reverses_event_id"] is not None:
        return False
    return record["amount"] is None or record["price_version"] is not None


def completed(record: EventRecord, book: PriceBook) -> EventRecord:
    """The new entry of a correction whose reversing entry was posted already.

    With the price of the book, and where it has none (any more) with the price that the original had: the call took
    place, and must not stay taken back.
    """
    priced = _priced_now(record, book)
    if priced.amount_picodollars is not None:
        entry = _new_entry(record, priced)
        try:
            check_event(entry)
        except InvalidEvent:
            pass  # an amount beyond all bounds is no price either
        else:
            return entry
    as_before = Priced(
        record["amount"], record["unit_price"], record["price_version"], record["unit"], record["quantity"]
    )
    return _new_entry(record, as_before)


def reversal_id(record: EventRecord) -> UUID:
    """The id of the reversing entry of this record's correction."""
    return derived_event_id(record["occurred_at"], "rerate-reversal", record["event_id"])


def new_entry_id(record: EventRecord) -> UUID:
    """The id of the new entry of this record's correction."""
    return derived_event_id(record["occurred_at"], "rerate-entry", record["event_id"])


def _priced_now(record: EventRecord, book: PriceBook) -> Priced:
    service, operation, quantity = record["service"], record["operation"], record["quantity"]
    occurred_at_us, unit, metadata = record["occurred_at"], record["unit"], record["metadata"]
    priced = book.price_nanounits(service, operation, quantity, occurred_at_us, unit, metadata)
    if priced.amount_picodollars is None and record["amount"] is None and unit == UNKNOWN_UNIT:
        # Neither the caller nor the book of that time named a unit: the quantity counts what the entry counts.
        return book.price_nanounits(service, operation, quantity, occurred_at_us, None, metadata)
    return priced


def _is_same_price(record: EventRecord, priced: Priced) -> bool:
    before, now = record["amount"], priced.amount_picodollars
    if before is None or now is None:
        return False
    if before == now:
        return True
    if record["unit_price"] is None or priced.unit_price is None or record["quantity"] != priced.quantity_nanounits:
        return False
    same_unit_price = Decimal(record["unit_price"]) == Decimal(priced.unit_price)
    return same_unit_price and abs(before - now) <= ROUNDING_PICODOLLARS_MAX


def _reversal(record: EventRecord) -> EventRecord:
    amount = record["amount"]
    return {
        **record,
        "event_id": str(reversal_id(record)),
        "quantity": -record["quantity"],
        "amount": None if amount is None else -amount,
        "reverses_event_id": record["event_id"],
        "metadata": _metadata(record),
    }


def _new_entry(record: EventRecord, priced: Priced) -> EventRecord:
    return {
        **record,
        "event_id": str(new_entry_id(record)),
        "quantity": priced.quantity_nanounits,
        "unit": priced.unit or record["unit"],
        "unit_price": priced.unit_price,
        "price_version": priced.price_version,
        "amount": priced.amount_picodollars,
        "reverses_event_id": None,
        "metadata": _metadata(record),
    }


def _metadata(record: EventRecord) -> dict[str, str]:
    return {**record["metadata"], RERATED_FROM_KEY: record["event_id"]}
