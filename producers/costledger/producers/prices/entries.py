"""The entries of a price book, read from TOML: what they may hold, and errors that name what is wrong."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

from costledger.producers.prices.rates import Rate, rate_of
from costledger.schemas.errors import InvalidValue, PriceError, shown
from costledger.schemas.events import NAME_CHARACTERS_MAX, PRICE_CHARACTERS_MAX, UNIT_CHARACTERS_MAX
from costledger.schemas.money import exact_decimal

T = TypeVar("T")

ANY_OPERATION: Final = "*"
#: USD for one unit; a price above this is a slip of the keyboard.
PRICE_USD_MAX: Final = Decimal(1_000_000)
PER_MAX: Final = 10**12
ENTRIES_MAX: Final = 10_000
VERSION_CHARACTERS_MAX: Final = 100

_BOOK_FIELDS: Final = frozenset({"version", "currency", "units", "price"})
_ENTRY_FIELDS: Final = frozenset(
    {
        "service",
        "operations",
        "model",
        "unit",
        "counted_in",
        "price",
        "per",
        "rounded_up",
        "additions",
        "effective_from",
        "effective_to",
        "source",
    }
)
_ADDITION_FIELDS: Final = frozenset({"metadata", "price", "required"})


class ReadableText(Protocol):
    """A path, or a file within a package."""

    @property
    def name(self) -> str:
        """The last part of the path."""
        ...

    def read_text(self, encoding: str) -> str:
        """The whole text."""
        ...


@dataclass(frozen=True, slots=True)
class Addition:
    """What is charged besides: `rate` times the number that the event's metadata has under `metadata`.

    An event without that number has no price where `required`, else the addition is left out.
    """

    metadata: str
    rate: Rate
    required: bool


@dataclass(frozen=True, slots=True)
class PriceEntry:
    """One price of one operation: in force from `effective_from` up to but not on `effective_to` (UTC days)."""

    service: str
    operation: str
    model: str | None
    unit: str
    counted_in: Mapping[str, int]
    rate: Rate
    rounded_up: bool
    additions: tuple[Addition, ...]
    effective_from: date
    effective_to: date | None
    source: str
    version: str

    def covers(self, day: date) -> bool:
        """Is the price in force on this UTC day?"""
        return self.effective_from <= day and (self.effective_to is None or day < self.effective_to)

    @property
    def label(self) -> str:
        """The entry in words, for messages."""
        model = "" if self.model is None else f" of {self.model}"
        return f"{self.service}/{self.operation}{model} per {self.unit} from {self.effective_from}"


@dataclass(frozen=True, slots=True)
class BookFile:
    """One price file: its name, version, and its entries in the order in which they stand."""

    name: str
    version: str
    entries: tuple[PriceEntry, ...]


def read_book_file(path: ReadableText | Path, known_units: frozenset[str] = frozenset()) -> BookFile:
    """Read one price file; raises `PriceError` naming file, entry, field, value and limit.

    `known_units` are the units of the files below it; a file names the further units it needs in `units`.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise PriceError(f"{path.name} cannot be read as a price book: {error}") from error
    reader = _Reader(path.name, table)
    reader.refuse_unknown(table, _BOOK_FIELDS)
    version = reader.text(table, "version", VERSION_CHARACTERS_MAX)
    if reader.optional(table, "currency", str, "USD") != "USD":
        raise reader.error("currency", table["currency"], "USD")
    units = known_units | frozenset(reader.texts(table, "units", UNIT_CHARACTERS_MAX) if "units" in table else ())
    rows = reader.optional(table, "price", list, [])
    if len(rows) > ENTRIES_MAX:
        raise reader.error("price", f"{len(rows)} entries", f"at most {ENTRIES_MAX} entries")
    entries = [
        entry
        for number, row in enumerate(rows, start=1)
        for entry in _entries(_Reader(f"{path.name}, entry {number}", row), row, version, units)
    ]
    return BookFile(path.name, version, tuple(entries))


def units_of(book: BookFile) -> frozenset[str]:
    """All units that the entries of a file use."""
    return frozenset(unit for entry in book.entries for unit in (entry.unit, *entry.counted_in))


