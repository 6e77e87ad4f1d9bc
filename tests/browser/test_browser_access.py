"""Who gets in and what they can reach: signing in and out, other users, hostile names, a database that is away."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from urllib.parse import urlsplit

import psycopg
import pytest
from playwright.sync_api import expect
from psycopg import sql
from tests.browser.conftest import Dashboard, Visitor, screenshot
from tests.browser.ledger_data import Cost, add_alert, add_costs, now
from tests.fixtures.fix_api import make_token
from tests.fixtures.fix_postgres import PostgresServer

pytestmark = pytest.mark.browser

HOSTILE = "<img src=x onerror=alert(1)>'\"><script>alert(2)</script>"


@contextmanager
def database_away(server: PostgresServer, dashboard: Dashboard) -> Iterator[None]:
    """The database takes no connections, and those that there were are gone."""
    name = urlsplit(dashboard.database_url).path.lstrip("/")
    with psycopg.connect(server.url, autocommit=True) as connection:
        allow = sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}")
        connection.execute(allow.format(sql.Identifier(name), sql.Literal(False)))
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND application_name LIKE 'costledger%%'",
            (name,),
        )
        try:
            yield
        finally:
            connection.execute(allow.format(sql.Identifier(name), sql.Literal(True)))


def test_signing_in_and_out(visitor: Visitor) -> None:
    """Without a token there is only the form; the cookie is out of reach of scripts and other sites; out is out."""
    page, watched = visitor.page()
    page.goto(f"{visitor.url}/dashboard")
    assert page.url.endswith("/dashboard/login?reason=required")
    screenshot(page, "sign-in")
    watched.allow("status of 422")
    visitor.sign_in(page, "not a token")
    expect(page.get_by_role("alert")).to_contain_text("not accepted")
    visitor.sign_in(page, make_token("ada", seconds=-60))
    expect(page.get_by_role("alert")).to_contain_text("expired")
    visitor.sign_in(page, f" Bearer {make_token('ada')}\n")
    expect(page.get_by_role("heading", name="Your costs")).to_be_visible()
    (cookie,) = page.context.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"], cookie["path"]) == (True, "Strict", "/dashboard")
    assert page.evaluate("document.cookie") == ""
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("status")).to_have_text("You are signed out.")
    assert page.context.cookies() == []


def test_a_session_ends_with_its_token(visitor: Visitor) -> None:
    """The page that was open asks for a new token by itself, and says why."""
    page, watched = visitor.page()
    watched.allow("status of 401")
    visitor.sign_in(page, make_token("short-lived", seconds=5))
    expect(page.get_by_role("heading", name="Your costs")).to_be_visible()
    expect(page.get_by_text("Your token has expired")).to_be_visible()


def test_another_user_is_out_of_reach(dashboard: Dashboard, visitor: Visitor) -> None:
    """Neither page nor parts nor alerts of somebody else; an analyst may read, and change nothing."""
    add_costs(dashboard.ledger, [Cost("victim", now(), Decimal("7.77"), "secret-service")])
    alert = add_alert(dashboard.ledger, "victim", 75, "a secret alert")
    page, watched = visitor.signed_in("curious")
    watched.allow("status of 40")
    for path in (
        "/dashboard?user=victim",
        "/dashboard/fragments/costs?user=victim",
        "/dashboard/fragments/alerts?user=victim",
        "/dashboard/operator",
        "/dashboard/operator/state",
    ):
        response = page.goto(visitor.url + path)
        assert response is not None
        assert response.status == 403
        assert "secret" not in page.content()
        assert "7.77" not in page.content()
    screenshot(page, "refused")
    page.goto(f"{visitor.url}/dashboard")
    status = page.evaluate(
        """async (id) => (await fetch(`/dashboard/alerts/${id}/acknowledge`, {
            method: "POST", headers: {"X-Fragment": "1"},
            body: new URLSearchParams({csrf: document.querySelector("[name=csrf]").value})})).status""",
        alert,
    )
    assert status == 404
    assert page.evaluate("fetch('/dashboard/events?user=victim').then((answer) => answer.status)") == 403
    other, _ = visitor.signed_in("anna", "analyst", path="/dashboard?user=victim")
    expect(other.get_by_role("heading", name="Costs of victim")).to_be_visible()
    expect(other.locator("#part-breakdown")).to_contain_text("secret-service")
    assert other.locator("form[data-part-form]").count() == 0
    assert dashboard.ledger.execute(
        "SELECT acknowledged_at FROM ledger.alerts WHERE alert_id = %s", (alert,)
    ).fetchall() == [(None,)]


def test_markup_in_names_is_text(dashboard: Dashboard, visitor: Visitor) -> None:
    """Users, services, operations and messages with tags are shown as they are, in page, charts, parts and operations."""
    add_costs(dashboard.ledger, [Cost(HOSTILE, now(), Decimal(3), f"svc{HOSTILE}", f"op{HOSTILE}")])
    add_alert(dashboard.ledger, HOSTILE, 75, f"message{HOSTILE}")
    dashboard.ledger.execute(
        'INSERT INTO ledger.quarantine (topic, partition, "offset", reason, error) VALUES (%s, 0, 0, %s, %s)',
        (f"topic{HOSTILE}", f"reason{HOSTILE}", f"error{HOSTILE}"),
    )
    page, watched = visitor.signed_in(HOSTILE)
    page.on("dialog", lambda dialog: watched.complaints.append(f"dialog: {dialog.message}"))
    expect(page.locator(".user")).to_contain_text(HOSTILE)
    expect(page.locator("#part-breakdown")).to_contain_text(f"svc{HOSTILE}")
    expect(page.locator("#part-breakdown")).to_contain_text(f"op{HOSTILE}")
    expect(page.locator("#part-alerts")).to_contain_text(f"message{HOSTILE}")
    expect(page.locator("#live")).to_have_attribute("data-state", "live")
    page.get_by_role("link", name="12 months").click()
    expect(page.locator("#part-costs .legend")).to_contain_text(f"svc{HOSTILE}")
    operator, watched_too = visitor.signed_in("op", "operator", path="/dashboard/operator")
    operator.on("dialog", lambda dialog: watched_too.complaints.append(f"dialog: {dialog.message}"))
    expect(operator.locator("#system")).to_contain_text(f"error{HOSTILE}")
    operator.get_by_role("link", name=HOSTILE, exact=True).click()
    expect(operator.get_by_role("heading", name="Costs of")).to_contain_text(HOSTILE)
    for one in (page, operator):
        assert one.locator("main img, main script").count() == 0


def test_a_database_that_is_away_and_back(postgres: PostgresServer, dashboard: Dashboard, visitor: Visitor) -> None:
    """An open page keeps its figures and says so, a new one asks for patience; both come back by themselves."""
    add_costs(dashboard.ledger, [Cost("patient", now(), Decimal("4.25"))])
    page = visitor.current("patient", "status of 503")
    expect(page.locator("#live")).to_have_attribute("data-state", "live")
    fresh, watched_too = visitor.signed_in("patient")
    watched_too.allow("status of 503")
    with database_away(postgres, dashboard):
        expect(page.locator("#live")).to_have_attribute("data-state", "away")
        expect(page.locator("#trouble")).to_be_visible()
        expect(page.locator("#part-summary .lead data").first).to_have_text("$4.25")
        screenshot(page, "error-open-page")
        answer = fresh.goto(f"{visitor.url}/dashboard")
        assert answer is not None
        assert answer.status == 503
        expect(fresh.get_by_role("alert")).to_contain_text("Nothing is lost")
        screenshot(fresh, "error")
    expect(fresh.get_by_role("heading", name="Your costs")).to_be_visible(timeout=15_000)
    expect(page.locator("#live")).to_have_attribute("data-state", "live")
    expect(page.locator("#trouble")).to_be_hidden()


def test_a_link_from_elsewhere_keeps_the_session(visitor: Visitor) -> None:
    """A strict cookie is not sent with a link in a mail; the page that is shown instead goes on by itself."""
    page, _ = visitor.signed_in("mailed")
    page.set_extra_http_headers({})
    page.goto("data:text/html,<a href='" + visitor.url + "/dashboard?period=week'>see your alert</a>")
    page.get_by_role("link", name="see your alert").click()
    expect(page.get_by_role("heading", name="Your costs")).to_be_visible()
    assert page.url.endswith("period=week")
