"""What is to be exported."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final

from costledger.schemas.errors import InvalidValue

_HOUR: Final = timedelta(hours=1)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class ExportFormat(StrEnum):
    """The kinds of files that an export may be."""

    CSV = "csv"
    PARQUET = "parquet"
    FOCUS = "focus"


@dataclass(frozen=True, slots=True)
class Export:
    """Entries that occurred from `start` up to but not at `end` (aware times), of one user or (None) of all.

    `marked`: text that a spreadsheet would run as a formula gets an apostrophe in front (CSV formats only).
    `InvalidValue` for an empty period.
    """

    format: ExportFormat
    start: datetime
    end: datetime
    user_id: str | None = None
    marked: bool = True

    def __post_init__(self) -> None:
        if self.end <= self.start:
            raise InvalidValue("to", self.end.isoformat(), f"after from ({self.start.isoformat()})")

    def parameters(self) -> dict[str, object]:
        """For the queries. `first_hour` and `end_hour` bound the whole UTC hours within the period."""
        first_hour = self.end if self.end - self.start < _HOUR else self.start + (_EPOCH - self.start) % _HOUR
        end_hour = self.end - (self.end - _EPOCH) % _HOUR
        return {
            "from": self.start,
            "to": self.end,
            "user_id": self.user_id,
            "first_hour": first_hour,
            "end_hour": max(first_hour, end_hour),
        }
