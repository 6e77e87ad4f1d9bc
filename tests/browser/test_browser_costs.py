"""A user's page in a real browser: what it shows, what can be changed there, and how it stays current."""

from __future__ import annotations

import re
from datetime import timedelta
from decimal import Decimal

import pytest
from playwright.sync_api import Page, Route, expect
from tests.browser.conftest import Dashboard, Visitor, screenshot
from tests.browser.ledger_data import Cost, add_alert, add_costs, history, now, say_in_real_time
from tests.fixtures.fix_api import make_token
from tests.fixtures.wait import wait_until

from costledger.schemas.budgets import Budget
from costledger.schemas.money import PICODOLLARS_PER_USD
from costledger.sinks.budgets import get_budget, save_budget

pytestmark = pytest.mark.browser


def fill_ledger(dashboard: Dashboard, user: str) -> None:
    """Four months of costs, a budget and three alerts."""
    add_costs(dashboard.ledger, history(user, now(), 120, seed=3))
    save_budget(dashboard.ledger, Budget(user_id=user, tier="premium", monthly_budget=130 * PICODOLLARS_PER_USD))
    add_alert(
        dashboard.ledger, user, 50, "50 % of the monthly budget of 130.00 USD is spent", now=now() - timedelta(days=2)
    )
    add_alert(dashboard.ledger, user, 75, "75 % of the monthly budget of 130.00 USD is spent")
    add_alert(
        dashboard.ledger,
        user,
        100,
        "An hour cost 22.10 USD, above 20.00 USD",
        kind="HOURLY_SPIKE",
        now=now() - timedelta(hours=3),
    )


