"""The whole way: an event that a service emits, through Kafka, the stream app and the sink, onto a page that is open."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect
from tests.browser.conftest import Visitor, serving
from tests.e2e.conftest import System
from tests.fixtures.fix_api import API_KEY
from tests.fixtures.fix_kafka import KafkaServer
from tests.fixtures.fix_postgres import PostgresServer

from costledger.producers import CostTracker
from costledger.schemas.settings import Settings

pytestmark = pytest.mark.browser

#: Workers start in some seconds each, on a busy machine in many.
START_MS = 90_000


@pytest.fixture
def running_system(
    kafka: KafkaServer, postgres: PostgresServer, redis_url: str, tmp_path: Path, wait_until: Callable[..., Any]
) -> Iterator[System]:
    """A system with one worker of each kind."""
    system = System(kafka, postgres.create_database(), redis_url, tmp_path, wait_until)
    try:
        system.start_all()
        yield system
    finally:
        system.close()


def test_an_event_reaches_an_open_page(running_system: System, browser: Browser) -> None:
    """Its cost, and the alert that it raises against a budget set on the page, appear without a reload."""
    names = {name.removeprefix("COSTLEDGER_").lower(): value for name, value in running_system.environment.items()}
    settings = Settings(_env_file=None, api_token_key=API_KEY, **names)
    with serving(settings) as url:
        visitor = Visitor(browser, url)
        page, _ = visitor.signed_in("ada")
        expect(page.locator("#live")).to_have_attribute("data-state", "live")
        page.evaluate("window.stayed = true")
        page.get_by_label("Monthly budget, USD").fill("1")
        page.get_by_role("button", name="Save budget").click()
        expect(page.locator("#budget-message")).to_contain_text("Saved")
        address, topic = names["bootstrap_servers"], settings.topics.events
        with CostTracker(address, "browser-tests", topic=topic) as tracker:
            tracker.track("ada", "openai", "output-tokens", 1000, amount=Decimal("0.80"))
        expect(page.locator("#part-summary .lead data").first).to_have_text("$0.80", timeout=START_MS)
        expect(page.locator("#part-breakdown")).to_contain_text("output-tokens", timeout=START_MS)
        expect(page.locator("#part-alerts .alert").first).to_contain_text("75", timeout=START_MS)
        assert page.evaluate("window.stayed")
        operator, _ = visitor.signed_in("op", "operator", path="/dashboard/operator")
        lags = operator.locator("section[aria-labelledby=h-partitions] tbody tr td:nth-child(4)")
        expect(operator.locator("#system")).to_contain_text("has written all that Kafka has")
        assert set(lags.all_text_contents()) == {"0"}
        assert visitor.close() == []
