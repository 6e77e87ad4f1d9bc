"""Price files for tests: written with what a test says, read back as a book; and the days that tests price on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from costledger.schemas.times import to_microseconds

NOW = datetime(2026, 11, 23, 9, tzinfo=UTC)
NOW_US = to_microseconds(NOW)
TRACE_DAY = datetime(2023, 11, 16, 18, 17, tzinfo=UTC)
PICO = 10**12
STORAGE: Mapping[str, Any] = {
    "service": "aws-s3",
    "operations": ["storage"],
    "unit": "GB-month",
    "price": "0.02",
    "effective_from": "2024-01-01",
    "source": "a contract",
}


def storage(**fields: Any) -> dict[str, Any]:
    """An entry for S3 storage with these fields instead; None leaves a field out."""
    return {name: value for name, value in {**STORAGE, **fields}.items() if value is not None}


def price_file(directory: Path, *entries: Mapping[str, Any], name: str = "own.json", **top: Any) -> Path:
    """A JSON price file with these entries."""
    path = directory / name
    path.write_text(json.dumps({"version": name, "price": [dict(entry) for entry in entries], **top}))
    return path


def noon(day: date | str) -> datetime:
    """Noon UTC of a day."""
    return datetime.fromisoformat(f"{day}T12:00:00").replace(tzinfo=UTC)


def overlay(directory: Path, entries: str, name: str = "own.toml", units: str = "") -> Path:
    """A price file with these entries."""
    path = directory / name
    path.write_text(f'version = "own-1"\n{units}\n{entries}')
    return path


def entry(**fields: object) -> str:
    """One entry in TOML; the defaults are a price for S3 storage."""
    table: dict[str, object] = {
        "service": "aws-s3",
        "operations": ["storage"],
        "unit": "GB-month",
        "price": "0.02",
        "effective_from": date(2024, 1, 1),
        "source": "a contract",
    } | fields
    lines = [f"{name} = {_toml(value)}" for name, value in table.items() if value is not None]
    return "[[price]]\n" + "\n".join(lines) + "\n"


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value) if isinstance(value, (str, list, int, float)) else str(value)
