"""The application: routes, errors, what every request passes through, and the connections behind them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import datetime

from fastapi import FastAPI
from fastapi.routing import iter_route_contexts
from prometheus_client import CollectorRegistry

from costledger.api import dashboard, handlers
from costledger.api.auth import TokenVerifier
from costledger.api.decisions import opened_desk
from costledger.api.middleware.admission import Admitting
from costledger.api.middleware.bodies import Receiving
from costledger.api.middleware.observing import ApiMetrics, Observing
from costledger.api.openapi import describe
from costledger.api.routes import alert_routes, alerts, analytics, budget, decisions, estimates, health, prices, reports
from costledger.api.services import Services
from costledger.schemas.settings import Settings
from costledger.schemas.times import utc_now

#: Every group of routes.
ROUTERS = (
    health.router,
    budget.router,
    alert_routes.router,  # before the alerts, whose last route takes any name as an id
    alerts.router,
    analytics.router,
    estimates.router,
    decisions.router,
    prices.router,
    reports.router,
    *dashboard.routers,  # the last of them answers every other path below /dashboard
)


def create_app(
    settings: Settings, registry: CollectorRegistry | None = None, now: Callable[[], datetime] = utc_now
) -> FastAPI:
    """The app of these settings; it opens its connections when it starts, and closes them when it ends.

    Metrics are registered in `registry`. Answers are of the time that `now` says; logins, rate limits, the guard's months
    and what PostgreSQL stamps are not. `SettingsError` where nobody could log in.
    """
    tokens = TokenVerifier.from_settings(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.services = Services.open(settings, tokens, now)
        try:
            with opened_desk(app, app.state.services):
                yield
        finally:
            app.state.services.close()

    app = FastAPI(
        title="costledger",
        version="1",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,
    )
    app.state.registry = registry = registry or CollectorRegistry()
    handlers.register(app)
    for router in ROUTERS:
        app.include_router(router)
    # They are built when they are first asked for: now, so that no request waits and a mistake is told at the start. Two
    # servers in threads of one process could not do it at once: CPython 3.11 counts the depth of its parser per process.
    for _ in iter_route_contexts(app.routes):
        pass
    metrics = ApiMetrics(registry)
    # The last one added is the outermost.
    app.add_middleware(Receiving, bytes_max=settings.api_request_bytes_max)
    app.add_middleware(Admitting, metrics=metrics)
    app.add_middleware(Observing, metrics=metrics)
    describe(app)
    return app
