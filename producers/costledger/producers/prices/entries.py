"""The entries of a price book, read from a file: what they may hold, and errors that name what is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

from costledger.producers.prices.fields import FieldReader
from costledger.producers.prices.finding import Finding, PriceFileError
from costledger.producers.prices.formats import ReadableText, read_table
from costledger.producers.prices.rates import Rate
from costledger.schemas.events import NAME_CHARACTERS_MAX, UNIT_CHARACTERS_MAX

ANY_OPERATION: Final = "*"
ENTRIES_MAX: Final = 20_000
VERSION_CHARACTERS_MAX: Final = 100
SOURCE_CHARACTERS_MAX: Final = 1000

_BOOK_FIELDS: Final = frozenset({"$schema", "version", "currency", "units", "price"})
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
        "reviewed",
    }
)
_ADDITION_FIELDS: Final = frozenset({"metadata", "price", "required"})


@dataclass(frozen=True, slots=True)
class Addition:
    """What is charged besides: `rate` times the number that the event's metadata has under `metadata`.

    An event without that number has no price where `required`, else the addition is left out.
    """

    metadata: str
    rate: Rate
    required: bool


@dataclass(frozen=True, slots=True)
class Followed:
    """The price that an entry follows: USD for one `unit`, the same of each addition, and where it stands."""

    unit: str
    usd_per_unit: Fraction
    additions: Mapping[str, Fraction]
    place: str
    counted_in: Mapping[str, int] = field(default_factory=dict)

    def usd_per(self, unit: str) -> Fraction:
        """USD for one of the units in which it counts."""
        return self.usd_per_unit / self.counted_in.get(unit, 1)


@dataclass(frozen=True, slots=True)
class Held:
    """Why an entry waits for review: what is wrong with which field, and the price in force before it."""

    field: str
    reason: str
    followed: Followed


@dataclass(frozen=True, slots=True)
class PriceEntry:
    """One price of one operation: in force from `effective_from` up to but not on `effective_to` (UTC days).

    `file` and `number` say where it stands. `reviewed` is why a jump from the price before it is right. An entry
    that is `held` waits for that: on its days nothing is priced by it, nor by what lies below it.
    """

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
    file: str
    number: int
    reviewed: str | None = None
    held: Held | None = None

    def covers(self, day: date) -> bool:
        """Is the price in force on this UTC day?"""
        return self.effective_from <= day and (self.effective_to is None or day < self.effective_to)

    @property
    def key(self) -> tuple[str, str, str, str]:
        """What prices that follow one another in time have in common."""
        return self.service, self.operation, self.model or "", self.unit

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
    """Read one price file, TOML or (ending in `.json`) JSON; raises `PriceFileError` with all that is wrong in it.

    Each of its findings names file, entry, field, value and limit. `known_units` are the units of the files below
    it; a file names the further units it needs in `units`.
    """
    table = read_table(path)
    reader = FieldReader(path.name, None)
    table = reader.table(table)
    reader.refuse_unknown(table, _BOOK_FIELDS)
    reader.optional(table, "$schema", str, "")
    version = reader.text(table, "version", VERSION_CHARACTERS_MAX)
    if reader.optional(table, "currency", str, "USD") != "USD":
        raise reader.error("currency", table["currency"], "USD")
    units = known_units | frozenset(reader.texts(table, "units", UNIT_CHARACTERS_MAX) if "units" in table else ())
    rows = reader.optional(table, "price", list, [])
    if len(rows) > ENTRIES_MAX:
        raise reader.error("price", f"{len(rows)} entries", f"at most {ENTRIES_MAX} entries")
    entries: list[PriceEntry] = []
    wrong: list[Finding] = []
    for number, row in enumerate(rows, start=1):
        try:
            entries += _entries(FieldReader(path.name, number), row, version, units)
        except PriceFileError as error:
            wrong += error.findings
    if wrong:
        raise PriceFileError(wrong)
    return BookFile(path.name, version, tuple(entries))


def units_of(book: BookFile) -> frozenset[str]:
    """All units that the entries of a file use."""
    return frozenset(unit for entry in book.entries for unit in (entry.unit, *entry.counted_in))


def _entries(reader: FieldReader, row: object, version: str, units: frozenset[str]) -> list[PriceEntry]:
    row = reader.table(row)
    reader.refuse_unknown(row, _ENTRY_FIELDS)
    operations = row.get("operations")
    if operations != ANY_OPERATION:
        operations = reader.texts(row, "operations", NAME_CHARACTERS_MAX)
    if "model" in row and ANY_OPERATION in operations:
        raise reader.error("model", row["model"], f'left out where operations has "{ANY_OPERATION}"')
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
    shared: dict[str, Any] = {
        "service": reader.text(row, "service", NAME_CHARACTERS_MAX),
        "model": reader.text(row, "model", NAME_CHARACTERS_MAX) if "model" in row else None,
        "unit": unit,
        "counted_in": counted_in,
        "rate": reader.rate(row, reader.count(row, "per") if "per" in row else 1),
        "rounded_up": reader.optional(row, "rounded_up", bool, default=False),
        "additions": _additions(reader, reader.optional(row, "additions", list, [])),
        "effective_from": starts,
        "effective_to": ends,
        "source": reader.text(row, "source", SOURCE_CHARACTERS_MAX),
        "version": f"{version}@{starts}",
        "file": reader.file,
        "number": reader.number,
        "reviewed": reader.text(row, "reviewed", SOURCE_CHARACTERS_MAX) if "reviewed" in row else None,
    }
    return [PriceEntry(operation=operation, **shared) for operation in operations]


def _additions(reader: FieldReader, parts: list[object]) -> tuple[Addition, ...]:
    additions: dict[str, Addition] = {}
    for part in parts:
        addition = _addition(reader, part)
        if addition.metadata in additions:
            raise reader.error("additions", addition.metadata, "named once")
        additions[addition.metadata] = addition
    return tuple(additions.values())


def _addition(reader: FieldReader, part: object) -> Addition:
    if not isinstance(part, dict):
        raise reader.error("additions", part, "tables with `metadata`, `price` and `required`")
    reader.refuse_unknown(part, _ADDITION_FIELDS)
    required = reader.optional(part, "required", bool, default=True)
    return Addition(reader.text(part, "metadata", NAME_CHARACTERS_MAX), reader.rate(part, 1), required)
