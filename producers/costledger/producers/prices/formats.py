"""The two forms of a price file, TOML and JSON (by the ending `.json`), as one table of plain values.

A field that stands twice is an error in both. The JSON Schema of a price file is package data, for editors and
other programs: `price_file_schema()`.
"""

from __future__ import annotations

import json
import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Any, Final, Protocol

from costledger.producers.prices.finding import Finding, PriceFileError

JSON_ENDING: Final = ".json"
_SCHEMA_FILE: Final = "price_file.schema.json"


class ReadableText(Protocol):
    """A path, or a file within a package."""

    @property
    def name(self) -> str:
        """The last part of the path."""
        ...

    def read_text(self, encoding: str) -> str:
        """The whole text."""
        ...


def read_table(path: ReadableText | Path) -> object:
    """The content of a price file, unchecked; `PriceFileError` when it cannot be read or is no TOML or JSON."""
    try:
        text = path.read_text(encoding="utf-8")
        return parse_json(text) if path.name.lower().endswith(JSON_ENDING) else tomllib.loads(text)
    except (OSError, ValueError, RecursionError) as error:  # ValueError: what is no UTF-8, no TOML, no JSON
        problem = f"cannot be read as a price book: {error}"
        raise PriceFileError([Finding("error", path.name, problem)]) from error


def parse_json(text: str, **options: Any) -> object:
    """JSON in which no field stands twice and no number is NaN or infinite; `ValueError` otherwise."""
    return json.loads(text, object_pairs_hook=_without_repeats, parse_constant=_refuse_constant, **options)


def price_file_schema() -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a price file, a day in it being text."""
    schema: dict[str, Any] = json.loads((files(__package__) / _SCHEMA_FILE).read_text(encoding="utf-8"))
    return schema


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    table = dict(pairs)
    if len(table) < len(pairs):
        seen: set[str] = set()
        repeated = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]  # add() returns None
        raise ValueError(f"the field {repeated!r} stands twice in one table")
    return table


def _refuse_constant(text: str) -> object:
    raise ValueError(f"{text} is no number")
