"""`/dashboard/events`: server-sent events that say which parts of an open page have changed."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from http import HTTPStatus
from typing import Final

from fastapi import APIRouter, Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from costledger.api.dashboard.live import LiveHub, Subscription, TooManyPages
from costledger.api.dashboard.rendering import HEADERS
from costledger.api.dashboard.routing import PageRoute
from costledger.api.dashboard.session import CurrentSession
from costledger.api.services import get_services

router = APIRouter(prefix="/dashboard", route_class=PageRoute, include_in_schema=False)

#: So that proxies do not take a quiet stream for a dead one.
HEARTBEAT_SECONDS: Final = 15.0
#: Then, or when the token ends, the browser connects anew, and its session is checked again.
STREAM_SECONDS_MAX: Final = 600.0
_RECONNECT_MS: Final = 2000
_RETRY_AFTER_SECONDS: Final = 30


def hub_of(request: Request) -> LiveHub:
    """The hub of the app that answers, made when it is first needed."""
    state = request.app.state
    if not hasattr(state, "live_hub"):
        state.live_hub = LiveHub(get_services(request))
    hub = state.live_hub
    assert isinstance(hub, LiveHub)  # noqa: S101 - set above
    return hub


@router.get("/events")
async def events(request: Request, session: CurrentSession, user: str | None = None) -> Response:
    """A stream of `change` events (data: costs or alerts) and `state` events (data: live or away)."""
    hub = hub_of(request)
    try:
        subscription = hub.subscribe(session.principal.readable_user(user))
    except TooManyPages:
        headers = {**HEADERS, "Retry-After": str(_RETRY_AFTER_SECONDS)}
        return Response(status_code=HTTPStatus.SERVICE_UNAVAILABLE.value, headers=headers)
    lifetime_seconds = STREAM_SECONDS_MAX
    if session.principal.expires_at:
        lifetime_seconds = min(lifetime_seconds, session.principal.expires_at - time.time())
    return _EventStream(hub, subscription, lifetime_seconds)


class _EventStream(StreamingResponse):
    """The stream of one page; however it ends, the hub no longer knows the page then."""

    def __init__(self, hub: LiveHub, subscription: Subscription, lifetime_seconds: float) -> None:
        headers = {**HEADERS, "X-Accel-Buffering": "no"}
        super().__init__(_stream(subscription, lifetime_seconds), headers=headers, media_type="text/event-stream")
        self._hub = hub
        self._subscription = subscription

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer until the browser leaves, or time is up."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._hub.unsubscribe(self._subscription)


async def _stream(subscription: Subscription, lifetime_seconds: float) -> AsyncIterator[str]:
    ends_at = time.monotonic() + lifetime_seconds
    yield f"retry: {_RECONNECT_MS}\n\n"
    while (left := ends_at - time.monotonic()) > 0:
        message = await subscription.next(min(left, HEARTBEAT_SECONDS))
        if message is None:
            yield ": still here\n\n"
        elif message == "end":
            return
        else:
            name = "change" if message in ("costs", "alerts") else "state"
            yield f"event: {name}\ndata: {message}\n\n"
