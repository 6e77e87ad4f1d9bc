"""The price book: which price was in force for an operation at a time, and what an event therefore costs.

Entries come from files, later files over earlier ones, all of them over what the genai-prices library knows
of language models. Within a file the most specific entry wins: one for the event's model, then one for the
operation, then one for all operations (`*`) of the service.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime
from fractions import Fraction
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Final

from costledger.producers.prices import llm
from costledger.producers.prices.entries import BookFile, PriceEntry, read_book_file, units_of
from costledger.producers.prices.finding import PriceFileError
from costledger.producers.prices.findings import Finding, find_gaps, find_held, find_overlaps, find_shadowed
from costledger.producers.prices.index import EntryIndex
from costledger.producers.prices.jumps import hold_jumps
from costledger.producers.prices.rates import Priced, Rate, divided_half_even, rounded_up
from costledger.producers.prices.snapshot import find_unknown_snapshot, installed_snapshot
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
    TokenUsage,
)
from costledger.schemas.errors import InvalidValue
from costledger.schemas.money import (
    NANOUNITS_PER_UNIT,
    PICODOLLARS_PER_USD,
    Exact,
    exact_decimal,
    round_to_nanounits,
    round_to_picodollars,
)
from costledger.schemas.times import from_microseconds, to_microseconds

REQUESTS: Final = "requests"
EMBEDDING_PREFIX: Final = "embedding-"
#: Metadata that a price may depend on.
MODEL_KEY: Final = "model"
REQUEST_INPUT_TOKENS_KEY: Final = "request_input_tokens"

_KIND_OF_OPERATION: Final = {
    INPUT_TOKENS: llm.INPUT,
    CACHED_INPUT_TOKENS: llm.CACHED_INPUT,
    CACHE_WRITE_TOKENS: llm.CACHE_WRITE,
    CACHE_WRITE_1H_TOKENS: llm.CACHE_WRITE_1H,
    AUDIO_INPUT_TOKENS: llm.AUDIO_INPUT,
    CACHED_AUDIO_INPUT_TOKENS: llm.CACHED_AUDIO_INPUT,
    IMAGE_INPUT_TOKENS: llm.IMAGE_INPUT,
    OUTPUT_TOKENS: llm.OUTPUT,
    AUDIO_OUTPUT_TOKENS: llm.AUDIO_OUTPUT,
    REASONING_TOKENS: llm.REASONING,
    REQUESTS: llm.REQUEST,
}
_EPOCH_DAY: Final = date(1970, 1, 1)
_DAY_US: Final = 24 * 3600 * 1_000_000
#: Distinct (service, operation, unit, model, day) remembered; a service uses a few dozen at a time.
_RESOLVED_MAX: Final = 4096
_NO_METADATA: Final[Mapping[str, str]] = {}
#: Entries that one warning names.
_HELD_NAMED_MAX: Final = 20

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Charge:
    """One kind of charge of a request to a language model: what becomes one event."""

    operation: str
    quantity: int
    priced: Priced


class PriceBook:
    """Prices by service, operation, unit, model and time. Immutable once loaded; safe to share between threads.

    An entry whose price jumps is held until a person has reviewed it (see `jumps`): what it covers is unpriced.
    """

    def __init__(self, book_files: Sequence[BookFile]) -> None:
        self.llm: Final = llm.LlmPrices()
        checked: list[BookFile] = []
        for book in book_files:
            checked.append(hold_jumps(book, EntryIndex(checked), self._model_price))
        self.files: Final = tuple(checked)
        self._entries: Final = EntryIndex(self.files)
        self._resolve = lru_cache(_RESOLVED_MAX)(self._find_entry)

    @classmethod
    def load(cls, *paths: Path | str) -> PriceBook:
        """The shipped prices with these files over them, the last one on top; raises `PriceError`.

        An overlap within a file is an error; `check` tells what is merely doubtful. Entries held for review are
        logged as a warning.
        """
        book = cls.read(*paths)
        if held := book.held:
            named = "; ".join(f"{entry.file}, entry {entry.number}: {entry.label}" for entry in held[:_HELD_NAMED_MAX])
            more = f"; and {len(held) - _HELD_NAMED_MAX} more" if len(held) > _HELD_NAMED_MAX else ""
            logger.warning(
                "%d price entries are held for review, and what they cover is unpriced (`costledger prices check` "
                "says why): %s%s",
                len(held),
                named,
                more,
            )
        return book

    @classmethod
    def read(cls, *paths: Path | str) -> PriceBook:
        """The same without a word about entries held for review."""
        book_files = [read_book_file(files(__package__) / "shipped.toml")]
        for path in paths:
            known = frozenset(unit for book in book_files for unit in units_of(book))
            book_files.append(read_book_file(Path(path), known))
        if overlaps := [finding for book in book_files for finding in find_overlaps(book)]:
            raise PriceFileError(overlaps)
        return cls(book_files)

    @property
    def held(self) -> list[PriceEntry]:
        """The entries that wait for review."""
        return [entry for book in self.files for entry in book.entries if entry.held is not None]

    @property
    def version(self) -> str:
        """The versions of all sources, the topmost first."""
        return ", ".join([*(book.version for book in reversed(self.files)), self.llm.version])

    def price(
        self,
        service: str,
        operation: str,
        quantity: Exact,
        occurred_at: datetime,
        *,
        unit: str | None = None,
        metadata: Mapping[str, str] = _NO_METADATA,
    ) -> Priced:
        """What `quantity` units cost at a time; unpriced (amount None) where no entry covers it, or a held one does.

        The quantity is rounded to 1e-9 units first, as the ledger records it, and the amount once, half to
        even, to 1e-12 USD. `unit` is what the caller counts: another unit than the entry's is another price,
        never a silent product; None takes the entry's. `InvalidValue` only for a quantity that is no number.
        """
        nanounits = round_to_nanounits(quantity)
        return self.price_nanounits(service, operation, nanounits, to_microseconds(occurred_at), unit, metadata)

    def price_nanounits(
        self,
        service: str,
        operation: str,
        quantity_nanounits: int,
        occurred_at_us: int,
        unit: str | None = None,
        metadata: Mapping[str, str] = _NO_METADATA,
    ) -> Priced:
        """The same for hot paths: the quantity in 1e-9 units, the time in Unix microseconds."""
        model = metadata.get(MODEL_KEY) if metadata else None
        entry = self._resolve(service, operation, unit, model, occurred_at_us // _DAY_US)
        if entry is not None:
            return _priced_by(entry, quantity_nanounits, unit, metadata)
        found = self._llm_rate(service, operation, unit, model, occurred_at_us, metadata)
        if found is None:
            return Priced(None, None, None, unit, quantity_nanounits)
        rate, version, unit_found = found
        return Priced(rate.amount(quantity_nanounits), rate.text, version, unit_found, quantity_nanounits)

    def price_chat(
        self,
        provider: str,
        model: str,
        input_tokens: int,
        output_tokens: int,
        cached_input_tokens: int,
        occurred_at_us: int,
    ) -> list[Charge]:
        """The charges of one request, kinds disjoint: `input_tokens` includes the cached ones, the charges do not.

        The amounts add up to the whole request's price rounded once. Cached tokens are listed when there are
        any, a request fee when the model has one.
        """
        usage = TokenUsage(
            input_tokens=input_tokens, output_tokens=output_tokens, cached_input_tokens=cached_input_tokens
        )
        return self.price_usage(provider, model, usage, occurred_at_us)

    def price_usage(
        self, provider: str, model: str, usage: TokenUsage, occurred_at_us: int, service_tier: str | None = None
    ) -> list[Charge]:
        """The same for all kinds of tokens that a provider reports; raises `InvalidValue` where they overlap.

        Reasoning and images are charges of their own where the model prices them apart. What a `service_tier`
        other than the usual one costs is in no price of the usual one: its operations end in the tier's name,
        for example `input-tokens-priority`, and have the prices that a price book gives them.
        """
        suffix = "" if service_tier is None else f"-{service_tier}"
        quantities = usage.split(*self._apart(provider, model, usage, occurred_at_us, suffix))
        if self.llm.charges_requests(provider, model, occurred_at_us):
            quantities[REQUESTS] = 1
        metadata = {MODEL_KEY: model, REQUEST_INPUT_TOKENS_KEY: str(usage.input_tokens)}
        charges = [
            Charge(
                operation + suffix,
                quantity,
                self.price_nanounits(
                    provider,
                    operation + suffix,
                    quantity * NANOUNITS_PER_UNIT,
                    occurred_at_us,
                    _unit_of(_KIND_OF_OPERATION.get(operation, llm.INPUT)),
                    metadata,
                ),
            )
            for operation, quantity in quantities.items()
        ]
        return _adding_up(charges)

    def chat_metadata(self, provider: str, model: str, input_tokens: int, occurred_at_us: int) -> dict[str, str]:
        """The metadata that an event of this request needs so that its price can be found again."""
        metadata = {MODEL_KEY: model}
        if self.llm.is_tiered(provider, model, occurred_at_us):
            metadata[REQUEST_INPUT_TOKENS_KEY] = str(input_tokens)
        return metadata

    def entry_at(
        self, service: str, operation: str, day: date, unit: str | None = None, model: str | None = None
    ) -> PriceEntry | None:
        """The entry in force on a UTC day, None where no file has one. One that is `held` prices nothing."""
        return self._entries.entry_at(service, operation, day, unit, model)

    def check(self) -> list[Finding]:
        """What is doubtful: jumps held for review, gaps between the prices of an operation, entries that another
        one hides, data of language models that is none of the known snapshots.
        """
        return [
            *(finding for book in self.files for finding in find_held(book)),
            *(finding for book in self.files for finding in find_gaps(book)),
            *find_shadowed(self.files),
            *find_unknown_snapshot(installed_snapshot()),
        ]

    def _find_entry(
        self, service: str, operation: str, unit: str | None, model: str | None, day_number: int
    ) -> PriceEntry | None:
        return self.entry_at(service, operation, from_microseconds(day_number * _DAY_US).date(), unit, model)

    def _model_price(
        self, service: str, operation: str, unit: str, model: str | None, day: date
    ) -> tuple[Rate, str] | None:
        """What is known besides files, at the price for the shortest input."""
        day_us = (day - _EPOCH_DAY).days * _DAY_US
        found = self._llm_rate(service, operation, unit, model, day_us, {REQUEST_INPUT_TOKENS_KEY: "0"})
        return None if found is None else found[:2]

    def _apart(
        self, provider: str, model: str, usage: TokenUsage, occurred_at_us: int, suffix: str
    ) -> tuple[bool, bool, bool]:
        """Whether images, reasoning and what was read from the cache are priced apart; asked where it matters."""

        def priced(operation: str) -> bool:
            return self._prices_apart(provider, model, operation, occurred_at_us, suffix)

        media = usage.audio_input_tokens or usage.image_input_tokens
        return (
            bool(usage.image_input_tokens) and priced(IMAGE_INPUT_TOKENS),
            bool(usage.reasoning_tokens) and priced(REASONING_TOKENS),
            bool(usage.cached_input_tokens and media)
            and (priced(CACHED_INPUT_TOKENS) or priced(CACHED_AUDIO_INPUT_TOKENS)),
        )

    def _prices_apart(self, provider: str, model: str, operation: str, occurred_at_us: int, suffix: str) -> bool:
        """Has a file of the book, or for the usual tier the library, a price for this very operation of the model?"""
        entry = self._resolve(provider, operation + suffix, llm.TOKEN, model, occurred_at_us // _DAY_US)
        if entry is not None and entry.operation == operation + suffix:
            return True
        return not suffix and self.llm.prices_apart(provider, model, _KIND_OF_OPERATION[operation], occurred_at_us)

    def _llm_rate(
        self,
        service: str,
        operation: str,
        unit: str | None,
        model: str | None,
        occurred_at_us: int,
        metadata: Mapping[str, str],
    ) -> tuple[Rate, str, str] | None:
        kind = _KIND_OF_OPERATION.get(operation)
        if kind is None and operation.startswith(EMBEDDING_PREFIX):
            kind, model = llm.INPUT, operation.removeprefix(EMBEDDING_PREFIX)
        if kind is None or model is None or unit not in (None, _unit_of(kind)):
            return None
        whole_input = metadata.get(REQUEST_INPUT_TOKENS_KEY) if metadata else None
        tokens = int(whole_input) if whole_input is not None and whole_input.isdecimal() else None
        found = self.llm.rate(service, model, kind, occurred_at_us, tokens)
        return None if found is None else (*found, _unit_of(kind))


def _unit_of(kind: str) -> str:
    return "request" if kind == llm.REQUEST else llm.TOKEN


def _priced_by(entry: PriceEntry, counted: int, unit: str | None, metadata: Mapping[str, str]) -> Priced:
    if entry.held is not None:  # as it was counted, so that it can be rated whatever the review decides
        return Priced(None, None, None, unit or entry.unit, counted)
    quantity = _charged_quantity(entry, counted, unit)
    if quantity is None:
        return Priced(None, None, None, unit, counted)
    if not entry.additions:
        return Priced(entry.rate.amount(quantity), entry.rate.text, entry.version, entry.unit, quantity)
    exact = entry.rate.exact_amount(quantity)
    for addition in entry.additions:
        if addition.metadata not in metadata and not addition.required:
            continue
        number = _number_of(metadata.get(addition.metadata))
        if number is None:
            return Priced(None, None, None, entry.unit, quantity)
        exact += number * NANOUNITS_PER_UNIT * Fraction(addition.rate.numerator, addition.rate.denominator)
    amount = divided_half_even(exact.numerator, exact.denominator)
    return Priced(amount, None, entry.version, entry.unit, quantity)


def _charged_quantity(entry: PriceEntry, counted: int, unit: str | None) -> int | None:
    """What was counted, in the entry's own unit (1e-9 units); None where that has no end as a decimal."""
    divisor = 1 if unit is None else entry.counted_in.get(unit, 1)
    if entry.rounded_up:
        return rounded_up(counted, divisor)
    quantity, rest = divmod(counted, divisor)
    return None if rest else quantity


