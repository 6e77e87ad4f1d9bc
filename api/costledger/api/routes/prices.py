"""`GET /api/prices`: the price book in force at a time."""

from __future__ import annotations

import hashlib
from typing import Annotated, Final

from fastapi import APIRouter, Header, Query, Response

from costledger.api.auth import CurrentPrincipal
from costledger.api.conditional import matches
from costledger.api.decisions import CurrentDesk
from costledger.api.decisions.price_list import PriceFilter, PriceKey
from costledger.api.models.prices import PriceAnswer, PricesAnswer, PricesQuery
from costledger.api.services import CurrentServices
from costledger.producers.prices import PriceRow

#: Prices change when somebody restarts the API with other files: a minute late does no harm.
_CACHE: Final = "private, max-age=60"
#: No name in a price book has it.
_BETWEEN: Final = "\0"
_ETAG: Final = {"ETag": {"description": "of this answer", "schema": {"type": "string"}}}

router = APIRouter(tags=["prices"])


@router.get(
    "/api/prices",
    response_model=PricesAnswer,
    responses={
        200: {"headers": _ETAG},
        304: {"description": "It is as `If-None-Match` says that the caller has it", "headers": _ETAG},
    },
)
def read_prices(
    _principal: CurrentPrincipal,
    services: CurrentServices,
    desk: CurrentDesk,
    query: Annotated[PricesQuery, Query()],
    if_none_match: Annotated[str | None, Header(include_in_schema=False)] = None,
) -> Response:
    """The prices in force at a time; those held for review among them, and marked."""
    instant = services.now() if query.at is None else query.at
    asked = PriceFilter(service=query.service, operation=query.operation, model=query.model, unit=query.unit)
    after = None if query.cursor is None else parse_cursor(query.cursor)
    rows, last = desk.price_list.page(instant, asked, after, query.limit)
    answer = PricesAnswer(
        day=instant.date(),
        version=desk.price_list.book.version,
        prices=[_price(row) for row in rows],
        next_cursor=None if last is None else make_cursor(last),
    )
    body = answer.model_dump_json().encode()
    # Of the whole answer, in which every price has its version: another file of the same version is another answer.
    version = hashlib.sha256(body).hexdigest()[:32]
    headers = {"ETag": f'"{version}"', "Cache-Control": _CACHE, "Vary": "Authorization"}
    if if_none_match is not None and matches(if_none_match, version, weak=True):
        return Response(status_code=304, headers=headers)
    return Response(body, media_type="application/json", headers=headers)


def make_cursor(key: PriceKey) -> str:
    """A key as text that is safe in a query."""
    return _BETWEEN.join(key).encode().hex()


def parse_cursor(text: str) -> PriceKey:
    """The place that a cursor of the right form names; what it leaves out is the beginning."""
    parts = bytes.fromhex(text.strip()).decode(errors="replace").split(_BETWEEN)
    return PriceKey(*[*parts, "", "", "", ""][: len(PriceKey._fields)])


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
