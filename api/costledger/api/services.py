"""What the routes work with: settings, connections to PostgreSQL and Redis; opened and closed with the app."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Final, Self

import redis
from fastapi import Depends, Request
from psycopg_pool import ConnectionPool
from redis.backoff import NoBackoff
from redis.retry import Retry

from costledger.api.analytics.remembered import Remembered
from costledger.api.auth.verifier import TokenVerifier
from costledger.api.budget_courier import BudgetCourier
from costledger.api.middleware.limits import RateLimiter
from costledger.schemas.settings import Settings
from costledger.schemas.times import utc_now
from costledger.sinks.database import BoundedConnection, Connection, allow_silence, prepare_session

#: Requests that wait for a connection, for each that there is; more are told to come back.
WAITING_PER_CONNECTION: Final = 8
REDIS_CONNECTIONS_MAX: Final = 64
#: A connection is given up after so long: what a server or a proxy leaked into it ends with it.
CONNECTION_SECONDS_MAX: Final = 1800.0
CLOSE_SECONDS_MAX: Final = 2.0


@dataclass(slots=True)
class Services:
    """Shared by all requests. Routes are plain functions, which run in threads: everything here is blocking."""

    settings: Settings
    pool: ConnectionPool[BoundedConnection]
    redis: redis.Redis
    tokens: TokenVerifier
    limiter: RateLimiter
    budgets: BudgetCourier
    #: Answers over all users, ready to be sent.
    overviews: Remembered[bytes]
    #: The time that answers are of: which periods are running, which prices are in force. See `create_app`.
    now: Callable[[], datetime] = utc_now
    #: Set when the process drains: answers that last (event streams) end then.
    stopping: threading.Event = field(default_factory=threading.Event)

    @classmethod
    def open(
        cls, settings: Settings, tokens: TokenVerifier | None = None, now: Callable[[], datetime] = utc_now
    ) -> Self:
        """Open what the settings name; connects when first used. `SettingsError` where nobody could log in."""
        tokens = tokens or TokenVerifier.from_settings(settings)
        overviews = Remembered[bytes](settings.api_overview_seconds)
        courier = BudgetCourier(settings)
        # What fails for its settings goes first, and last what has threads: of a start that fails none is left behind.
        client, limiter = _redis(settings), RateLimiter(settings)
        opened = cls(settings, _pool(settings), client, tokens, limiter, courier, overviews, now)
        courier.start()
        return opened

    def close(self) -> None:
        """Close the connections."""
        self.stopping.set()
        self.budgets.stop()
        self.pool.close(CLOSE_SECONDS_MAX)
        self.redis.close()
        self.limiter.close()

    @contextmanager
    def ledger(self) -> Iterator[Connection]:
        """A connection to the ledger, in autocommit mode, as its writer, for the length of a block.

        `psycopg.OperationalError` where there is none within the time of the settings.
        """
        with self.pool.connection() as connection:
            yield connection


def _pool(settings: Settings) -> ConnectionPool[BoundedConnection]:
    def configure(connection: BoundedConnection) -> None:
        # A ledger that takes statements and never replies must not take the threads one after the other.
        allow_silence(connection, settings.api_timeout_seconds)
        prepare_session(connection, settings.api_timeout_seconds)
        # Compiling takes hundreds of milliseconds, and pays for statements of seconds; ours have pessimistic estimates.
        connection.execute("SET jit = off")

    return ConnectionPool(
        settings.database_url.get_secret_value(),
        connection_class=BoundedConnection,
        kwargs={
            "autocommit": True,
            "application_name": "costledger api",
            "connect_timeout": max(1, int(settings.api_timeout_seconds)),
            "tcp_user_timeout": int(settings.api_timeout_seconds * 1000),
        },
        configure=configure,
        # One that broke while it was idle is replaced before a route gets it.
        check=ConnectionPool.check_connection,
        min_size=1,
        max_size=settings.api_database_connections_max,
        max_waiting=WAITING_PER_CONNECTION * settings.api_database_connections_max,
        max_lifetime=CONNECTION_SECONDS_MAX,
        timeout=settings.api_timeout_seconds,
        name="api",
        open=True,
    )


def _redis(settings: Settings) -> redis.Redis:
    return redis.Redis.from_url(
        settings.redis_url.get_secret_value(),
        decode_responses=True,
        max_connections=REDIS_CONNECTIONS_MAX,
        socket_timeout=settings.api_timeout_seconds,
        socket_connect_timeout=settings.api_timeout_seconds,
        # Once more at once, for a connection that the server closed while it was idle; the caller decides beyond that.
        retry=Retry(NoBackoff(), 1),
    )


def get_services(request: Request) -> Services:
    """The services of the app that answers."""
    services = request.app.state.services
    assert isinstance(services, Services)  # noqa: S101 - set when the app starts
    return services


CurrentServices = Annotated[Services, Depends(get_services)]
