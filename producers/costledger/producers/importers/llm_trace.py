"""A trace of requests to a language model -> cost events: CSV `TIMESTAMP,ContextTokens,GeneratedTokens`.

Row i (from 0) belongs to the user `user-{i % users:04d}` and makes two events, `input-tokens` and
`output-tokens` (and `requests`, where the model has a fee for each), at the price of the model at the event's
time: after `shift_to`, if that is given, since the events then say that they happened then.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from importlib.resources import as_file, files
from pathlib import Path
from typing import Final

from costledger.producers.importers.rows import Row, file_digest, read_rows, shift_us
from costledger.producers.prices.book import PriceBook
from costledger.producers.prices.tokens import TOKENS_MAX
from costledger.schemas.errors import InvalidValue
from costledger.schemas.events import CostEvent
from costledger.schemas.ids import derived_event_id
from costledger.schemas.times import from_microseconds

_TIME: Final = "TIMESTAMP"
_CONTEXT: Final = "ContextTokens"
_GENERATED: Final = "GeneratedTokens"
_COLUMN_OF_FIELD: Final = {"occurred_at": _TIME}
USERS_DEFAULT: Final = 100
USERS_MAX: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class LlmTrace:
    """A trace that was read through once and found right; `events` reads it again.

    `rows` and `unpriced` (events without a known price) are of the whole file; `shift_us` is added to every time.
    """

    path: Path
    model: str
    provider: str
    users: int
    source: str
    book: PriceBook
    digest: bytes
    shift_us: int
    rows: int
    unpriced: int

    def events(self) -> Iterator[CostEvent]:
        """The events in the order of the file."""
        for row in read_rows(self.path, (_TIME, _CONTEXT, _GENERATED)):
            yield from _events_of(row, self)


def read_trace(
    path: Path,
    model: str,
    *,
    provider: str = "openai",
    users: int = USERS_DEFAULT,
    shift_to: datetime | None = None,
    source: str = "import-llm-trace",
    book: PriceBook | None = None,
) -> LlmTrace:
    """Read a trace through and check every row before any event is made.

    Raises `ImportRowError` naming file, line, column, value and limit, `InvalidValue` for the arguments,
    `OSError` where the file cannot be read.
    """
    if not 1 <= users <= USERS_MAX:
        raise InvalidValue("users", users, f"from 1 to {USERS_MAX}")
    times = [row.time_us(_TIME) for row in read_rows(path, (_TIME, _CONTEXT, _GENERATED))]
    moved_us = shift_us(max(times, default=None), shift_to)
    used = PriceBook.load() if book is None else book
    trace = LlmTrace(path, model, provider, users, source, used, file_digest(path), moved_us, len(times), 0)
    unpriced = sum(event.amount is None for event in trace.events())
    return LlmTrace(path, model, provider, users, source, used, trace.digest, moved_us, len(times), unpriced)


def sample_trace() -> AbstractContextManager[Path]:
    """The 600 rows of a production trace that costledger ships (see data/ATTRIBUTION.md), as a file."""
    return as_file(files("costledger.producers") / "data" / "azure_llm_trace_code_sample.csv")


def _events_of(row: Row, trace: LlmTrace) -> Iterator[CostEvent]:
    occurred_at_us = row.time_us(_TIME) + trace.shift_us
    context, generated = _tokens(row, _CONTEXT), _tokens(row, _GENERATED)
    charges = trace.book.price_chat(trace.provider, trace.model, context, generated, 0, occurred_at_us)
    metadata = trace.book.chat_metadata(trace.provider, trace.model, context, occurred_at_us)
    for charge in charges:
        arguments = (trace.provider, trace.model, str(trace.users))
        event = CostEvent(
            event_id=derived_event_id(
                occurred_at_us, "llm-trace", trace.digest, str(row.index), *arguments, charge.operation
            ),
            user_id=f"user-{row.index % trace.users:04d}",
            service=trace.provider,
            operation=charge.operation,
            quantity=charge.priced.quantity_nanounits,
            unit=charge.priced.unit or "token",
            unit_price=charge.priced.unit_price,
            price_version=charge.priced.price_version,
            amount=charge.priced.amount_picodollars,
            occurred_at=from_microseconds(occurred_at_us),
            source=trace.source,
            metadata=metadata,
        )
        yield row.checked(event, _COLUMN_OF_FIELD)


def _tokens(row: Row, column: str) -> int:
    text = row.required(column)
    if not (text.isascii() and text.isdigit()) or len(text) > 12:
        raise row.error(column, text, "a whole number of tokens")
    if int(text) > TOKENS_MAX:
        raise row.error(column, text, f"at most {TOKENS_MAX} tokens")
    return int(text)
