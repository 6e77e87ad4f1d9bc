"""Cursors of pages: where the next page begins, as text that callers hand back and need not understand.

A cursor gives no right to anything: what may be seen is decided by the token, at every page again. So it is checked for
its form, and not signed.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import Final
from urllib.parse import urlencode
from uuid import UUID

from fastapi import Request

from costledger.schemas.errors import InvalidValue
from costledger.schemas.times import from_microseconds, to_microseconds
from costledger.sinks.alert_book import AlertPlace

_CONTENT: Final = re.compile(rb"([0-9]{1,17})\.([0-9a-f]{32})")
_LIMIT: Final = "the next_cursor of a page, as it was given"


def cursor_of(place: AlertPlace) -> str:
    """The cursor of the page that begins after this place."""
    content = f"{to_microseconds(place.raised_at, 'raised_at')}.{place.alert_id.hex}"
    return base64.urlsafe_b64encode(content.encode()).decode().rstrip("=")


def place_of(cursor: str) -> AlertPlace:
    """The place that a cursor names; `InvalidValue` for text that is none."""
    try:
        content = base64.b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4), b"-_", validate=True)
        parts = _CONTENT.fullmatch(content)
        if parts is None:
            raise InvalidValue("cursor", cursor, _LIMIT)
        place = AlertPlace(from_microseconds(int(parts[1])), UUID(hex=parts[2].decode()))
    except (UnicodeEncodeError, binascii.Error, OverflowError):
        raise InvalidValue("cursor", cursor, _LIMIT) from None
    if cursor_of(place) != cursor:
        raise InvalidValue("cursor", cursor, _LIMIT)
    return place


def link_to_next(request: Request, cursor: str) -> str:
    """The `Link` header to the page of this cursor: the same question, on the same host."""
    query = [(name, value) for name, value in request.query_params.multi_items() if name != "cursor"]
    return f'<{request.url.path}?{urlencode([*query, ("cursor", cursor)])}>; rel="next"'
