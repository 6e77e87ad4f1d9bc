"""How errors become pages: routes of the dashboard answer people, not programs."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlencode

import psycopg
import redis
import structlog
from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.responses import RedirectResponse, Response

from costledger.api.dashboard.rendering import HEADERS, html
from costledger.api.dashboard.session import SignInNeeded
from costledger.api.problems import Problem
from costledger.schemas.errors import InvalidValue, Unavailable

logger = structlog.get_logger(__name__)

#: Our module sends this with every request, and gets fragments and plain statuses instead of pages and redirects.
FRAGMENT_HEADER: Final = "x-fragment"
LOGIN: Final = "/dashboard/login"
_RETRY_SECONDS: Final = 5


def wants_fragment(request: Request) -> bool:
    """Whether our module asks, rather than a person who follows a link."""
    return FRAGMENT_HEADER in request.headers or request.headers.get("accept") == "text/event-stream"


class PageRoute(APIRoute):
    """A route whose errors are pages: sign in, not allowed, not found, or a moment's patience."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler, with errors turned into answers."""
        handler = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                return await handler(request)
            except SignInNeeded as needed:
                return _sign_in(request, needed)
            except Problem as problem:
                return error_page(request, problem.status, problem.detail, problem.headers)
            except InvalidValue as error:
                return error_page(request, HTTPStatus.UNPROCESSABLE_ENTITY, str(error))
            except RequestValidationError as error:
                named = "; ".join(f"{one['loc'][-1]}: {one['msg']}" for one in error.errors())
                return error_page(request, HTTPStatus.UNPROCESSABLE_ENTITY, named)
            except (psycopg.OperationalError, redis.RedisError, Unavailable) as error:
                logger.warning("a page cannot be made", path=request.url.path, error=str(error).strip())
                return _unavailable(request)

        return answer


def error_page(
    request: Request, status: HTTPStatus, detail: str, headers: Mapping[str, str] | None = None, *, retry: bool = False
) -> Response:
    """A page that says what is wrong, and what to do."""
    again = _path(request) if request.method == "GET" else "/dashboard"
    context = {"title": _TITLES.get(status, status.phrase), "detail": detail, "retry": retry, "again": again}
    template = "fragments/error.html" if wants_fragment(request) else "error.html"
    return html(template, context, status.value, headers)


_TITLES: Final = {
    HTTPStatus.FORBIDDEN: "You may not see this",
    HTTPStatus.NOT_FOUND: "There is nothing here",
    HTTPStatus.UNPROCESSABLE_ENTITY: "That does not look right",
    HTTPStatus.SERVICE_UNAVAILABLE: "The figures cannot be read at the moment",
    HTTPStatus.TOO_MANY_REQUESTS: "Too many requests",
}


def _unavailable(request: Request) -> Response:
    detail = (
        "The database does not answer. Nothing is lost: costs are still recorded, and this page comes back by itself."
    )
    headers = {"Retry-After": str(_RETRY_SECONDS)}
    return error_page(request, HTTPStatus.SERVICE_UNAVAILABLE, detail, headers, retry=True)


def _sign_in(request: Request, needed: SignInNeeded) -> Response:
    if wants_fragment(request):
        return Response(status_code=HTTPStatus.UNAUTHORIZED.value, headers=dict(HEADERS))
    if needed.reason == "required" and request.method == "GET" and _from_elsewhere(request):
        # The cookie is not sent with a link on another site, such as a mail reader; it is with what this page loads.
        return html("arriving.html", {"path": _path(request)})
    query = urlencode({"reason": needed.reason})
    return RedirectResponse(f"{LOGIN}?{query}", HTTPStatus.SEE_OTHER.value, headers=dict(HEADERS))


def _from_elsewhere(request: Request) -> bool:
    return request.headers.get("sec-fetch-site") in {"cross-site", "same-site"}


def _path(request: Request) -> str:
    return f"{request.url.path}?{request.url.query}" if request.url.query else request.url.path
