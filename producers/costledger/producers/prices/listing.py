"""The price book for people: what `costledger prices list|show|check` and `GET /api/prices` answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

from costledger.producers.prices.book import PriceBook
from costledger.producers.prices.entries import PriceEntry
from costledger.producers.prices.finding import Finding, PriceFileError


@dataclass(frozen=True, slots=True)
class PriceRow:
    """One price as it is shown. `unit_price` is USD per unit as decimal text; `effective_to` is excluded.

    `additions` is what is charged besides: the name of the number in the event's metadata -> USD for each.
    `held` says why the entry waits for review and prices nothing; None where it is applied.
    """

    service: str
    operation: str
    model: str | None
    unit: str
    unit_price: str
    currency: str
    rounded_up: bool
    additions: Mapping[str, str]
    effective_from: date | None
    effective_to: date | None
    price_version: str
    source: str
    held: str | None = None
    reviewed: str | None = None


def list_prices(book: PriceBook, at: datetime) -> list[PriceRow]:
    """All entries of the files in force at a time, by service and operation, each as the book would apply it.

    Entries that are held for review are among them, and marked: the book applies nothing in their place.

    The models that the genai-prices library knows are not listed (there are thousands); `show_price` finds them.
    """
    day = at.astimezone(UTC).date()
    rows = [
        _row(entry)
        for book_file in book.files
        for entry in book_file.entries
        if entry.covers(day) and book.entry_at(entry.service, entry.operation, day, entry.unit, entry.model) is entry
    ]
    return sorted(rows, key=lambda row: (row.service, row.operation, row.model or "", row.unit))


def show_price(
    book: PriceBook, service: str, operation: str, at: datetime, *, unit: str | None = None, model: str | None = None
) -> PriceRow | None:
    """The price in force for one operation, also of a language model; None where it is unpriced, marked where held.

    A model whose price depends on the length of the input is shown at its base price.
    """
    entry = book.entry_at(service, operation, at.astimezone(UTC).date(), unit, model)
    if entry is not None:
        return _row(entry)
    metadata = {} if model is None else {"model": model, "request_input_tokens": "0"}
    priced = book.price(service, operation, 1, at, unit=unit, metadata=metadata)
    if priced.unit_price is None or priced.price_version is None or priced.unit is None:
        return None
    return PriceRow(
        service=service,
        operation=operation,
        model=model,
        unit=priced.unit,
        unit_price=priced.unit_price,
        currency="USD",
        rounded_up=False,
        additions={},
        effective_from=None,
        effective_to=None,
        price_version=priced.price_version,
        source="the genai-prices library",
    )


def check_prices(paths: Sequence[Path | str]) -> list[Finding]:
    """Everything that is wrong or doubtful in the shipped prices with these files over them; empty when all is well.

    Of files that cannot be used, the first one's errors are told, all of them.
    """
    try:
        return PriceBook.read(*paths).check()
    except PriceFileError as error:
        return list(error.findings)


def _row(entry: PriceEntry) -> PriceRow:
    return PriceRow(
        service=entry.service,
        operation=entry.operation,
        model=entry.model,
        unit=entry.unit,
        unit_price=entry.rate.text,
        currency="USD",
        rounded_up=entry.rounded_up,
        additions={addition.metadata: addition.rate.text for addition in entry.additions},
        effective_from=entry.effective_from,
        effective_to=entry.effective_to,
        price_version=entry.version,
        source=entry.source,
        held=None if entry.held is None else entry.held.reason,
        reviewed=entry.reviewed,
    )
