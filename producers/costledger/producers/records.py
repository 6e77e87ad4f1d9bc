"""From the arguments of a tracking call to the record of an event: pure functions, no Kafka.

Quantities are measurements: int, Decimal, decimal text, or float (taken at its shortest decimal form, so that
2.5 is 2.5), rounded to 1e-9 units. Money is exact: int, Decimal or decimal text, never float.
"""

from __future__ import annotations

import operator
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from costledger.producers.prices.book import PriceBook
from costledger.producers.prices.rates import Priced, Rate, rate_of
from costledger.producers.prices.tokens import AUDIO_OUTPUT_TOKENS, COUNTS, OUTPUT_TOKENS, REASONING_TOKENS, TokenUsage
from costledger.schemas.errors import InvalidEvent
from costledger.schemas.events import Category, EventRecord, check_event
from costledger.schemas.ids import derived_event_id, event_id_milliseconds, new_event_id, new_event_id_text
from costledger.schemas.money import NANOUNITS_PER_UNIT, exact_decimal, round_to_nanounits, to_picodollars
from costledger.schemas.times import to_microseconds

#: What an event counts when neither the caller nor the price book says.
UNKNOWN_UNIT: Final = "unit"
#: Numbers that prices depend on besides the quantity, in the event's metadata.
CHARGE_USD_KEY: Final = "charge_usd"
MEMORY_GB_HOURS_KEY: Final = "memory_gb_hours"
CHARACTERS_KEY: Final = "characters"
#: Part of the output, told in its metadata; a charge of its own only where the model prices it apart.
REASONING_TOKENS_KEY: Final = "reasoning_tokens"

Quantity = int | float | Decimal | str
Exact = int | Decimal | str
Metadata = Mapping[str, Any]
#: The one count that a provider may leave out.
_MAY_BE_UNKNOWN: Final = "cached_audio_input_tokens"
_NO_METADATA: Final[Metadata] = {}
_PLAIN_TYPES: Final = (bool, int, float, Decimal, UUID, date, datetime)


@dataclass(slots=True, kw_only=True)
class Draft:
    """The arguments of one tracking call, unchecked.

    `measures` are numbers that go into the metadata because a price depends on them. `used`: the quantity is of
    something that was used, so it is never negative.
    """

    user_id: str
    service: str
    operation: str
    quantity: Quantity
    unit: str | None = None
    unit_price: Exact | None = None
    amount: Exact | None = None
    category: str = Category.USAGE
    occurred_at: datetime | None = None
    metadata: Metadata | None = None
    event_id: UUID | str | None = None
    reverses_event_id: UUID | str | None = None
    measures: Mapping[str, Any] = field(default_factory=dict)
    used: bool = False


@dataclass(slots=True, kw_only=True)
class ChatDraft:
    """The arguments of tracking one request to a language model, unchecked.

    The counts mean what they mean in `TokenUsage`: parts are included in their wholes. `response_id` makes the
    call repeatable: the ids of the events are then derived from provider, response, time and kind of charge.
    `output_metadata` is for the event of the output alone, where a sum over the request's events would repeat it.
    """

    user_id: str
    provider: str
    model: str
    input_tokens: int
    output_tokens: int
    cached_input_tokens: int = 0
    cache_write_tokens: int = 0
    cache_write_1h_tokens: int = 0
    cache_write_12h_tokens: int = 0
    audio_input_tokens: int = 0
    cached_audio_input_tokens: int | None = None
    image_input_tokens: int = 0
    audio_output_tokens: int = 0
    reasoning_tokens: int = 0
    service_tier: str | None = None
    response_id: str | None = None
    occurred_at: datetime | None = None
    metadata: Metadata | None = None
    output_metadata: Metadata | None = None


def build_record(draft: Draft, book: PriceBook, source: str) -> tuple[UUID, EventRecord]:
    """The id and the record of an event, priced; raises `InvalidValue` for what cannot be a record at all.

    The bounds of the fields are checked where the record is encoded.
    """
    occurred_at_us = _occurred_at_us(draft)
    if draft.event_id is None:
        event_id, id_text = new_event_id_text(occurred_at_us)
    else:
        event_id = _uuid(draft.event_id, "event_id")
        id_text = str(event_id)
    if not isinstance(draft.service, str):
        raise InvalidEvent("service", draft.service, "text")
    if not isinstance(draft.operation, str):
        raise InvalidEvent("operation", draft.operation, "text")
    metadata = metadata_text(draft.metadata)
    for name, value in draft.measures.items():
        metadata[name] = _measure_text(name, value)
    nanounits = nanounits_of(draft.quantity)
    if draft.used and nanounits < 0:
        raise InvalidEvent("quantity", draft.quantity, "0 or more")
    priced = _priced(draft, nanounits, occurred_at_us, metadata, book)
    reverses = draft.reverses_event_id
    return event_id, event_record(
        id_text,
        draft.user_id,
        draft.service,
        draft.operation,
        str(draft.category),
        priced,
        occurred_at_us,
        source,
        None if reverses is None else str(_uuid(reverses, "reverses_event_id")),
        metadata,
    )


