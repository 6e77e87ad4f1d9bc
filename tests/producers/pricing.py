"""Price files for tests: written with what a test says, read back as a book."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

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
