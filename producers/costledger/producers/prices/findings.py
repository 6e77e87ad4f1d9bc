"""What can be wrong or doubtful in price files that can be read: overlaps, gaps, jumps, entries that never apply."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from costledger.producers.prices.entries import BookFile, PriceEntry
from costledger.producers.prices.finding import Finding

__all__ = ["Finding", "find_gaps", "find_held", "find_overlaps", "find_shadowed"]


def find_overlaps(book: BookFile) -> list[Finding]:
    """Two entries of one file for the same operation, unit and day: which one is meant cannot be known."""
    return [
        Finding(
            "error",
            book.name,
            f"{earlier.label} overlaps the one from {later.effective_from} (entry {later.number}): "
            f"effective_to is {earlier.effective_to}; it must be at most {later.effective_from}",
            earlier.number,
            "effective_to",
        )
        for earlier, later in _neighbours(book)
        if earlier.effective_to is None or later.effective_from < earlier.effective_to
    ]


def find_gaps(book: BookFile) -> list[Finding]:
    """Days between two entries of one operation on which the file has no price."""
    return [
        Finding(
            "warning",
            book.name,
            f"{earlier.label} ends on {earlier.effective_to}, and the next price begins on {later.effective_from} "
            f"(entry {later.number}): effective_to must be {later.effective_from} if no day is to be left out",
            earlier.number,
            "effective_to",
        )
        for earlier, later in _neighbours(book)
        if earlier.effective_to is not None and earlier.effective_to < later.effective_from
    ]


def find_held(book: BookFile) -> list[Finding]:
    """Entries that wait for review; what they would have priced is unpriced until then."""
    return [
        Finding(
            "review",
            book.name,
            f"{entry.label} is held: {entry.held.reason}, or `reviewed` must say why it is right",
            entry.number,
            entry.held.field,
        )
        for entry in book.entries
        if entry.held is not None
    ]


def find_shadowed(books: Sequence[BookFile]) -> list[Finding]:
    """Entries that a later file replaces on every day on which they would apply."""
    over_by_key = [_by_key(book) for book in books]
    return [
        Finding("warning", book.name, f"{entry.label} never applies: {over.name} has a price for all its days")
        for position, book in enumerate(books)
        for entry in book.entries
        for over, by_key in zip(books[position + 1 :], over_by_key[position + 1 :], strict=True)
        if any(_hides(other, entry) for other in by_key.get(entry.key, ()))
    ]


def _by_key(book: BookFile) -> dict[tuple[str, str, str, str], list[PriceEntry]]:
    entries: dict[tuple[str, str, str, str], list[PriceEntry]] = {}
    for entry in book.entries:
        entries.setdefault(entry.key, []).append(entry)
    return entries


def _hides(other: PriceEntry, entry: PriceEntry) -> bool:
    ends_no_earlier = other.effective_to is None or (
        entry.effective_to is not None and entry.effective_to <= other.effective_to
    )
    return other.effective_from <= entry.effective_from and ends_no_earlier


def _neighbours(book: BookFile) -> list[tuple[PriceEntry, PriceEntry]]:
    """Entries of the same operation, model and unit that follow one another in time."""
    ordered = sorted(book.entries, key=lambda entry: (entry.key, entry.effective_from))
    return [(earlier, later) for earlier, later in pairwise(ordered) if earlier.key == later.key]
