"""A browser, and a dashboard on a port with a database and a Redis of its own: one of each for a module."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis
from playwright.sync_api import Browser, BrowserContext, Page, expect, sync_playwright
from prometheus_client import CollectorRegistry
from tests.fixtures.fix_api import API_KEY, NO_KAFKA, make_token
from tests.fixtures.fix_postgres import PostgresServer
from tests.fixtures.fix_redis import RedisServer
from tests.fixtures.wait import wait_until

from costledger.api.server import ApiServer
from costledger.schemas.settings import Settings
from costledger.sinks.migrations import migrate

ROOT = Path(__file__).resolve().parents[2]
SCREENSHOTS = ROOT / "build" / "screenshots"
TIMEOUT_MS = 20_000
ARGUMENTS = [
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-sync",
    "--no-first-run",
]


expect.set_options(timeout=TIMEOUT_MS)


def chromium() -> str | None:
    """The path of Debian's Chromium, or of another one that is installed."""
    return next(
        (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
    )


@pytest.fixture(scope="module")
def browser(request: pytest.FixtureRequest) -> Iterator[Browser]:
    """Chromium without a window; where there is none the test is skipped, or fails if tests must not be skipped."""
    path = chromium()
    if path is None:
        reason = f"{request.node.name} needs Chromium (Debian: apt install chromium)"
        if os.environ.get("COSTLEDGER_TEST_REQUIRE"):
            pytest.fail(reason)
        pytest.skip(reason)
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=path, headless=True, args=ARGUMENTS)
        yield launched
        launched.close()


@dataclass
class Dashboard:
    """A dashboard that runs: `url`, the ledger as a superuser in autocommit mode, and Redis."""

    url: str
    database_url: str
    ledger: psycopg.Connection[Any]
    redis: redis.Redis


@contextmanager
def serving(settings: Settings) -> Iterator[str]:
    """The API on a free port, in a thread; its URL."""
    server = ApiServer(settings.model_copy(update={"api_port": 0}), CollectorRegistry())
    thread = threading.Thread(target=server.run, name="dashboard", daemon=True)
    thread.start()
    try:
        wait_until(lambda: server.started, 20, "the dashboard listens")
        yield server.url
    finally:
        server.stop()
        thread.join(15)
        assert not thread.is_alive()


def dashboard_settings(database_url: str, redis_url: str, **other: Any) -> Settings:
    """Settings of a dashboard of the tests."""
    values = {
        "api_timeout_seconds": 5,
        "bootstrap_servers": NO_KAFKA,
        "api_token_key": API_KEY,
        "api_rate_limit": "100000/minute",
        **other,
    }
    values.setdefault("api_rate_limit_anonymous", "100000/minute")
    return Settings(_env_file=None, database_url=database_url, redis_url=redis_url, **values)


@pytest.fixture(scope="module")
def dashboard(postgres: PostgresServer, redis_server: RedisServer) -> Iterator[Dashboard]:
    """A dashboard without Kafka, on an empty ledger."""
    database_url, redis_url = postgres.create_database(), redis_server.empty_database()
    migrate(database_url)
    client = redis.Redis.from_url(redis_url, decode_responses=True)
    with (
        psycopg.connect(database_url, autocommit=True) as ledger,
        serving(dashboard_settings(database_url, redis_url)) as url,
    ):
        yield Dashboard(url, database_url, ledger, client)
    client.close()


@dataclass
class Watched:
    """What a page did that it should not: errors in the console, other hosts, breaches of the policy."""

    origin: str
    allowed: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)

    def allow(self, text: str) -> None:
        """A complaint with this text is expected."""
        self.allowed.append(text)

    def watch(self, page: Page) -> None:
        """Listen to a page."""
        page.on("console", lambda said: self._complain(f"{said.type}: {said.text}") if said.type != "log" else None)
        page.on("pageerror", lambda error: self._complain(f"exception: {error}"))
        page.on("request", lambda asked: self._check(asked.url))
        page.add_init_script(
            "addEventListener('securitypolicyviolation', (e) => console.error('POLICY', e.violatedDirective, e.blockedURI))"
        )

    def _check(self, url: str) -> None:
        if not url.startswith((f"{self.origin}/", "data:")):
            self._complain(f"another host: {url}")

    def _complain(self, text: str) -> None:
        if not any(one in text for one in self.allowed):
            self.complaints.append(text)


class Visitor:
    """Opens pages in contexts of their own, watched; and says at the end that none complained."""

    def __init__(self, browser: Browser, url: str) -> None:
        self._browser = browser
        self.url = url
        self._contexts: list[tuple[BrowserContext, Watched]] = []

    def page(self, width: int = 1280, height: int = 900, **options: Any) -> tuple[Page, Watched]:
        """A page in a fresh context, with nothing in it yet."""
        context = self._browser.new_context(viewport={"width": width, "height": height}, **options)
        context.set_default_timeout(TIMEOUT_MS)
        watched = Watched(self.url)
        self._contexts.append((context, watched))
        page = context.new_page()
        watched.watch(page)
        return page, watched

    def signed_in(self, user: str, *roles: str, path: str = "/dashboard", **options: Any) -> tuple[Page, Watched]:
        """A page of a user who has signed in by the form."""
        page, watched = self.page(**options)
        self.sign_in(page, make_token(user, *roles))
        page.wait_for_url("**/dashboard")
        if path != "/dashboard":
            page.goto(self.url + path)
        return page, watched

    def current(self, user: str, *allowed: str) -> Page:
        """A user's page that has looked at everything once: what changes from now on, it must be told of."""
        page, watched = self.page()
        for text in allowed:
            watched.allow(text)
        with page.expect_response("**/dashboard/fragments/alerts*"):
            self.sign_in(page, make_token(user))
        return page

    def sign_in(self, page: Page, token: str) -> None:
        """Paste a token into the form."""
        page.goto(f"{self.url}/dashboard/login")
        page.get_by_label("Token").fill(token)
        page.get_by_role("button", name="Sign in").click()

    def close(self) -> list[str]:
        """Close all; what the pages did that they should not."""
        for context, _ in self._contexts:
            context.close()
        return [complaint for _, watched in self._contexts for complaint in watched.complaints]


@pytest.fixture
def visitor(browser: Browser, dashboard: Dashboard) -> Iterator[Visitor]:
    """Visits the dashboard; the test fails where a page complained."""
    made = Visitor(browser, dashboard.url)
    yield made
    assert made.close() == []


def screenshot(page: Page, name: str) -> None:
    """Keep a picture of the whole page, as an artefact to be looked at."""
    page.evaluate("scrollTo(0, 0)")
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True, animations="disabled")
