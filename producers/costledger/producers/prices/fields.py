"""Typed fields out of one table of a price file; every error names file, entry, field, value and limit."""

from __future__ import annotations

import re
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final, TypeVar

from costledger.producers.prices.finding import Finding, PriceFileError
from costledger.producers.prices.rates import Rate, rate_of
from costledger.schemas.errors import shown
from costledger.schemas.events import PRICE_CHARACTERS_MAX

T = TypeVar("T")

#: USD for one unit; a price above this is a slip of the keyboard.
PRICE_USD_MAX: Final = Decimal(1_000_000)
PER_MAX: Final = 10**12
_DECIMALS_MAX: Final = 30
# Plainer than what Decimal takes: no underscores, spaces, signs, nor digits of other scripts. Exponents are bounded
# so that a price can be written out.
_MONEY: Final = re.compile(r"[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]{1,3})?")
_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


class FieldReader:
    """Takes typed fields out of a table; every error names the place, the field, the value and the limit."""

    def __init__(self, file: str, number: int | None) -> None:
        self.file: Final = file
        self.number: Final = number

    def error(self, field: str, value: object, limit: str) -> PriceFileError:
        """The error for one field."""
        message = f"{field} is {shown(value)}; it must be {limit}"
        return PriceFileError([Finding("error", self.file, message, self.number, field)])

    def table(self, value: object) -> dict[str, Any]:
        """The value, which must be a table."""
        if not isinstance(value, dict):
            message = f"{shown(value)} must be a table"
            raise PriceFileError([Finding("error", self.file, message, self.number)])
        return value

    def refuse_unknown(self, table: dict[str, Any], known: frozenset[str]) -> None:
        """Refuse a misspelt field."""
        for name in table:
            if name not in known:
                raise self.error("a field", name, f"one of {', '.join(sorted(known))}")

    def text(self, table: dict[str, Any], field: str, characters_max: int) -> str:
        """Text that is there, printable and not empty."""
        value = table.get(field)
        if not isinstance(value, str) or not 0 < len(value) <= characters_max or not value.isprintable():
            raise self.error(field, value, f"text of 1 to {characters_max} printable characters")
        return value

    def texts(self, table: dict[str, Any], field: str, characters_max: int) -> list[str]:
        """A list of at least one such text."""
        values = table.get(field)
        if not isinstance(values, list) or not values:
            raise self.error(field, values, "a list of texts")
        return [self.text({field: value}, field, characters_max) for value in values]

    def optional(self, table: dict[str, Any], field: str, kind: type[T], default: T) -> T:
        """A value of one type, or the default where the field is not there."""
        value = table.get(field, default)
        if not isinstance(value, kind):
            raise self.error(field, value, f"of type {kind.__name__}")
        return value

    def day(self, table: dict[str, Any], field: str) -> date:
        """A day: TOML's own type, or text such as 2026-11-23."""
        value = table.get(field)
        if isinstance(value, str) and _DAY.fullmatch(value):
            try:
                return date.fromisoformat(value)
            except ValueError:
                pass  # no such day: refused below
        if not isinstance(value, date) or isinstance(value, datetime):
            raise self.error(field, value, "a day such as 2026-11-23")
        return value

    def count(self, table: dict[str, Any], field: str) -> int:
        """A whole number of units."""
        value = table[field]
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= PER_MAX:
            raise self.error(field, value, f"a whole number from 1 to {PER_MAX}")
        return value

    def rate(self, table: dict[str, Any], per: int) -> Rate:
        """The field `price`, USD for `per` units."""
        text = table.get("price")
        limit = f"decimal text from 0 to {PRICE_USD_MAX} USD"
        if not isinstance(text, str):
            raise self.error("price", text, f"{limit}, in quotes")
        if len(text) > PRICE_CHARACTERS_MAX or not _MONEY.fullmatch(text):
            raise self.error("price", text, limit)
        price = Decimal(text)
        # Zero or a sensible number of digits, so that the price can be written out.
        if price > PRICE_USD_MAX or (price and price.adjusted() < -_DECIMALS_MAX):
            raise self.error("price", text, limit)
        rate = rate_of(price, per)
        if rate is None or len(rate.text) > PRICE_CHARACTERS_MAX:
            raise self.error("price", f"{text} per {per}", "USD per unit with an end as a decimal")
        return rate