def build_chat_records(draft: ChatDraft, book: PriceBook, source: str) -> list[tuple[UUID, EventRecord]]:
    """The records of one request to a language model, one for each kind of charge; raises `InvalidValue`."""
    occurred_at_us = caller_clock_us() if draft.occurred_at is None else to_microseconds(draft.occurred_at)
    for name in ("provider", "model"):
        if not isinstance(getattr(draft, name), str):
            raise InvalidEvent(name, getattr(draft, name), "text")
    for name in ("service_tier", "response_id"):
        if not (getattr(draft, name) is None or isinstance(getattr(draft, name), str)):
            raise InvalidEvent(name, getattr(draft, name), "text or None")
    usage = _usage(draft)
    charges = book.price_usage(draft.provider, draft.model, usage, occurred_at_us, draft.service_tier)
    needed = book.chat_metadata(draft.provider, draft.model, usage.input_tokens, occurred_at_us)
    metadata = {**metadata_text(draft.metadata), **needed}
    output_metadata = {**metadata, **metadata_text(draft.output_metadata)}
    if usage.reasoning_tokens:
        output_metadata[REASONING_TOKENS_KEY] = str(usage.reasoning_tokens)
    output = _operation_of_output([charge.operation for charge in charges], draft.service_tier)
    records = []
    for charge in charges:
        event_id = _chat_event_id(draft, charge.operation, occurred_at_us)
        record = event_record(
            str(event_id),
            draft.user_id,
            draft.provider,
            charge.operation,
            Category.USAGE.value,
            charge.priced,
            occurred_at_us,
            source,
            None,
            output_metadata if charge.operation == output else metadata,
        )
        records.append((event_id, record))
    # Here and all of them: some of a request's events without the others would be a wrong price for it.
    for _, record in records:
        check_event(record)
    return records


def event_record(
    event_id: str,
    user_id: str,
    service: str,
    operation: str,
    category: str,
    priced: Priced,
    occurred_at_us: int,
    source: str,
    reverses_event_id: str | None,
    metadata: dict[str, str],
) -> EventRecord:
    """The record of an event from its parts, unchecked."""
    return {
        "event_id": event_id,
        "user_id": user_id,
        "service": service,
        "operation": operation,
        "category": category,
        "quantity": priced.quantity_nanounits,
        "unit": priced.unit or UNKNOWN_UNIT,
        "unit_price": priced.unit_price,
        "price_version": priced.price_version,
        "amount": priced.amount_picodollars,
        "currency": "USD",
        "occurred_at": occurred_at_us,
        "source": source,
        "reverses_event_id": reverses_event_id,
        "metadata": metadata,
    }


def nanounits_of(quantity: object) -> int:
    """A quantity in units as an integer of 1e-9 units; raises `InvalidValue`."""
    if type(quantity) is int:
        nanounits: int = quantity * NANOUNITS_PER_UNIT
        return nanounits
    return round_to_nanounits(number_of(quantity, "quantity"))


def number_of(value: object, name: str) -> Decimal:
    """A measured number as a Decimal; a float at its shortest decimal form. Raises `InvalidValue`."""
    if isinstance(value, float):
        return exact_decimal(float.__repr__(value), name)
    if isinstance(value, (Decimal, str)):
        return exact_decimal(value, name)
    return Decimal(whole_number(value, name))


def whole_number(value: object, name: str) -> int:
    """A whole number of any integer type (also numpy's), not a bool; raises `InvalidEvent`."""
    if not isinstance(value, bool):
        try:
            return operator.index(value)  # type: ignore[arg-type]  # what has no __index__ raises TypeError
        except TypeError:
            pass
    raise InvalidEvent(name, value, "a number")


