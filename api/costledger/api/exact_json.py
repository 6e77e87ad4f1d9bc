"""Request bodies whose JSON numbers stay exact: `router = APIRouter(route_class=ExactRoute)`.

The usual parser makes a float of 0.1 before any model sees it. Here a number with a point or an exponent is a
`Decimal` with the digits that were sent.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from decimal import Decimal
from typing import Any, Final, NoReturn

from fastapi import Request, Response
from fastapi.routing import APIRoute

#: Beyond such powers of ten no field of ours has a value: there a number stays the float that every exact field
#: refuses, since to write 1e999999999 out as a whole number would take all memory.
_EXPONENT_MAX: Final = 60


def parse_exact(body: bytes) -> Any:
    """A JSON document (RFC 8259: UTF-8) with exact numbers; `JSONDecodeError` for what is none.

    NaN, Infinity and half a surrogate pair are among that: the last is no text that an answer could repeat.
    """
    try:
        text = body.decode()
        document = json.loads(text, parse_float=_number, parse_constant=_refuse_constant)
        if "\\u" in text:
            json.dumps(document, ensure_ascii=False, default=str).encode()
        return document
    except json.JSONDecodeError:
        raise
    except RecursionError:
        raise json.JSONDecodeError("nested too deeply", "", 0) from None
    except ValueError as error:  # no UTF-8, no Unicode, or an integer of thousands of digits
        raise json.JSONDecodeError(str(error), "", 0) from None


class ExactRequest(Request):
    """A request whose JSON has exact numbers."""

    async def json(self) -> Any:
        """The body; `JSONDecodeError` where it is no JSON."""
        return parse_exact(await self.body())


class ExactRoute(APIRoute):
    """A route that reads its body with exact numbers."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The usual handler, over an `ExactRequest`."""
        handle = super().get_route_handler()

        async def handle_exactly(request: Request) -> Response:
            return await handle(ExactRequest(request.scope, request.receive))

        return handle_exactly


def _number(text: str) -> Decimal | float:
    number = Decimal(text)
    return number if not number or abs(number.adjusted()) <= _EXPONENT_MAX else float(text)


def _refuse_constant(name: str) -> NoReturn:
    raise json.JSONDecodeError(f"{name} is no number in JSON", "", 0)
