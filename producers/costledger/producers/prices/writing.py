"""Price files written out: TOML or JSON text from rows of plain values, the same bytes for the same rows."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from costledger.producers.prices.formats import JSON_ENDING

#: A row of a price file: field -> text, whole number, or list of texts, in the order in which they are written.
Row = Mapping[str, str | int | Sequence[str]]

_DAY_FIELDS: Final = frozenset({"effective_from", "effective_to"})


def price_file_text(name: str, version: str, rows: Sequence[Row], comments: Sequence[str] = ()) -> str:
    """The text of a price file of this name: JSON when it ends in `.json`, else TOML with comments at its head."""
    if name.lower().endswith(JSON_ENDING):
        return (
            json.dumps({"version": version, "price": [dict(row) for row in rows]}, indent=1, ensure_ascii=False) + "\n"
        )
    parts = [*(f"# {line}".rstrip() for line in comments), "", f"version = {_toml(version)}", ""]
    for row in rows:
        parts.append("[[price]]")
        parts += [f"{field} = {value if field in _DAY_FIELDS else _toml(value)}" for field, value in row.items()]
        parts.append("")
    return "\n".join(parts)


def _toml(value: Any) -> str:
    """A value in TOML; JSON's texts, numbers and lists of texts are TOML's too, as long as text is printable."""
    return json.dumps(value, ensure_ascii=False)