def _entries(reader: _Reader, row: dict[str, Any], version: str, units: frozenset[str]) -> list[PriceEntry]:
    reader.refuse_unknown(row, _ENTRY_FIELDS)
    operations = row.get("operations")
    if operations != ANY_OPERATION:
        operations = reader.texts(row, "operations", NAME_CHARACTERS_MAX)
    starts = reader.day(row, "effective_from")
    ends = reader.day(row, "effective_to") if "effective_to" in row else None
    if ends is not None and ends <= starts:
        raise reader.error("effective_to", ends, f"after effective_from ({starts})")
    unit = reader.text(row, "unit", UNIT_CHARACTERS_MAX)
    counted_in = reader.optional(row, "counted_in", dict, {})
    for name in (unit, *counted_in):
        if name not in units:
            raise reader.error("unit", name, f"one of {', '.join(sorted(units))} (or named in the file's `units`)")
    for name in counted_in:
        reader.count(counted_in, name)
    additions = tuple(_addition(reader, part) for part in reader.optional(row, "additions", list, []))
    shared: dict[str, Any] = {
        "service": reader.text(row, "service", NAME_CHARACTERS_MAX),
        "model": reader.text(row, "model", NAME_CHARACTERS_MAX) if "model" in row else None,
        "unit": unit,
        "counted_in": counted_in,
        "rate": reader.rate(row, reader.count(row, "per") if "per" in row else 1),
        "rounded_up": reader.optional(row, "rounded_up", bool, default=False),
        "additions": additions,
        "effective_from": starts,
        "effective_to": ends,
        "source": reader.text(row, "source", 1000),
        "version": f"{version}@{starts}",
    }
    return [PriceEntry(operation=operation, **shared) for operation in operations]


def _addition(reader: _Reader, part: object) -> Addition:
    if not isinstance(part, dict):
        raise reader.error("additions", part, "tables with `metadata`, `price` and `required`")
    reader.refuse_unknown(part, _ADDITION_FIELDS)
    required = reader.optional(part, "required", bool, default=True)
    return Addition(reader.text(part, "metadata", NAME_CHARACTERS_MAX), reader.rate(part, 1), required)


class _Reader:
    """Takes typed fields out of a TOML table; every error names the place, the field, the value and the limit."""

    def __init__(self, place: str, table: object) -> None:
        self._place = place
        if not isinstance(table, dict):
            raise PriceError(f"{place}: {shown(table)} must be a table")

    def error(self, field: str, value: object, limit: str) -> PriceError:
        return PriceError(f"{self._place}: {field} is {shown(value)}; it must be {limit}")

    def refuse_unknown(self, table: dict[str, Any], known: frozenset[str]) -> None:
        for name in table:
            if name not in known:
                raise self.error("a field", name, f"one of {', '.join(sorted(known))}")

    def text(self, table: dict[str, Any], field: str, characters_max: int) -> str:
        value = table.get(field)
        if not isinstance(value, str) or not 0 < len(value) <= characters_max or not value.isprintable():
            raise self.error(field, value, f"text of 1 to {characters_max} printable characters")
        return value

    def texts(self, table: dict[str, Any], field: str, characters_max: int) -> list[str]:
        values = table.get(field)
        if not isinstance(values, list) or not values:
            raise self.error(field, values, "a list of texts")
        return [self.text({field: value}, field, characters_max) for value in values]

    def optional(self, table: dict[str, Any], field: str, kind: type[T], default: T) -> T:
        value = table.get(field, default)
        if not isinstance(value, kind):
            raise self.error(field, value, f"of type {kind.__name__}")
        return value

    def day(self, table: dict[str, Any], field: str) -> date:
        value = table.get(field)
        if not isinstance(value, date) or isinstance(value, datetime):
            raise self.error(field, value, "a day such as 2026-11-23 (without quotes)")
        return value

    def count(self, table: dict[str, Any], field: str) -> int:
        value = table[field]
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= PER_MAX:
            raise self.error(field, value, f"a whole number from 1 to {PER_MAX}")
        return value

    def rate(self, table: dict[str, Any], per: int) -> Rate:
        text = table.get("price")
        limit = f"decimal text from 0 to {PRICE_USD_MAX} USD"
        if not isinstance(text, str):
            raise self.error("price", text, f"{limit}, in quotes")
        try:
            price = exact_decimal(text, "price")
        except InvalidValue:
            raise self.error("price", text, limit) from None
        # Zero or a sensible number of digits: 1E-999999 would take for ever to write out.
        if not 0 <= price <= PRICE_USD_MAX or (price and price.adjusted() < -30) or len(text) > PRICE_CHARACTERS_MAX:
            raise self.error("price", text, limit)
        rate = rate_of(price, per)
        if rate is None or len(rate.text) > PRICE_CHARACTERS_MAX:
            raise self.error("price", f"{text} per {per}", "USD per unit with an end as a decimal")
        return rate
