"""What the tests of decisions over HTTP share: a migrated ledger, the app with its own Redis database, callers."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import psycopg
import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from tests.fixtures.fix_postgres import PostgresServer

from costledger.api.app import create_app
from costledger.api.auth.tokens import sign_token
from costledger.schemas.budgets import Budget
from costledger.schemas.settings import Settings
from costledger.sinks.budgets import save_budget
from costledger.sinks.migrations import migrate

KEY = "a key of these tests that has more than 32 bytes"
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def ledger_url(postgres: PostgresServer) -> str:
    """A migrated database; tests use users of their own in it."""
    url = postgres.create_database()
    migrate(url)
    return url


@pytest.fixture
def make_settings(ledger_url: str, redis_url: str) -> Callable[..., Settings]:
    """Settings of this test's Redis, which counts as known at once."""

    def make(**other: Any) -> Settings:
        values: dict[str, Any] = {
            "database_url": ledger_url,
            "redis_url": redis_url,
            "api_token_key": KEY,
            "api_rate_limit": "1000000/minute",
            "guard_recovery_seconds": 0,
            "guard_budget_cache_seconds": 0,
        }
        return Settings(**{**values, **other})

    return make


@pytest.fixture
def user() -> str:
    """A user that no other test has."""
    return f"user-{next(_numbers):04d}"


class Caller:
    """Somebody with a token."""

    def __init__(self, client: Any, settings: Settings, user_id: str, *roles: str) -> None:
        self.client = client
        self.headers = {"Authorization": f"Bearer {sign_token(settings, user_id, list(roles), 600)}"}

    def get(self, path: str, **params: Any) -> Any:
        """A GET; the response."""
        return self.client.get(path, params=params, headers=self.headers)

    def post(self, path: str, body: Any = None) -> Any:
        """A POST of a document; the response."""
        return self.client.post(path, json=body, headers=self.headers)

    def post_text(self, path: str, text: str | bytes) -> Any:
        """A POST of JSON as it is written."""
        headers = {**self.headers, "Content-Type": "application/json"}
        return self.client.post(path, content=text, headers=headers)

    def decide(self, **body: Any) -> dict[str, Any]:
        """A decision that must be answered."""
        response = self.post("/api/decisions", body)
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        return answer


MakeCaller = Callable[..., Caller]


@pytest.fixture
def start_app() -> Iterator[Callable[[Settings], TestClient]]:
    """Runs an app until the test ends."""
    with ExitStack() as cleanup:

        def start(settings: Settings) -> TestClient:
            app: FastAPI = create_app(settings)
            return cleanup.enter_context(TestClient(app, raise_server_exceptions=False))

        yield start


@pytest.fixture
def settings(make_settings: Callable[..., Settings]) -> Settings:
    """The settings of `client`."""
    return make_settings()


@pytest.fixture
def client(start_app: Callable[[Settings], TestClient], settings: Settings) -> TestClient:
    """The app of these settings."""
    return start_app(settings)


@pytest.fixture
def caller(client: TestClient, settings: Settings, user: str) -> Caller:
    """The test's user."""
    return Caller(client, settings, user)


@pytest.fixture
def operator(client: TestClient, settings: Settings) -> Caller:
    """Somebody with the role operator."""
    return Caller(client, settings, "operator-1", "operator")


@pytest.fixture
def set_budget(ledger_url: str) -> Iterator[Callable[[str, int], None]]:
    """Gives a user a monthly budget, in 1e-12 USD, and a tier."""
    with psycopg.connect(ledger_url, autocommit=True) as connection:

        def set_(user_id: str, monthly: int, tier: str = "default") -> None:
            save_budget(connection, Budget(user_id=user_id, monthly_budget=monthly, tier=tier))

        yield set_
