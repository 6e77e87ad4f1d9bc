"""What can be wrong or doubtful in price files that can be read: overlaps, gaps, entries that never apply."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from costledger.producers.prices.entries import BookFile, PriceEntry


@dataclass(frozen=True, slots=True)
class Finding:
    """One remark on a price file: an error makes the file unusable, a warning is for a person to judge."""

    severity: Literal["error", "warning"]
    file: str
    message: str

    def __str__(self) -> str:
        return f"{self.file}: {self.message}"


def find_overlaps(book: BookFile) -> list[Finding]:
    """Two entries of one file for the same operation, unit and day: which one is meant cannot be known."""
    return [
        Finding("error", book.name, f"{earlier.label} overlaps the one from {later.effective_from}")
        for earlier, later in _neighbours(book)
        if earlier.effective_to is None or later.effective_from < earlier.effective_to
    ]


def find_gaps(book: BookFile) -> list[Finding]:
    """Days between two entries of one operation on which the file has no price."""
    return [
        Finding(
            "warning",
            book.name,
            f"{earlier.label} ends on {earlier.effective_to}, and the next price begins on {later.effective_from}",
        )
        for earlier, later in _neighbours(book)
        if earlier.effective_to is not None and earlier.effective_to < later.effective_from
    ]


def find_shadowed(books: Sequence[BookFile]) -> list[Finding]:
    """Entries that a later file replaces on every day on which they would apply."""
    return [
        Finding("warning", book.name, f"{entry.label} never applies: {over.name} has a price for all its days")
        for position, book in enumerate(books)
        for entry in book.entries
        for over in books[position + 1 :]
        if any(_hides(other, entry) for other in over.entries)
    ]


def _hides(other: PriceEntry, entry: PriceEntry) -> bool:
    ends_no_earlier = other.effective_to is None or (
        entry.effective_to is not None and entry.effective_to <= other.effective_to
    )
    return _key(other) == _key(entry) and other.effective_from <= entry.effective_from and ends_no_earlier


def _neighbours(book: BookFile) -> list[tuple[PriceEntry, PriceEntry]]:
    """Entries of the same operation, model and unit that follow one another in time."""
    ordered = sorted(book.entries, key=lambda entry: (_key(entry), entry.effective_from))
    return [(earlier, later) for earlier, later in pairwise(ordered) if _key(earlier) == _key(later)]


def _key(entry: PriceEntry) -> tuple[str, str, str, str]:
    return entry.service, entry.operation, entry.model or "", entry.unit
