"""Who is asking, and whether they ask too often: settled once per request, in a thread, before anything is read."""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from costledger.api.auth.principal import PRINCIPAL_STATE, Principal, authenticate
from costledger.api.middleware.limits import Admission, Kind, address_key
from costledger.api.middleware.observing import STATE, ApiMetrics
from costledger.api.problems import Problem
from costledger.api.services import Services

#: For machines that watch, however often they do.
UNLIMITED: Final = frozenset({"/healthz", "/readyz", "/metrics"})
#: Pages are asked for with the token in a cookie. It counts for them alone: no other site can make a browser use the API.
PAGES: Final = "/dashboard"
PAGES_COOKIE: Final = "costledger_session"


class Admitting:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp, metrics: ApiMetrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http" or scope["path"] in UNLIMITED:
            await self._app(scope, receive, send)
            return
        services: Services = scope["app"].state.services
        found, admission = await run_in_threadpool(self._admit, scope, services)
        scope[STATE][PRINCIPAL_STATE] = found
        if admission is None:
            await self._app(scope, receive, send)
            return
        headers = admission.headers()
        if not admission.allowed:
            detail = f"more than {admission.limit} requests in {admission.window_seconds} s"
            problem = Problem(HTTPStatus.TOO_MANY_REQUESTS, "rate_limited", detail, headers=headers)
            await problem.response(scope[STATE]["request_id"])(scope, receive, send)
            return

        async def send_told(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(headers)
            await send(message)

        await self._app(scope, receive, send_told)

    def _admit(self, scope: Scope, services: Services) -> tuple[Principal | Problem, Admission | None]:
        found = authenticate(services.tokens, _authorization(scope))
        client = scope.get("client")
        address = address_key(client[0] if client else None)
        kind: Kind = "user" if isinstance(found, Principal) else "anonymous"
        admission = services.limiter.admit(kind, found.user_id if isinstance(found, Principal) else address)
        if admission is None:
            self._metrics.unlimited.inc()
        elif not admission.allowed:
            self._metrics.limited.labels(kind).inc()
        return found, admission


def session_token(headers: Headers) -> str:
    """The token in the cookie of the pages; "" without one. Whatever else is among the cookies does not matter.

    Cookies ignore ports: on a host with other apps theirs come too, in whatever form these like.
    """
    return cookie_parser("; ".join(headers.getlist("cookie"))).get(PAGES_COOKIE, "")


def _authorization(scope: Scope) -> str:
    """What the request proves itself with: pages have the cookie alone, as the proof in their forms is made of it."""
    headers = Headers(scope=scope)
    if not scope["path"].startswith(PAGES):
        return headers.get("authorization", "")
    token = session_token(headers)
    return f"Bearer {token}" if token else ""
