"""What the routes work with: settings, connections to PostgreSQL and Redis; opened and closed with the app."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any, Self

import psycopg
import redis
from fastapi import Depends, Request
from psycopg_pool import ConnectionPool

from costledger.schemas.settings import Settings
from costledger.sinks.database import Connection, prepare_session


@dataclass(slots=True)
class Services:
    """Shared by all requests. Routes are plain functions, which run in threads: everything here is blocking."""

    settings: Settings
    pool: ConnectionPool[psycopg.Connection[tuple[Any, ...]]]
    redis: redis.Redis

    @classmethod
    def open(cls, settings: Settings) -> Self:
        """Open what the settings name; connects when first used."""

        def configure(connection: Connection) -> None:
            prepare_session(connection, settings.api_timeout_seconds)

        pool = ConnectionPool(
            settings.database_url.get_secret_value(),
            kwargs={"autocommit": True, "application_name": "costledger api"},
            configure=configure,
            min_size=1,
            max_size=settings.api_database_connections_max,
            timeout=settings.api_timeout_seconds,
            open=True,
        )
        client = redis.Redis.from_url(
            settings.redis_url.get_secret_value(),
            decode_responses=True,
            socket_timeout=settings.api_timeout_seconds,
            socket_connect_timeout=settings.api_timeout_seconds,
        )
        return cls(settings, pool, client)

    def close(self) -> None:
        """Close the connections."""
        self.pool.close()
        self.redis.close()

    @contextmanager
    def ledger(self) -> Iterator[Connection]:
        """A connection to the ledger, in autocommit mode, as its writer, for the length of a block."""
        with self.pool.connection() as connection:
            yield connection


def get_services(request: Request) -> Services:
    """The services of the app that answers."""
    services = request.app.state.services
    assert isinstance(services, Services)  # noqa: S101 - set when the app starts
    return services


CurrentServices = Annotated[Services, Depends(get_services)]
