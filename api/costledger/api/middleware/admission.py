"""Who is asking, and whether they ask too often: settled once per request, in a thread, before anything is read."""

from __future__ import annotations

from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie
from typing import Final

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers, MutableHeaders
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


def _authorization(scope: Scope) -> str:
    headers = Headers(scope=scope)
    given = headers.get("authorization", "")
    if given or not scope["path"].startswith(PAGES):
        return given
    try:
        cookies = SimpleCookie(headers.get("cookie", ""))
    except CookieError:
        return ""
    return f"Bearer {cookies[PAGES_COOKIE].value}" if PAGES_COOKIE in cookies else ""
