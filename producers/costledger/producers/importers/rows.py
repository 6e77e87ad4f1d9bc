"""Reading a CSV file row by row, with errors that name file, line, column and value."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from costledger.schemas.errors import CostledgerError, InvalidEvent, InvalidValue, shown
from costledger.schemas.events import CostEvent, check_event
from costledger.schemas.times import parse_time, to_microseconds

_HASH_CHUNK_BYTES: Final = 1024 * 1024
#: What stands for "no value" in a FOCUS file; an empty cell does so in every CSV.
NULL: Final = "NULL"


class ImportRowError(CostledgerError):
    """A file cannot be imported: nothing of it was emitted. `line` counts from 1, the header included."""

    def __init__(self, file: str, line: int, column: str, value: object, limit: str) -> None:
        super().__init__(file, line, column, value, limit)
        self.file = file
        self.line = line
        self.column = column
        self.value = value
        self.limit = limit

    def __str__(self) -> str:
        return f"{self.file}, line {self.line}: {self.column} is {shown(self.value)}; it must be {self.limit}"


@dataclass(frozen=True, slots=True)
class Row:
    """One row: `index` counts rows from 0, `line` is where it begins, `cells` are texts by column."""

    file: str
    index: int
    line: int
    cells: dict[str, str]

    def error(self, column: str, value: object, limit: str) -> ImportRowError:
        """The error that this row's column has a wrong value."""
        return ImportRowError(self.file, self.line, column, value, limit)

    def text(self, column: str) -> str | None:
        """The text of a cell; None where the column is absent, empty or NULL."""
        value = self.cells.get(column, "")
        return None if value in ("", NULL) else value

    def required(self, column: str) -> str:
        """The text of a cell that must have one."""
        value = self.text(column)
        if value is None:
            raise self.error(column, self.cells.get(column), "given in every row")
        return value

    def time_us(self, column: str) -> int:
        """A time as Unix microseconds; without an offset it is UTC, further digits are cut."""
        try:
            return to_microseconds(parse_time(self.required(column), column))
        except InvalidValue as error:
            raise self.error(column, error.value, error.limit) from error

    def checked(self, event: CostEvent, columns: dict[str, str]) -> CostEvent:
        """The event, when it is within its bounds; `columns` tells which column a field of the event came from."""
        try:
            check_event(event.to_record())
        except InvalidEvent as error:
            raise self.error(columns.get(error.field, error.field), error.value, error.limit) from error
        return event


def read_rows(path: Path, required_columns: Iterable[str]) -> Iterator[Row]:
    """The rows of a CSV file in UTF-8 with a header; `ImportRowError` for a missing column or a ragged row."""
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, strict=True)
        line = 1
        try:
            header = next(reader, [])
            for column in required_columns:
                if column not in header:
                    raise ImportRowError(path.name, 1, "the header", header, f"one with the column {column}")
            line = reader.line_num + 1
            for index, values in enumerate(reader):
                if len(values) != len(header):
                    raise ImportRowError(path.name, line, "the row", f"{len(values)} cells", f"{len(header)} cells")
                yield Row(path.name, index, line, dict(zip(header, values, strict=True)))
                line = reader.line_num + 1
        except (csv.Error, UnicodeDecodeError) as error:
            raise ImportRowError(path.name, line, "the row", str(error), "CSV in UTF-8") from error


def file_digest(path: Path) -> bytes:
    """SHA-256 of a file: what the ids of imported events begin with."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_HASH_CHUNK_BYTES):
            digest.update(chunk)
    return digest.digest()


def shift_us(latest_us: int | None, shift_to: datetime | None) -> int:
    """By how much all times move so that the latest one comes to `shift_to`; 0 where nothing is to move."""
    if shift_to is None or latest_us is None:
        return 0
    return to_microseconds(shift_to, "shift_to") - latest_us
