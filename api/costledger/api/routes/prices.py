"""`GET /api/prices`: the price book in force at a time."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from datetime import UTC, datetime
from typing import Annotated, Final

from fastapi import APIRouter, Header, Query, Response
from pydantic import StringConstraints

from costledger.api.auth import CurrentPrincipal
from costledger.api.decisions import CurrentDesk
from costledger.api.decisions.price_list import PriceFilter, PriceKey
from costledger.api.models.prices import PriceAnswer, PricesAnswer
from costledger.api.models.times import EventTime
from costledger.producers.prices import PriceRow
from costledger.schemas.errors import InvalidValue
from costledger.schemas.events import NAME_CHARACTERS_MAX, UNIT_CHARACTERS_MAX

ROWS_MAX: Final = 1000
ROWS_DEFAULT: Final = 200
CURSOR_CHARACTERS_MAX: Final = 4096
#: Prices change when somebody restarts the API with other files: a minute late does no harm.
_CACHE: Final = "private, max-age=60"

router = APIRouter()

Name = Annotated[str, StringConstraints(min_length=1, max_length=NAME_CHARACTERS_MAX)]
Unit = Annotated[str, StringConstraints(min_length=1, max_length=UNIT_CHARACTERS_MAX)]


@router.get(
    "/api/prices",
    response_model=PricesAnswer,
    responses={304: {"description": "as the caller has it already (If-None-Match)"}},
)
def get_prices(
    _principal: CurrentPrincipal,
    desk: CurrentDesk,
    at: Annotated[EventTime | None, Query(description="RFC 3339; default: now")] = None,
    service: Annotated[Name | None, Query()] = None,
    operation: Annotated[Name | None, Query()] = None,
    model: Annotated[
        Name | None, Query(description="a language model: its prices are found also where no price file has them")
    ] = None,
    unit: Annotated[Unit | None, Query()] = None,
    limit: Annotated[int, Query(ge=1, le=ROWS_MAX, description="prices in one answer")] = ROWS_DEFAULT,
    cursor: Annotated[
        str | None, Query(max_length=CURSOR_CHARACTERS_MAX, description="next_cursor of the page before")
    ] = None,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """The prices in force at a time; those held for review among them, and marked."""
    instant = datetime.now(UTC) if at is None else at
    asked = PriceFilter(service=service, operation=operation, model=model, unit=unit)
    after = None if cursor is None else parse_cursor(cursor)
    rows, last = desk.price_list.page(instant, asked, after, limit)
    answer = PricesAnswer(
        day=instant.date(),
        version=desk.price_list.book.version,
        prices=[_price(row) for row in rows],
        next_cursor=None if last is None else make_cursor(last),
    )
    body = answer.model_dump_json().encode()
    # Of the whole answer, in which every price has its version: another file of the same version is another answer.
    etag = f'"{hashlib.sha256(body).hexdigest()[:32]}"'
    headers = {"ETag": etag, "Cache-Control": _CACHE, "Vary": "Authorization"}
    if if_none_match is not None and _names(if_none_match, etag):
        return Response(status_code=304, headers=headers)
    return Response(body, media_type="application/json", headers=headers)


def make_cursor(key: PriceKey) -> str:
    """A key as opaque text that is safe in a query."""
    return base64.urlsafe_b64encode(json.dumps(key).encode()).decode().rstrip("=")


def parse_cursor(text: str) -> PriceKey:
    """The key in a cursor; `InvalidValue` for text that is none of ours."""
    try:
        parts = json.loads(base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True))
    except (ValueError, binascii.Error, RecursionError):
        parts = None
    if not isinstance(parts, list) or len(parts) != len(PriceKey._fields) or not all(type(x) is str for x in parts):
        raise InvalidValue("cursor", text, "next_cursor of another answer")
    return PriceKey(*parts)


def _names(if_none_match: str, etag: str) -> bool:
    """Whether If-None-Match names the tag; weak ones are the same here."""
    tags = {each.strip().removeprefix("W/") for each in if_none_match.split(",")}
    return etag in tags or "*" in tags


def _price(row: PriceRow) -> PriceAnswer:
    return PriceAnswer(
        service=row.service,
        operation=row.operation,
        model=row.model,
        unit=row.unit,
        unit_price=row.unit_price,
        rounded_up=row.rounded_up,
        additions=dict(row.additions),
        effective_from=row.effective_from,
        effective_to=row.effective_to,
        price_version=row.price_version,
        source=row.source,
        held=row.held,
        reviewed=row.reviewed,
    )
