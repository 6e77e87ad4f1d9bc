"""Documents of requests with exact numbers: a route class for routers whose bodies hold money or quantities.

`APIRouter(route_class=ExactRoute)`: JSON numbers with a point reach the models as `Decimal`, never through a float.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute

from costledger.api.middleware.bodies import DOCUMENT
from costledger.api.middleware.observing import STATE


class ExactRequest(Request):
    """A request whose document the middleware has parsed."""

    async def json(self) -> Any:
        """The document, its numbers as `int` and `Decimal`."""
        return self.scope[STATE][DOCUMENT]


class ExactRoute(APIRoute):
    """A route that takes its document from there."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler, given an `ExactRequest`."""
        handler = super().get_route_handler()

        async def exact(request: Request) -> Response:
            return await handler(ExactRequest(request.scope, request.receive))

        return exact
