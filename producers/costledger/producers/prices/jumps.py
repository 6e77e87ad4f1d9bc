"""Entries whose price jumps are held for review: one slip of a decimal point must not reach the ledger.

A price is held where it is more than ten times the one that it follows, or less than a tenth of it, or where it
goes to or from 0. It follows the entry before it in its own file (service, operation, model and unit being the
same); where that file has none, what the files below, or else genai-prices, have in force on the day before it
begins, or failing that on the day on which it begins. Entries that are held themselves are passed over, so that a
wrong price neither excuses the next one nor accuses the one that puts it right.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from fractions import Fraction
from typing import Final, Protocol

from costledger.producers.prices.entries import BookFile, Followed, Held, PriceEntry
from costledger.producers.prices.index import EntryIndex
from costledger.producers.prices.rates import Rate, decimal_text

#: A price may be this many times the one before it, and no less than this part of it.
JUMP_FACTOR_MAX: Final = 10
_ONE_DAY: Final = timedelta(days=1)


class ModelPrices(Protocol):
    """What is known of language models besides files: the rate and the version of its price, on a day."""

    def __call__(
        self, service: str, operation: str, unit: str, model: str | None, day: date
    ) -> tuple[Rate, str] | None:
        """None where it is not known."""
        ...


def hold_jumps(book: BookFile, below: EntryIndex, models: ModelPrices) -> BookFile:
    """The file with those entries marked as held whose price jumps and that nobody has reviewed."""
    entries = list(book.entries)
    latest: dict[tuple[str, str, str, str], PriceEntry] = {}
    for position in sorted(range(len(entries)), key=lambda i: entries[i].effective_from):
        entry = entries[position]
        if entry.reviewed is None:
            before = latest.get(entry.key)
            held = _held(entry, [(entry.unit, _followed(before))] if before else _replaced(entry, below, models))
            if held is not None:
                entries[position] = replace(entry, held=held)
                continue
        latest[entry.key] = entry
    return replace(book, entries=tuple(entries))


def _replaced(entry: PriceEntry, below: EntryIndex, models: ModelPrices) -> Iterator[tuple[str, Followed]]:
    """What lies below the first entry of a file, each with the unit in which both count."""
    days = [entry.effective_from]
    if entry.effective_from > date.min:
        days.insert(0, entry.effective_from - _ONE_DAY)
    for operation, model in below.covered_by(entry):
        for unit in (entry.unit, *entry.counted_in):
            for day in days:
                found = below.entry_at(entry.service, operation, day, unit, model)
                if found is not None:
                    yield unit, _followed(found) if found.held is None else found.held.followed
                    break
                known = models(entry.service, operation, unit, model, day)
                if known is not None:
                    rate, version = known
                    yield unit, Followed(unit, Fraction(rate.text), {}, version)
                    break


def _held(entry: PriceEntry, all_followed: list[tuple[str, Followed]] | Iterator[tuple[str, Followed]]) -> Held | None:
    for unit, followed in all_followed:
        now = _followed(entry)
        pairs = [("price", now.usd_per(unit), followed.usd_per(unit))]
        for name in sorted({*now.additions, *followed.additions}):
            zero = Fraction(0)
            pairs.append((f"additions.{name}", now.additions.get(name, zero), followed.additions.get(name, zero)))
        for field, price, before in pairs:
            if _jumps(price, before):
                counted = f"USD per {unit}" if field == "price" else "USD"
                limit = f"{_limit(before)}, since it follows {_text(before)} ({followed.place})"
                return Held(field, f"{field} is {_text(price)} {counted}; it must be {limit}", followed)
    return None


def _jumps(price: Fraction, before: Fraction) -> bool:
    low, high = sorted((price, before))
    return high > JUMP_FACTOR_MAX * low


def _limit(before: Fraction) -> str:
    """In words: what may follow a price without review."""
    if not before:
        return "0"
    return f"from {_text(before / JUMP_FACTOR_MAX)} to {_text(before * JUMP_FACTOR_MAX)}"


def _text(price: Fraction) -> str:
    return decimal_text(price) or str(price)


def _followed(entry: PriceEntry) -> Followed:
    additions = {addition.metadata: Fraction(addition.rate.text) for addition in entry.additions}
    place = f"{entry.file}, entry {entry.number} from {entry.effective_from}"
    return Followed(entry.unit, Fraction(entry.rate.text), additions, place, entry.counted_in)
