"""Cursors of pages: where the next page begins, as text that callers hand back and need not understand.

A cursor gives no right to anything: what may be seen is decided by the token, at every page again. So it is checked for
its form, and not signed.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import urlencode
from uuid import UUID

from fastapi import Request

from costledger.schemas.times import from_microseconds, to_microseconds
from costledger.sinks.alert_book import BEFORE_ALL, AlertPlace

#: 16 digits of the time in Unix microseconds, 32 of the id; whatever has this form is a place.
CURSOR_PATTERN: Final = "^[0-9a-f]{48}$"
_TIME_DIGITS: Final = 16


def cursor_of(place: AlertPlace) -> str:
    """The cursor of the page that begins after this place."""
    return f"{to_microseconds(place.raised_at, 'raised_at'):0{_TIME_DIGITS}x}{place.alert_id.hex}"


def place_of(cursor: str) -> AlertPlace:
    """The place that a cursor of the right form names."""
    microseconds = int(cursor[:_TIME_DIGITS], 16)
    if microseconds >= to_microseconds(BEFORE_ALL.raised_at, "raised_at"):
        return BEFORE_ALL
    return AlertPlace(from_microseconds(microseconds), UUID(hex=cursor[_TIME_DIGITS:].strip()))


def link_to_next(request: Request, cursor: str) -> str:
    """The `Link` header to the page of this cursor: the same question, on the same host."""
    query = [(name, value) for name, value in request.query_params.multi_items() if name != "cursor"]
    return f'<{request.url.path}?{urlencode([*query, ("cursor", cursor)])}>; rel="next"'
