"""Times: aware datetimes for people, integers of Unix microseconds (UTC) inside."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from costledger.schemas.errors import InvalidValue

MICROSECONDS_PER_SECOND: Final = 1_000_000
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


def utc_now() -> datetime:
    """The time of this machine's clock, in UTC."""
    return datetime.now(UTC)


def to_microseconds(instant: datetime, field: str = "occurred_at") -> int:
    """An aware datetime as Unix microseconds, exactly; a naive one raises `InvalidValue`."""
    if instant.utcoffset() is None:
        raise InvalidValue(field, instant, "a time with a UTC offset")
    return (instant - _EPOCH) // _MICROSECOND


def from_microseconds(microseconds: int) -> datetime:
    """Unix microseconds as an aware datetime in UTC."""
    return _EPOCH + timedelta(microseconds=microseconds)


def parse_time(text: str, field: str = "occurred_at") -> datetime:
    """RFC 3339 text (or a date and time without an offset, taken as UTC) as an aware datetime in UTC.

    More than six fractional digits are cut, since the contract has microseconds.
    """
    head, dot, tail = text.strip().partition(".")
    digits = len(tail) - len(tail.lstrip("0123456789"))
    cleaned = f"{head}.{tail[: min(digits, 6)]}{tail[digits:]}" if dot and digits else text.strip()
    try:
        parsed = datetime.fromisoformat(cleaned)
        return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)
    except (ValueError, OverflowError):
        raise InvalidValue(field, text, "an RFC 3339 time, for example 2026-11-23T09:00:00Z") from None


def rfc3339(microseconds: int) -> str:
    """Unix microseconds as RFC 3339 text in UTC, with a Z."""
    return from_microseconds(microseconds).isoformat().replace("+00:00", "Z")
