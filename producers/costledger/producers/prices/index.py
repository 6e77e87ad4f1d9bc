"""Which entry of several files is in force for an operation on a day."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date

from costledger.producers.prices.entries import ANY_OPERATION, BookFile, PriceEntry


class EntryIndex:
    """The entries of files by service, operation and model; later files win over earlier ones."""

    def __init__(self, books: Sequence[BookFile]) -> None:
        self._by_file = tuple(_indexed(book.entries) for book in reversed(books))
        self._by_service: dict[str, set[tuple[str, str | None]]] = {}
        for book in books:
            for entry in book.entries:
                self._by_service.setdefault(entry.service, set()).add((entry.operation, entry.model))

    def entry_at(
        self, service: str, operation: str, day: date, unit: str | None = None, model: str | None = None
    ) -> PriceEntry | None:
        """The entry in force on a UTC day, None where no file has one."""
        for index in self._by_file:
            for key in ((service, operation, model), (service, operation, None), (service, ANY_OPERATION, None)):
                for entry in index.get(key, ()):
                    if entry.covers(day) and (unit is None or unit == entry.unit or unit in entry.counted_in):
                        return entry
        return None

    def covered_by(self, entry: PriceEntry) -> list[tuple[str, str | None]]:
        """The operations and models with entries here that this entry of a later file is for, itself first."""
        own = (entry.operation, entry.model)
        if entry.model is not None:
            return [own]
        covered = {
            (operation, model)
            for operation, model in self._by_service.get(entry.service, ())
            if entry.operation in (operation, ANY_OPERATION)
        }
        return [own, *sorted(covered - {own}, key=lambda pair: (pair[0], pair[1] or ""))]


def _indexed(entries: Iterable[PriceEntry]) -> dict[tuple[str, str, str | None], list[PriceEntry]]:
    index: dict[tuple[str, str, str | None], list[PriceEntry]] = {}
    for entry in entries:
        index.setdefault((entry.service, entry.operation, entry.model), []).append(entry)
    return index