def metadata_text(metadata: Metadata | None) -> dict[str, str]:
    """Metadata as the contract wants it: text, with plain values written out and None left out.

    Raises `InvalidEvent` for what is no mapping, and for values such as lists, whose text would be nobody's
    format.
    """
    if not metadata and (metadata is None or isinstance(metadata, Mapping)):
        return {}
    if not isinstance(metadata, Mapping):
        raise InvalidEvent("metadata", metadata, "a map of strings")
    texts = {}
    for key, value in metadata.items():
        if isinstance(value, str):
            texts[key] = value
        elif isinstance(value, _PLAIN_TYPES):
            texts[key] = str(value)
        elif value is not None:
            raise InvalidEvent(f"metadata[{key!r}]", value, "text or a plain value")
    return texts


def caller_clock_us() -> int:
    """Now, in Unix microseconds."""
    return time.time_ns() // 1000


def _occurred_at_us(draft: Draft) -> int:
    """The caller's time, else the time in the caller's event id, else now."""
    if draft.occurred_at is not None:
        if not isinstance(draft.occurred_at, datetime):
            raise InvalidEvent("occurred_at", draft.occurred_at, "a datetime with a UTC offset")
        return to_microseconds(draft.occurred_at)
    if draft.event_id is not None:
        return event_id_milliseconds(_uuid(draft.event_id, "event_id")) * 1000
    return caller_clock_us()


def _uuid(value: UUID | str, name: str) -> UUID:
    if isinstance(value, UUID):
        return value
    try:
        return UUID(value)
    except (ValueError, TypeError, AttributeError):
        raise InvalidEvent(name, value, "a UUID") from None


def _usage(draft: ChatDraft) -> TokenUsage:
    """The counts of a request, each a whole number of tokens of 0 or more."""
    counts: dict[str, int | None] = {}
    for name in COUNTS:
        value = getattr(draft, name)
        counts[name] = None if value is None and name == _MAY_BE_UNKNOWN else _tokens(value, name)
    return TokenUsage(**counts)  # type: ignore[arg-type]  # None for that one count alone


def _tokens(value: object, name: str) -> int:
    tokens: int = value if type(value) is int else whole_number(value, name)
    if tokens < 0:
        raise InvalidEvent(name, tokens, "0 or more")
    return tokens


def _chat_event_id(draft: ChatDraft, operation: str, occurred_at_us: int) -> UUID:
    if draft.response_id is None:
        return new_event_id(occurred_at_us)
    return derived_event_id(occurred_at_us, "response", draft.provider, draft.response_id, operation)


def _operation_of_output(operations: list[str], service_tier: str | None) -> str:
    """The one charge that carries the metadata of the output: the first there is of these."""
    suffix = "" if service_tier is None else f"-{service_tier}"
    candidates = [kind + suffix for kind in (REASONING_TOKENS, OUTPUT_TOKENS, AUDIO_OUTPUT_TOKENS)]
    return next((operation for operation in candidates if operation in operations), operations[-1])


def _measure_text(name: str, value: object) -> str:
    number = exact_decimal(value, name) if name == CHARGE_USD_KEY else number_of(value, name)  # type: ignore[arg-type]  # checked within
    if number < 0:
        raise InvalidEvent(name, value, "0 or more")
    if name == CHARGE_USD_KEY:
        to_picodollars(number, name)
    else:
        round_to_nanounits(number, name)
    return f"{number:f}"


def _priced(draft: Draft, nanounits: int, occurred_at_us: int, metadata: dict[str, str], book: PriceBook) -> Priced:
    """The caller's own amount or unit price, else the price book's."""
    if draft.unit is not None and not isinstance(draft.unit, str):
        raise InvalidEvent("unit", draft.unit, "text")
    if draft.amount is None and draft.unit_price is None:
        return book.price_nanounits(draft.service, draft.operation, nanounits, occurred_at_us, draft.unit, metadata)
    rate = None if draft.unit_price is None else _rate_of(draft.unit_price)
    text = None if rate is None else rate.text
    if draft.amount is not None:
        return Priced(to_picodollars(draft.amount, "amount"), text, None, draft.unit, nanounits)
    amount = None if rate is None else rate.amount(nanounits)
    return Priced(amount, text, None, draft.unit, nanounits)


def _rate_of(unit_price: Exact) -> Rate:
    price = exact_decimal(unit_price, "unit_price")
    if price and not -30 <= price.adjusted() <= 30:
        raise InvalidEvent("unit_price", unit_price, "a price from 1e-30 to 1e30 USD per unit")
    rate = rate_of(price, 1)
    if rate is None:
        raise InvalidEvent("unit_price", unit_price, "a price with at most 30 decimals")
    return rate
