"""The operators' page in a real browser: every user, the tiers, the state of the system; and all pages' good behaviour."""

from __future__ import annotations

from decimal import Decimal

import pytest
from playwright.sync_api import expect
from tests.browser.conftest import Dashboard, Visitor, screenshot
from tests.browser.ledger_data import Cost, add_alert, add_costs, now

from costledger.schemas.budgets import Budget
from costledger.schemas.money import PICODOLLARS_PER_USD
from costledger.sinks.budgets import save_budget

pytestmark = pytest.mark.browser

USERS = 60


@pytest.fixture(scope="module")
def company(dashboard: Dashboard) -> Dashboard:
    """Sixty users in three tiers, partitions, quarantined messages and deliveries."""
    ledger = dashboard.ledger
    add_costs(
        ledger, [Cost(f"user-{number:02d}", now(), Decimal(number) / 4, events=number + 1) for number in range(USERS)]
    )
    save_budget(ledger, Budget(user_id="user-59", tier="ultimate"))
    save_budget(ledger, Budget(user_id="user-58", tier="premium", monthly_budget=14 * PICODOLLARS_PER_USD))
    for partition in range(12):
        ledger.execute(
            "INSERT INTO ledger.sink_offsets (topic, partition, next_offset, epoch, first_offset, consumed, inserted, "
            "duplicates) VALUES ('cost.events', %s, %s, 1, 0, %s, %s, 1)",
            (partition, 100 + partition, 100 + partition, 99 + partition),
        )
    ledger.execute(
        'INSERT INTO ledger.quarantine (topic, partition, "offset", reason, error) '
        "VALUES ('cost.events', 3, 17, 'invalid_quantity', 'quantity is -1; it must be 0 or more')"
    )
    alert = add_alert(ledger, "user-59", 75, "75 % is spent")
    ledger.execute(
        "INSERT INTO ledger.alert_deliveries (alert_id, channel, target, state) VALUES (%s, 'email', 'a', 'dead')",
        (alert,),
    )
    return dashboard


def test_operators_see_everybody_and_everything(company: Dashboard, visitor: Visitor) -> None:
    """Users by cost with their share of the budget, page after page; tiers; watermarks; what waits for a fix."""
    page, _ = visitor.signed_in("op", "operator", path="/dashboard/operator")
    rows = page.locator("section[aria-labelledby=h-users] tbody tr")
    expect(rows).to_have_count(25)
    expect(rows.nth(0)).to_contain_text("user-59")
    expect(rows.nth(0)).to_contain_text("$14.75")
    expect(rows.nth(0)).to_contain_text("7.4 %")
    expect(rows.nth(1)).to_contain_text("104 %")
    system = page.locator("#system")
    expect(system.locator("section[aria-labelledby=h-partitions] tbody tr")).to_have_count(12)
    expect(system).to_contain_text("quantity is -1; it must be 0 or more")
    expect(system).to_contain_text("1 given up")
    expect(system).to_contain_text("does not answer: the lag is not known")
    expect(system).to_contain_text("every offset is accounted for")
    expect(page.locator("section[aria-labelledby=h-tiers] tbody tr")).to_have_count(3)
    screenshot(page, "operator-light")
    page.emulate_media(color_scheme="dark")
    screenshot(page, "operator-dark")
    seen = rows.locator("th").all_text_contents()
    while page.get_by_role("link", name="Next").count():
        page.get_by_role("link", name="Next").click()
        expect(page.get_by_role("link", name="First page")).to_be_visible()
        seen += rows.locator("th").all_text_contents()
    assert len(seen) == len(set(seen)) == USERS
    page.get_by_label("User begins with").fill("user-5")
    page.get_by_role("button", name="Find").click()
    expect(rows).to_have_count(10)
    page.set_viewport_size({"width": 360, "height": 740})
    assert page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    screenshot(page, "operator-phone")


def test_the_state_of_the_system_is_kept_current(company: Dashboard, visitor: Visitor) -> None:
    """A message put aside while the page is open appears there without a reload."""
    page, _ = visitor.signed_in("op", "operator", path="/dashboard/operator")
    page.evaluate("window.stayed = true")
    company.ledger.execute(
        'INSERT INTO ledger.quarantine (topic, partition, "offset", reason, error) '
        "VALUES ('cost.events', 4, 18, 'undecodable', 'just come')"
    )
    expect(page.locator("#system")).to_contain_text("just come", timeout=10_000)
    assert page.evaluate("window.stayed")


def test_headers_of_every_page(company: Dashboard, visitor: Visitor) -> None:
    """The same strict policy everywhere, no caching of figures, and nothing that a page may not do."""
    page, watched = visitor.signed_in("op", "operator")
    watched.allow("status of 40")
    pages = (
        "/dashboard",
        "/dashboard/operator",
        "/dashboard/login",
        "/dashboard?user=user-01",
        "/dashboard/no-such-page",
    )
    for path in pages:
        response = page.goto(visitor.url + path)
        assert response is not None
        headers = response.all_headers()
        policy = {part.split()[0]: part.split()[1:] for part in headers["content-security-policy"].split("; ")}
        assert policy == {
            "default-src": ["'none'"],
            "script-src": ["'self'"],
            "style-src": ["'self'"],
            "img-src": ["'self'", "data:"],
            "connect-src": ["'self'"],
            "form-action": ["'self'"],
            "base-uri": ["'none'"],
            "frame-ancestors": ["'none'"],
        }
        assert headers["cache-control"] == "no-store"
        assert headers["x-content-type-options"] == "nosniff"
        assert page.locator("[style], script:not([src]), style").count() == 0
        assert page.evaluate("document.querySelectorAll('*').length") < 3000