def _number_of(text: str | None) -> Fraction | None:
    """A number from an event's metadata, None where it is none (a wrong one must not count as zero)."""
    if text is None:
        return None
    try:
        number = exact_decimal(text, "metadata")
        round_to_picodollars(number)
    except InvalidValue:
        return None
    return Fraction(number)


def _adding_up(charges: list[Charge]) -> list[Charge]:
    """Give what rounding each charge took from or added to the whole to the largest charge.

    Only unit prices with more than 12 decimals are rounded at all; nearly all requests leave at the first line.
    """
    prices = [charge.priced.unit_price for charge in charges]
    if all(price is None or len(price.partition(".")[2]) <= 12 for price in prices):
        return charges
    exact, rounded = Fraction(0), 0
    for charge, price in zip(charges, prices, strict=True):
        if price is None or charge.priced.amount_picodollars is None:
            return charges
        exact += Fraction(price) * charge.quantity * PICODOLLARS_PER_USD
        rounded += charge.priced.amount_picodollars
    rest = divided_half_even(exact.numerator, exact.denominator) - rounded
    largest = max(range(len(charges)), key=lambda index: charges[index].priced.amount_picodollars or 0)
    priced = charges[largest].priced
    corrected = priced._replace(amount_picodollars=(priced.amount_picodollars or 0) + rest)
    return [replace(charge, priced=corrected) if i == largest else charge for i, charge in enumerate(charges)]
