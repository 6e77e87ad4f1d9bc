"""What work will probably cost, before it is paid: line items from the price book, in 1e-12 USD.

A quantity is a fraction until it becomes a line item: then it is rounded to 1e-9 units, as the ledger records
it, and its amount once to 1e-12 USD, half to even. Prices come from the price book alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from typing import Final

from costledger.producers.prices.book import MODEL_KEY, PriceBook
from costledger.producers.prices.rates import divided_half_even
from costledger.schemas.errors import InvalidValue, PriceError
from costledger.schemas.money import NANOUNITS_PER_UNIT, QUANTITY_NANOUNITS_MAX, from_nanounits, usd_text
from costledger.schemas.times import to_microseconds

_NO_METADATA: Final[Mapping[str, str]] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class LineItem:
    """One kind of paid call within an estimate, as the event of it would be.

    `quantity` is in 1e-9 of `unit` (None: neither the caller nor the price book names one), `unit_price` is USD
    per unit as decimal text, `amount` 1e-12 USD; amount None means that the price is not known.
    """

    service: str
    operation: str
    quantity: int
    unit: str | None
    unit_price: str | None
    amount: int | None
    price_version: str | None
    #: Of a request to a language model.
    model: str | None = None

    @property
    def units(self) -> Decimal:
        """The quantity in units."""
        return from_nanounits(self.quantity)

    @property
    def label(self) -> str:
        """The item in words, for messages."""
        number = f"{self.units:f}".rstrip("0").rstrip(".")  # always nine decimals
        model = "" if self.model is None else f" of {self.model}"
        return f"{number} {self.unit or 'units'} of {self.service}/{self.operation}{model}"


@dataclass(frozen=True, slots=True)
class Estimate:
    """Line items, and in words what was assumed (`notes`)."""

    items: tuple[LineItem, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def known(self) -> int:
        """The sum of what has a price, in 1e-12 USD: the cost *at least*, and all of it where `is_complete`."""
        return sum(item.amount for item in self.items if item.amount is not None)

    @property
    def unpriced(self) -> tuple[LineItem, ...]:
        """The items without a known price."""
        return tuple(item for item in self.items if item.amount is None)

    @property
    def is_complete(self) -> bool:
        """True where every item has a price."""
        return all(item.amount is not None for item in self.items)

    @property
    def total(self) -> int:
        """The cost in 1e-12 USD; raises `PriceError` naming the items without a price, which are never 0.

        What cannot be told in full cannot be reserved as if it were: use `known` where "at least" will do.
        """
        if not self.is_complete:
            raise PriceError(f"the cost is not known, {self.text}")
        return self.known

    @property
    def text(self) -> str:
        """The estimate in words: `0.25 USD`, or `at least 0.25 USD: no price for ...`."""
        if self.is_complete:
            return f"{usd_text(self.known)} USD"
        return f"at least {usd_text(self.known)} USD: no price for {', '.join(item.label for item in self.unpriced)}"

    def __add__(self, other: Estimate) -> Estimate:
        """Both together; what both assume is said once."""
        notes = self.notes + tuple(note for note in other.notes if note not in self.notes)
        return Estimate(self.items + other.items, notes)


def line_item(
    book: PriceBook,
    at: datetime,
    service: str,
    operation: str,
    quantity: Fraction | int,
    *,
    unit: str | None = None,
    metadata: Mapping[str, str] = _NO_METADATA,
) -> LineItem:
    """The price of a quantity (in units, exact) at a time; `unit` and `metadata` as `PriceBook.price` takes them.

    `InvalidValue` for a quantity below 0 or beyond what one event may hold.
    """
    exact = Fraction(quantity) * NANOUNITS_PER_UNIT
    nanounits = divided_half_even(exact.numerator, exact.denominator)
    if not 0 <= nanounits <= QUANTITY_NANOUNITS_MAX:
        raise InvalidValue("quantity", quantity, f"from 0 to {QUANTITY_NANOUNITS_MAX // NANOUNITS_PER_UNIT} units")
    priced = book.price_nanounits(service, operation, nanounits, to_microseconds(at), unit, metadata)
    return LineItem(
        service=service,
        operation=operation,
        quantity=priced.quantity_nanounits,
        unit=priced.unit,
        unit_price=priced.unit_price,
        amount=priced.amount_picodollars,
        price_version=priced.price_version,
        model=metadata.get(MODEL_KEY),
    )


def chat_items(
    book: PriceBook,
    at: datetime,
    provider: str,
    model: str,
    input_tokens: int,
    output_tokens: int,
    cached_input_tokens: int = 0,
) -> tuple[LineItem, ...]:
    """The charges of one request to a language model, one item for each kind; `input_tokens` includes the cached ones."""
    charges = book.price_chat(provider, model, input_tokens, output_tokens, cached_input_tokens, to_microseconds(at))
    return tuple(
        LineItem(
            service=provider,
            operation=charge.operation,
            quantity=charge.priced.quantity_nanounits,
            unit=charge.priced.unit,
            unit_price=charge.priced.unit_price,
            amount=charge.priced.amount_picodollars,
            price_version=charge.priced.price_version,
            model=model,
        )
        for charge in charges
    )
