"""The application: routes, errors and the connections behind them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from costledger.api import dashboard, problems
from costledger.api.routes import analytics, health
from costledger.api.services import Services
from costledger.schemas.settings import Settings


def create_app(settings: Settings) -> FastAPI:
    """The app of these settings; it opens its connections when it starts, and closes them when it ends."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        app.state.services = Services.open(settings)
        try:
            yield
        finally:
            app.state.services.close()

    app = FastAPI(title="costledger", version="1", lifespan=lifespan, docs_url=None, redoc_url=None)
    problems.register(app)
    for router in (health.router, analytics.router, *dashboard.routers):
        app.include_router(router)
    return app
