"""The price book as pages: which prices were in force at a time. Pure but for what it remembers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from functools import lru_cache
from typing import Final, NamedTuple

from costledger.producers.prices import PriceBook, PriceRow, list_prices, show_price
from costledger.producers.prices.book import EMBEDDING_PREFIX, REQUESTS
from costledger.producers.prices.tokens import (
    AUDIO_INPUT_TOKENS,
    AUDIO_OUTPUT_TOKENS,
    CACHE_WRITE_1H_TOKENS,
    CACHE_WRITE_TOKENS,
    CACHED_AUDIO_INPUT_TOKENS,
    CACHED_INPUT_TOKENS,
    IMAGE_INPUT_TOKENS,
    INPUT_TOKENS,
    OUTPUT_TOKENS,
    REASONING_TOKENS,
)
from costledger.producers.services import OPENAI

#: What is asked for of a language model: the kinds of its charges.
MODEL_OPERATIONS: Final = (
    INPUT_TOKENS,
    CACHED_INPUT_TOKENS,
    CACHE_WRITE_TOKENS,
    CACHE_WRITE_1H_TOKENS,
    AUDIO_INPUT_TOKENS,
    CACHED_AUDIO_INPUT_TOKENS,
    IMAGE_INPUT_TOKENS,
    OUTPUT_TOKENS,
    AUDIO_OUTPUT_TOKENS,
    REASONING_TOKENS,
    REQUESTS,
)
#: Days whose prices are remembered: a book of 20,000 entries takes some ten milliseconds to go through.
_DAYS_MAX: Final = 32


class PriceKey(NamedTuple):
    """Where a price stands in the list: lists are in this order, and pages begin after one."""

    service: str
    operation: str
    model: str
    unit: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PriceFilter:
    """What is asked for; None is anything. With a `model`, what is known of language models is listed too."""

    service: str | None = None
    operation: str | None = None
    model: str | None = None
    unit: str | None = None

    def admits(self, row: PriceRow) -> bool:
        """Is this price asked for?"""
        return (
            self.service in (None, row.service)
            and self.operation in (None, row.operation)
            and self.model in (None, row.model)
            and self.unit in (None, row.unit)
        )


class PriceList:
    """The prices of a book; safe to share between threads."""

    def __init__(self, book: PriceBook) -> None:
        self.book: Final = book
        self._of_day = lru_cache(_DAYS_MAX)(self._list_day)

    def page(
        self, at: datetime, asked: PriceFilter, after: PriceKey | None, rows_max: int
    ) -> tuple[list[PriceRow], PriceKey | None]:
        """At most `rows_max` prices after a key, and the key to go on after; None where that was all."""
        rows = [row for row in self._rows(at, asked) if after is None or key_of(row) > after]
        page = rows[:rows_max]
        return page, key_of(page[-1]) if len(rows) > rows_max else None

    def _rows(self, at: datetime, asked: PriceFilter) -> list[PriceRow]:
        day = at.astimezone(UTC).date()
        found = {key_of(row): row for row in self._of_day(day) if asked.admits(row)}
        if asked.model is not None:
            for row in self._of_model(at, asked, asked.model):
                found.setdefault(key_of(row), row)
        return [found[key] for key in sorted(found)]

    def _of_model(self, at: datetime, asked: PriceFilter, model: str) -> list[PriceRow]:
        """What would be charged for a model: by entries for all models, or by what the library knows of it."""
        service = asked.service or OPENAI
        operations = (*MODEL_OPERATIONS, EMBEDDING_PREFIX + model) if asked.operation is None else (asked.operation,)
        rows = [show_price(self.book, service, operation, at, unit=asked.unit, model=model) for operation in operations]
        return [row for row in rows if row is not None]

    def _list_day(self, day: date) -> Sequence[PriceRow]:
        return tuple(list_prices(self.book, datetime.combine(day, time(), UTC)))


def key_of(row: PriceRow) -> PriceKey:
    """The key of a price."""
    return PriceKey(row.service, row.operation, row.model or "", row.unit)
