"""Times are exact to the microsecond and always have an offset."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone, tzinfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costledger.schemas import InvalidValue
from costledger.schemas.times import from_microseconds, parse_time, rfc3339, to_microseconds

instants = st.integers(-60_000_000_000_000_000, 250_000_000_000_000_000)


class NoOffset(tzinfo):
    """A zone that does not know its offset: such a time is as good as naive."""

    def utcoffset(self, _: datetime | None, /) -> timedelta | None:
        """None: unknown."""
        return None

    def dst(self, _: datetime | None, /) -> timedelta | None:
        """None: unknown."""
        return None

    def tzname(self, _: datetime | None, /) -> str | None:
        """None: unknown."""
        return None


@given(instants)
def test_round_trip(microseconds: int) -> None:
    """Microseconds to a datetime, to RFC 3339 and back: the same number."""
    assert to_microseconds(from_microseconds(microseconds)) == microseconds
    assert to_microseconds(parse_time(rfc3339(microseconds))) == microseconds
    assert rfc3339(microseconds).endswith("Z")


@given(instants, st.integers(-1439, 1439))
def test_offsets_change_no_instant(microseconds: int, minutes: int) -> None:
    """The same instant in any offset is the same number."""
    local = from_microseconds(microseconds).astimezone(timezone(timedelta(minutes=minutes)))
    assert to_microseconds(local) == microseconds
    assert parse_time(local.isoformat()) == local


@pytest.mark.parametrize("zone", [None, NoOffset()])
def test_naive_times_are_refused(zone: tzinfo | None) -> None:
    """A time without an offset is nobody's instant."""
    with pytest.raises(InvalidValue, match=r"billed_at is .* a time with a UTC offset"):
        to_microseconds(datetime(2026, 11, 23, tzinfo=zone), "billed_at")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-23T09:00:00Z", datetime(2026, 11, 23, 9, tzinfo=UTC)),
        ("2026-11-23 09:00:00", datetime(2026, 11, 23, 9, tzinfo=UTC)),
        ("2026-11-23T09:00:00.1234567Z", datetime(2026, 11, 23, 9, 0, 0, 123456, tzinfo=UTC)),
        ("2026-11-23T09:00:00.999999999+01:00", datetime(2026, 11, 23, 8, 0, 0, 999999, tzinfo=UTC)),
        ("  2026-11-23T09:00:00.5-05:30 ", datetime(2026, 11, 23, 14, 30, 0, 500000, tzinfo=UTC)),
        ("2026-11-23", datetime(2026, 11, 23, tzinfo=UTC)),
    ],
)
def test_accepted_texts(text: str, expected: datetime) -> None:
    """RFC 3339, a blank for the T, no offset (UTC), more digits than microseconds (cut, never rounded up)."""
    assert parse_time(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "2026-13-01T00:00:00Z",
        "2026-02-30",
        "23/11/2026",
        "2026-11-23T25:00:00Z",
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-14:00",
    ],
)
def test_refused_texts(text: str) -> None:
    """Anything else names the field and shows an example, also where only the offset leaves the calendar."""
    with pytest.raises(InvalidValue, match=r"^--at is .* for example 2026-11-23T09:00:00Z"):
        parse_time(text, "--at")
