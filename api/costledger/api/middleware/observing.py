"""The outermost layer: the request's id, its line in the log, its metrics, safe headers, and the answer to a defect."""

from __future__ import annotations

import re
import time
import uuid
from http import HTTPStatus
from typing import Final

import structlog
from prometheus_client import CollectorRegistry
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from costledger.api.auth.principal import PRINCIPAL_STATE
from costledger.api.problems import Problem
from costledger.schemas import metrics

logger = structlog.get_logger("costledger.api.access")

REQUEST_ID: Final = "X-Request-Id"
_SANE_ID: Final = re.compile(r"[A-Za-z0-9._:/+=@-]{1,128}")
#: Where the id and what else the layers tell each other lie.
STATE: Final = "state"
#: Headers of every answer that does not set its own. Data is nobody's to keep: not a browser's, not a proxy's.
_HEADERS: Final = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
_TLS_SECONDS: Final = 31_536_000
#: A label's values are few, whatever is asked for.
_METHODS: Final = frozenset({"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"})
#: Asked for by machines every few seconds: told at DEBUG.
_QUIET: Final = frozenset({"/healthz", "/readyz", "/metrics"})
UNMATCHED: Final = "unmatched"
#: What a proxy logs for a client that did not wait for the answer; it is sent to nobody.
_CLIENT_GONE: Final = 499
#: More requests at once are told to come back: threads and connections would only queue them.
REQUESTS_MAX: Final = 1000


class ApiMetrics:
    """What the API counts."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.requests = metrics.create(metrics.API_REQUESTS, registry)
        self.seconds = metrics.create(metrics.API_REQUEST_SECONDS, registry)
        self.in_flight = metrics.create(metrics.API_IN_FLIGHT, registry)
        self.limited = metrics.create(metrics.API_RATE_LIMITED, registry)
        self.unlimited = metrics.create(metrics.API_LIMITER_FAILURES, registry)


class Observing:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp, metrics: ApiMetrics) -> None:
        self._app = app
        self._metrics = metrics
        self._in_flight = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(scope)
        scope.setdefault(STATE, {})["request_id"] = request_id
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=request_id)
        status = _CLIENT_GONE
        started = False

        async def send_observed(message: Message) -> None:
            nonlocal status, started
            if message["type"] == "http.response.start":
                started = True
                status = message["status"]
                _complete(MutableHeaders(scope=message), request_id, scope)
            await send(message)

        began = time.perf_counter()
        self._in_flight += 1
        self._metrics.in_flight.set(self._in_flight)
        try:
            if self._in_flight > REQUESTS_MAX:
                busy = Problem.unavailable(f"more than {REQUESTS_MAX} requests at once", "too_busy")
                await busy.response(request_id)(scope, receive, send_observed)
            else:
                await self._app(scope, receive, send_observed)
        except Exception:
            logger.exception("a defect: the request could not be answered", method=scope["method"], path=scope["path"])
            if started:
                raise
            await _defect(request_id)(scope, receive, send_observed)
        finally:
            self._in_flight -= 1
            self._metrics.in_flight.set(self._in_flight)
            self._tell(scope, status, time.perf_counter() - began)

    def _tell(self, scope: Scope, status: int, seconds: float) -> None:
        method = scope["method"] if scope["method"] in _METHODS else "other"
        route = route_template(scope)
        self._metrics.requests.labels(method, route, str(status)).inc()
        self._metrics.seconds.labels(method, route).observe(seconds)
        level = logger.debug if scope["path"] in _QUIET else logger.info
        client = scope.get("client")
        # Without the query: it is long, and whatever somebody puts there by mistake would stay in the log.
        level(
            "request",
            method=method,
            path=scope["path"],
            status=status,
            milliseconds=round(seconds * 1000, 1),
            user=_user(scope),
            client=client[0] if client else None,
        )


def route_template(scope: Scope) -> str:
    """The path of the route that answered, with its parameters' names; `unmatched` where there was none."""
    path = getattr(scope.get("route"), "path", None)
    return path if isinstance(path, str) else UNMATCHED


def _request_id(scope: Scope) -> str:
    given = Headers(scope=scope).get(REQUEST_ID)
    return given if given is not None and _SANE_ID.fullmatch(given) else uuid.uuid4().hex


def _complete(headers: MutableHeaders, request_id: str, scope: Scope) -> None:
    headers[REQUEST_ID] = request_id
    for name, value in _HEADERS.items():
        headers.setdefault(name, value)
    if scope["scheme"] == "https":
        headers.setdefault("Strict-Transport-Security", f"max-age={_TLS_SECONDS}")


def _defect(request_id: str) -> ASGIApp:
    detail = f"something went wrong here, and is in the log under {request_id}"
    return Problem(HTTPStatus.INTERNAL_SERVER_ERROR, "internal_error", detail).response(request_id)


def _user(scope: Scope) -> str | None:
    return getattr(scope[STATE].get(PRINCIPAL_STATE), "user_id", None)