def no_sideways_scrolling(page: Page) -> bool:
    """Whether nothing is wider than the window."""
    return bool(page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth"))


def test_a_page_full_of_figures(dashboard: Dashboard, visitor: Visitor) -> None:
    """Charts, tables, alerts and advice are there, in light and in dark and on a phone, and agree with the ledger."""
    fill_ledger(dashboard, "ada")
    page, _ = visitor.signed_in("ada")
    expect(page.get_by_role("heading", name="Your costs")).to_be_visible()
    spent = page.locator("#part-summary .lead data").first
    ((total,),) = dashboard.ledger.execute(
        "SELECT sum(amount) FROM ledger.daily_totals WHERE user_id = 'ada' AND day >= date_trunc('month', %s)", (now(),)
    ).fetchall()
    assert Decimal(spent.get_attribute("value") or "") == total
    assert (spent.get_attribute("title") or "").endswith(" USD")
    expect(page.get_by_role("img", name=re.compile("Costs of the last 7 days by service"))).to_be_visible()
    expect(page.get_by_role("img", name=re.compile("a budget of"))).to_be_visible()
    assert page.locator("#part-costs svg.wide .bar").count() > 7
    assert "openai" in (page.locator("#part-costs svg.wide .bar title").first.text_content() or "")
    page.get_by_text("Show as a table").first.click()
    expect(page.locator("#table-costs tbody tr")).to_have_count(7)
    expect(page.locator("#part-breakdown")).to_contain_text("detectLabels")
    expect(page.locator("#part-advice")).to_contain_text("Could save")
    expect(page.locator("#live")).to_have_attribute("data-state", "live")
    page.get_by_text("Show as a table").first.click()
    screenshot(page, "costs-light")
    page.emulate_media(color_scheme="dark")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(16, 20, 27)"
    screenshot(page, "costs-dark")
    page.emulate_media(color_scheme="light")
    page.set_viewport_size({"width": 360, "height": 740})
    assert no_sideways_scrolling(page)
    expect(page.locator("#part-costs svg.narrow")).to_be_visible()
    expect(page.locator("#part-costs svg.wide")).to_be_hidden()
    screenshot(page, "costs-phone")


def test_the_period_is_switched_without_a_reload(dashboard: Dashboard, visitor: Visitor) -> None:
    """Days, weeks or months; the address says which, and works by itself."""
    add_costs(dashboard.ledger, [Cost("switcher", now(), Decimal("1.5"))])
    page, _ = visitor.signed_in("switcher")
    page.evaluate("window.stayed = true")
    page.get_by_role("link", name="12 months").click()
    expect(page.get_by_role("img", name=re.compile("last 12 months"))).to_be_visible()
    assert page.evaluate("window.stayed")
    assert page.url.endswith("period=month")
    page.reload()
    expect(page.get_by_role("img", name=re.compile("last 12 months"))).to_be_visible()


def test_a_slow_answer_does_not_undo_a_later_one(dashboard: Dashboard, visitor: Visitor) -> None:
    """The parts of the last question stay, however late the answer to an earlier one comes."""
    add_costs(dashboard.ledger, [Cost("hasty", now(), Decimal("1.5"))])
    page, _ = visitor.page()
    held: list[Route] = []
    page.route("**/fragments/costs?period=day", lambda route: held.append(route))  # noqa: PLW0108 - the library marks it, which no builtin allows
    visitor.sign_in(page, make_token("hasty"))
    expect(page.locator("#live")).to_have_attribute("data-state", "live")
    page.get_by_role("link", name="12 months").click()
    expect(page.get_by_role("img", name=re.compile("last 12 months"))).to_be_visible()
    with page.expect_response("**/fragments/costs?period=day"):
        held.pop(0).continue_()
    with page.expect_response("**/fragments/alerts*"):
        pass
    expect(page.get_by_role("img", name=re.compile("last 12 months"))).to_be_visible()


def test_a_new_cost_appears_without_a_reload(dashboard: Dashboard, visitor: Visitor) -> None:
    """Real time first, then the roll-ups: the figures follow both, and a screen reader is told."""
    add_costs(dashboard.ledger, [Cost("live-user", now(), Decimal("1.25"))])
    say_in_real_time(dashboard.redis, "live-user", Decimal("1.25"), now())
    page = visitor.current("live-user")
    page.evaluate("window.stayed = true")
    say_in_real_time(dashboard.redis, "live-user", Decimal("3.75"), now())
    expect(page.locator("#part-summary .lead data").first).to_have_text("$3.75")
    expect(page.locator("#announce")).to_have_text("Spent so far: $3.75")
    add_costs(dashboard.ledger, [Cost("live-user", now(), Decimal("2.50"), "openai", "output-tokens")])
    expect(page.locator("#part-breakdown")).to_contain_text("output-tokens")
    assert page.evaluate("window.stayed")


def test_an_update_takes_nothing_from_who_is_at_work(dashboard: Dashboard, visitor: Visitor) -> None:
    """Focus, an opened table and a choice in a list stay as they are when their part of the page is made anew."""
    add_costs(dashboard.ledger, [Cost("busy", now(), Decimal("1.25"))])
    alert = add_alert(dashboard.ledger, "busy", 75, "75 % is spent")
    page = visitor.current("busy")
    page.locator(f"#alert-{alert} select").select_option("24")
    page.locator("#table-costs summary").focus()
    page.keyboard.press("Enter")
    add_alert(dashboard.ledger, "busy", 90, "90 % is spent")
    say_in_real_time(dashboard.redis, "busy", Decimal("2.25"), now())
    expect(page.locator("#part-summary .lead data").first).to_have_text("$2.25")
    expect(page.locator("#part-alerts .pill")).to_have_text("2 open")
    expect(page.locator("#table-costs summary")).to_be_focused()
    expect(page.locator("#table-costs tbody tr")).to_have_count(7)
    expect(page.locator("#table-costs tbody tr").first).to_be_visible()
    expect(page.locator(f"#alert-{alert} select")).to_have_value("24")


def listen(page: Page) -> None:
    """Note all that is announced from now on: one announcement may soon be followed by another."""
    page.evaluate(
        "() => { window.announced = []; const line = document.getElementById('announce');"
        " new MutationObserver(() => window.announced.push(line.textContent.trim()))"
        ".observe(line, {childList: true, characterData: true, subtree: true}); }"
    )


def announced(page: Page) -> list[str]:
    """What was announced since."""
    return list(page.evaluate("() => window.announced"))


def test_alerts_are_acknowledged_and_snoozed(dashboard: Dashboard, visitor: Visitor) -> None:
    """Both without a reload; a new alert appears by itself, and all of it is in the ledger."""
    first = add_alert(dashboard.ledger, "alerted", 75, "75 % is spent")
    second = add_alert(dashboard.ledger, "alerted", 90, "90 % is spent")
    page = visitor.current("alerted")
    alerts = page.locator("#part-alerts")
    expect(alerts.locator(".pill")).to_have_text("2 open")
    listen(page)
    alerts.locator(f"#ack-{first}").click()
    expect(alerts.locator(f"#alert-{first}")).to_contain_text("acknowledged")
    wait_until(lambda: "Alert acknowledged" in announced(page), 20, "it is announced")
    alerts.locator(f"#alert-{second} select").select_option("24")
    alerts.locator(f"#snooze-{second}").click()
    expect(alerts.locator(f"#alert-{second}")).to_contain_text("silent until")
    rows = dashboard.ledger.execute(
        "SELECT alert_id::text, acknowledged_by, snoozed_until - now() > interval '23 hours' FROM ledger.alerts "
        "WHERE user_id = 'alerted'"
    ).fetchall()
    assert {row[0]: row[1:] for row in rows} == {first: ("alerted", None), second: (None, True)}
    add_alert(dashboard.ledger, "alerted", 100, "All of it is spent")
    expect(alerts.get_by_text("All of it is spent").first).to_be_visible()
    expect(alerts.locator(".pill")).to_have_text("1 open")


def test_a_budget_is_set(dashboard: Dashboard, visitor: Visitor) -> None:
    """What was typed is stored as a new version and shown; a wrong field is named beside it and nothing is stored."""
    page, watched = visitor.signed_in("planner")
    page.get_by_label("Monthly budget, USD").fill("80.50")
    page.get_by_label("Alert at, % of the budget").fill("50, 99.5 %")
    page.get_by_label("Time zone").fill("Europe/Berlin")
    page.get_by_role("button", name="Save budget").click()
    expect(page.locator("#budget-message")).to_contain_text("Saved")
    expect(page.locator("#part-summary")).to_contain_text("of $80.50")
    stored = get_budget(dashboard.ledger, "planner")
    assert stored is not None
    assert stored.monthly_budget == 80_500_000_000_000
    assert stored.alert_thresholds == (Decimal(50), Decimal("99.5"))
    assert stored.time_zone == "Europe/Berlin"
    watched.allow("status of 422")
    page.get_by_label("Monthly budget, USD").fill("10000.01")
    page.get_by_label("Time zone").fill("Mars/Olympus")
    page.get_by_role("button", name="Save budget").click()
    wrong = page.get_by_label("Monthly budget, USD")
    expect(wrong).to_have_attribute("aria-invalid", "true")
    expect(wrong).to_be_focused()
    expect(page.locator("#monthly_budget-error")).to_have_text("Must be from 0 to 10000 USD.")
    expect(page.locator("#time_zone-error")).to_contain_text("IANA")
    screenshot(page, "budget-errors")
    again = get_budget(dashboard.ledger, "planner")
    assert again is not None
    assert again.version == stored.version


def test_a_budget_changed_meanwhile_is_a_conflict(dashboard: Dashboard, visitor: Visitor) -> None:
    """Neither change is lost silently: the page says what is there now, and saving again replaces it."""
    page, watched = visitor.signed_in("shared-user")
    save_budget(dashboard.ledger, Budget(user_id="shared-user", monthly_budget=33 * PICODOLLARS_PER_USD))
    watched.allow("status of 409")
    page.get_by_label("Monthly budget, USD").fill("44")
    page.get_by_role("button", name="Save budget").click()
    expect(page.locator("#budget-message")).to_contain_text("changed meanwhile")
    expect(page.locator("#budget-message")).to_contain_text("33.00 USD a month")
    expect(page.get_by_label("Monthly budget, USD")).to_have_value("44")
    page.get_by_role("button", name="Save budget").click()
    expect(page.locator("#budget-message")).to_contain_text("Saved")
    stored = get_budget(dashboard.ledger, "shared-user")
    assert stored is not None
    assert (stored.version, stored.monthly_budget) == (2, 44 * PICODOLLARS_PER_USD)


def test_the_keyboard_is_enough(dashboard: Dashboard, visitor: Visitor) -> None:
    """Skip link, then Tab to the form, type, Enter: saved. Wherever the focus is, it is visible."""
    page = visitor.current("typist")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    for _ in range(60):
        page.keyboard.press("Tab")
        outline = page.evaluate(
            "(() => { const s = getComputedStyle(document.activeElement); return [s.outlineStyle, parseFloat(s.outlineWidth)]; })()"
        )
        assert outline[0] != "none", page.evaluate("document.activeElement.outerHTML")
        assert outline[1] >= 1
        if page.evaluate("document.activeElement.id") == "monthly_budget":
            break
    page.keyboard.type("12.34")
    page.keyboard.press("Enter")
    expect(page.locator("#budget-message")).to_contain_text("Saved")
    expect(page.locator("#budget-save")).to_be_focused()
    stored = get_budget(dashboard.ledger, "typist")
    assert stored is not None
    assert stored.monthly_budget == 12_340_000_000_000


def test_a_user_without_costs(visitor: Visitor) -> None:
    """Every part says that there is nothing, and what will be there."""
    page, _ = visitor.signed_in("nobody-yet")
    for words in ("No costs yet.", "No alerts.", "Nothing to suggest.", "Nothing to break down."):
        expect(page.get_by_text(words)).to_be_visible()
    expect(page.locator("#part-summary .lead data").first).to_have_text("$0.00")
    screenshot(page, "empty")


def test_without_script_everything_still_works(dashboard: Dashboard, visitor: Visitor) -> None:
    """The forms are real: budget and alerts change by plain posts and redirects."""
    alert = add_alert(dashboard.ledger, "plain", 75, "75 % is spent")
    page, watched = visitor.signed_in("plain", java_script_enabled=False)
    page.locator(f"#ack-{alert}").click()
    expect(page.locator(f"#alert-{alert}")).to_contain_text("acknowledged")
    page.get_by_label("Monthly budget, USD").fill("9")
    page.get_by_role("button", name="Save budget").click()
    expect(page.locator("#budget-message")).to_contain_text("Saved")
    watched.allow("status of 422")
    page.get_by_label("Monthly budget, USD").fill("nine")
    page.get_by_role("button", name="Save budget").click()
    expect(page.locator("#monthly_budget-error")).to_be_visible()
    expect(page.get_by_label("Monthly budget, USD")).to_have_value("nine")


def test_motion_is_reduced_where_asked(dashboard: Dashboard, visitor: Visitor) -> None:
    """No animation runs for who wants none."""
    page, _ = visitor.signed_in("calm", reduced_motion="reduce")
    page.locator("#part-summary .lead").evaluate("one => one.classList.add('fresh')")
    assert page.evaluate("document.getAnimations().length") == 0
