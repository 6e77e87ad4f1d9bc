"""The dashboard over HTTP, without a browser: sessions, forms of other sites, files, streams, headers."""

from __future__ import annotations

import re
from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import psycopg
import pytest
import structlog
from starlette.testclient import TestClient
from tests.api.alerting import store_alert
from tests.fixtures.fix_api import API_KEY, NO_KAFKA, make_token
from tests.fixtures.fix_postgres import PostgresServer
from tests.fixtures.fix_redis import RedisServer

from costledger.api.app import create_app
from costledger.api.dashboard.session import csrf_token
from costledger.schemas.budgets import Budget
from costledger.schemas.settings import Settings
from costledger.sinks.budgets import get_budget, save_budget
from costledger.sinks.migrations import migrate
from costledger.sinks.queries import query

HOME = {"origin": "http://testserver"}
FORM = {"version": "0", "monthly_budget": "7", "alert_thresholds": "", "time_zone": "UTC", "hourly_spike_limit": ""}


@pytest.fixture(scope="module")
def settings(postgres: PostgresServer, redis_server: RedisServer) -> Settings:
    """One ledger for the module: each test has users of its own."""
    url = postgres.create_database()
    migrate(url)
    return Settings(
        _env_file=None,
        bootstrap_servers=NO_KAFKA,
        database_url=url,
        redis_url=redis_server.empty_database(),
        api_token_key=API_KEY,
        api_timeout_seconds=5,
        api_rate_limit="100000/minute",
        api_rate_limit_anonymous="100000/minute",
    )


@pytest.fixture(scope="module")
def ledger(settings: Settings) -> Iterator[Any]:
    """A superuser's connection, in autocommit mode."""
    with psycopg.connect(settings.database_url.get_secret_value(), autocommit=True) as connection:
        yield connection


@pytest.fixture(scope="module")
def served(settings: Settings) -> Iterator[TestClient]:
    """The app, in this process."""
    with TestClient(create_app(settings), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def client(served: TestClient) -> TestClient:
    """A client that nobody has signed in."""
    served.cookies.clear()
    return served


def signed_in(client: TestClient, user: str = "ada", *roles: str) -> str:
    """Sign the client in; its token."""
    token = make_token(user, *roles)
    answer = client.post("/dashboard/login", data={"token": token}, headers=HOME, follow_redirects=False)
    assert answer.status_code == 303
    # The cookie is for TLS alone, which the client does not speak.
    client.cookies.clear()
    client.cookies.set("costledger_session", token, path="/dashboard")
    return token


def test_the_cookie_is_for_this_site_and_tls_alone(client: TestClient) -> None:
    """HttpOnly, strict, below /dashboard, Secure; without Secure only on this machine."""
    for host, secure in (
        ("costs.example.org", True),
        ("127.0.0.1:8080", False),
        ("localhost", False),
        ("[::1]", False),
    ):
        answer = client.post(
            f"http://{host}/dashboard/login",
            data={"token": make_token("ada")},
            headers={"origin": f"http://{host}"},
            follow_redirects=False,
        )
        cookie = answer.headers["set-cookie"]
        assert answer.status_code == 303
        assert re.search("HttpOnly", cookie)
        assert re.search("SameSite=strict", cookie, re.IGNORECASE)
        assert re.search("Path=/dashboard", cookie)
        assert ("Secure" in cookie) is secure
        assert "Max-Age" not in cookie


@pytest.mark.parametrize("others", ['prefs={"a":1}; ', "a b=c; ", "=; nameless; ", "ключ=1; "])
def test_cookies_of_other_apps_do_no_harm(client: TestClient, others: str) -> None:
    """Cookies ignore ports: those of another app on this host come along, and may have any form."""
    cookies = f"{others}costledger_session={make_token('neighbour')}".encode()
    answer = client.get("/dashboard", headers=[(b"cookie", cookies)], follow_redirects=False)
    assert answer.status_code == 200
    assert "neighbour" in answer.text


def test_a_page_knows_the_cookie_alone(client: TestClient) -> None:
    """Who asks and the proof in the forms come from the same token; an Authorization header neither helps nor harms."""
    token = signed_in(client, "cookie-user")
    for header in (f"Bearer {make_token('header-user', 'operator')}", "Basic YTpi"):
        page = client.get("/dashboard", headers={"authorization": header}, follow_redirects=False)
        assert page.status_code == 200
        assert "cookie-user" in page.text
        assert "header-user" not in page.text
        assert csrf_token(token) in page.text
    client.cookies.clear()
    answer = client.get(
        "/dashboard", headers={"authorization": f"Bearer {make_token('header-user')}"}, follow_redirects=False
    )
    assert (answer.status_code, answer.headers["location"]) == (303, "/dashboard/login?reason=required")


@pytest.mark.parametrize("origin", [None, "null", "https://elsewhere.example", "http://testserver.example"])
def test_forms_of_other_sites_are_refused(client: TestClient, origin: str | None) -> None:
    """Whatever they know: the browser says where a form comes from. Signing in counts too."""
    token = signed_in(client)
    headers = {} if origin is None else {"origin": origin}
    answer = client.post("/dashboard/budget", data={**FORM, "csrf": csrf_token(token)}, headers=headers)
    assert answer.status_code == 403
    assert client.post("/dashboard/login", data={"token": token}, headers=headers).status_code == 403


@pytest.mark.parametrize("csrf", ["", "0" * 64, csrf_token("another token"), "ü"])
def test_forms_of_other_sessions_are_refused(client: TestClient, ledger: Any, csrf: str) -> None:
    """A form works with the session whose page it was on, and changes nothing else."""
    signed_in(client, "forged")
    answer = client.post("/dashboard/budget", data={**FORM, "csrf": csrf}, headers=HOME)
    assert answer.status_code == 403
    assert "another session" in answer.text
    assert get_budget(ledger, "forged") is None


def test_a_form_of_this_session_is_taken(client: TestClient, ledger: Any) -> None:
    """Stored, and back to the page."""
    token = signed_in(client, "setter")
    answer = client.post(
        "/dashboard/budget", data={**FORM, "csrf": csrf_token(token)}, headers=HOME, follow_redirects=False
    )
    assert (answer.status_code, answer.headers["location"]) == (303, "/dashboard?saved=true#part-budget")
    stored = get_budget(ledger, "setter")
    assert stored is not None
    assert stored.monthly_budget == 7 * 10**12


def test_a_saved_budget_keeps_its_tier(client: TestClient, ledger: Any) -> None:
    """The form has no tier: the one that the user has stays."""
    save_budget(ledger, Budget(user_id="premium-user", tier="premium"))
    token = signed_in(client, "premium-user")
    page = client.get("/dashboard").text
    assert "Empty: 50.00, the default of the tier premium" in page
    answer = client.post("/dashboard/budget", data={**FORM, "version": "1", "csrf": csrf_token(token)}, headers=HOME)
    assert answer.status_code == 200
    stored = get_budget(ledger, "premium-user")
    assert stored is not None
    assert (stored.tier, stored.version) == ("premium", 2)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/dashboard"),
        ("GET", "/dashboard/operator"),
        ("GET", "/dashboard/events"),
        ("POST", "/dashboard/budget"),
        ("POST", "/dashboard/logout"),
        ("POST", "/dashboard/alerts/00000000-0000-0000-0000-000000000000/acknowledge"),
    ],
)
def test_without_a_session_there_is_the_sign_in_page(client: TestClient, method: str, path: str) -> None:
    """A bearer header is no session of a browser; our module is told 401 instead of being sent elsewhere."""
    headers = {**HOME, "authorization": f"Bearer {make_token('ada', 'operator')}"}
    answer = client.request(
        method, path, headers=headers, data={"version": "0"} if method == "POST" else None, follow_redirects=False
    )
    assert (answer.status_code, answer.headers["location"]) == (303, "/dashboard/login?reason=required")
    answer = client.request(
        method,
        path,
        headers={**HOME, "x-fragment": "1"},
        data={"version": "0"} if method == "POST" else None,
        follow_redirects=False,
    )
    assert answer.status_code == 401


def test_the_reason_for_signing_in_again_is_told(client: TestClient) -> None:
    """An expired token, and one that is not accepted, are different things to its holder."""
    for token, words in (
        (make_token("ada", seconds=-5), "has expired"),
        (make_token("ada", key="k" * 40), "no longer accepted"),
    ):
        client.cookies.clear()
        client.cookies.set("costledger_session", token, path="/dashboard")
        assert words in client.get("/dashboard").text


def test_a_link_from_another_site_gets_a_page_that_goes_on(client: TestClient) -> None:
    """Once, and only to the same address of ours: what follows comes from this site."""
    for site in ("cross-site", "same-site"):
        answer = client.get("/dashboard?period=week&user=%22%3E%3Cscript%3E", headers={"sec-fetch-site": site})
        assert answer.status_code == 200
        assert 'content="0; url=/dashboard?period=week&amp;user=%22%3E%3Cscript%3E"' in answer.text
    answer = client.get("/dashboard", headers={"sec-fetch-site": "same-origin"}, follow_redirects=False)
    assert answer.status_code == 303


def test_files_are_kept_for_ever_by_version(client: TestClient) -> None:
    """The page names files with their version; those may be cached, any other answer is asked for again."""
    page = client.get("/dashboard/login").text
    (sheet,) = re.findall(r'href="(/dashboard/static/dashboard.css\?v=[0-9a-f]+)"', page)
    answer = client.get(sheet)
    assert answer.headers["content-type"] == "text/css; charset=utf-8"
    assert "immutable" in answer.headers["cache-control"]
    assert "immutable" not in client.get("/dashboard/static/dashboard.css?v=old").headers["cache-control"]
    assert client.get(sheet, headers={"if-none-match": answer.headers["etag"]}).status_code == 304
    for name in ("../session.py", "..%2fsession.py", "nothing.js"):
        assert client.get(f"/dashboard/static/{name}").status_code == 404


def test_bad_requests_are_answered_as_pages(client: TestClient) -> None:
    """What is wrong, in a page: never a stack, never JSON to a person."""
    token = signed_in(client, "op", "operator")
    csrf = csrf_token(token)
    asked = [
        client.get("/dashboard?period=year"),
        client.get("/dashboard/operator?after_amount=NaN&after_user=x"),
        client.get("/dashboard/operator?after_amount=1e999999999&after_user=x"),
        client.get("/dashboard/operator?after_amount=abc&after_user=x"),
        client.get("/dashboard?user=%20"),
        client.post("/dashboard/budget", data={"csrf": csrf, "version": "-1"}, headers=HOME),
        client.post("/dashboard/alerts/no-uuid/snooze", data={"csrf": csrf, "hours": "1"}, headers=HOME),
        client.post(
            "/dashboard/alerts/00000000-0000-0000-0000-000000000000/snooze",
            data={"csrf": csrf, "hours": "99999"},
            headers=HOME,
        ),
    ]
    for answer in asked:
        assert answer.status_code == 422, answer.text
        assert answer.headers["content-type"].startswith("text/html")
        assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert client.get("/dashboard/nowhere").status_code == 404


def test_a_token_too_long_for_a_cookie_is_told(client: TestClient) -> None:
    """Browsers would drop it silently."""
    token = make_token("ada", padding="x" * 4000)
    answer = client.post("/dashboard/login", data={"token": token}, headers=HOME)
    assert answer.status_code == 422
    assert "a browser&#39;s cookie holds at most 3800" in answer.text


def test_exact_amounts_are_in_the_page(client: TestClient, ledger: Any) -> None:
    """Rounded for reading; all twelve decimals for whoever looks closer."""
    for table, column, value in (
        ("hourly_totals", "hour", "date_trunc('hour', now())"),
        ("daily_totals", "day", "current_date"),
    ):
        ledger.execute(
            f"INSERT INTO ledger.{table} (user_id, {column}, service, operation, events, unpriced, quantity, amount, "
            f"max_amount) VALUES ('exact', {value}, 'openai', 'tokens', 2, 1, 5, 1.234567890123, 1.234567890123)"
        )
    signed_in(client, "exact")
    page = client.get("/dashboard").text
    assert '<data value="1.234567890123" title="1.234567890123 USD">$1.23</data>' in page
    assert "1 without a price" in page
    assert Decimal("1.234567890123") == Decimal(re.findall(r'<data value="([^"]+)"', page)[0])


def test_the_operators_page_says_which_month_it_shows(client: TestClient, ledger: Any) -> None:
    """By cost it is that of UTC for everybody, by name that of each user's zone."""
    save_budget(ledger, Budget(user_id="dated", monthly_budget=8 * 10**12))
    signed_in(client, "op", "operator")
    headings = [
        re.findall(r'<h2 id="h-(?:users|tiers)">([^<]+)</h2>', client.get(f"/dashboard/operator{query}").text)
        for query in ("", "?order=name")
    ]
    for users, tiers in headings:
        assert re.fullmatch(r"Tiers in \w+ \d{4} \(UTC\)", tiers)
        assert users in {tiers.replace("Tiers", "Users"), "Users, each in the month of their own time zone"}
    assert headings[0][0] != headings[1][0]


def test_what_is_done_with_alerts_is_logged(client: TestClient, ledger: Any) -> None:
    """As over the API, and that it was here; nothing of an alert that is not the user's."""
    token = signed_in(client, "logged")
    mine, theirs = store_alert(ledger, "logged"), store_alert(ledger, "somebody")
    with structlog.testing.capture_logs() as lines:
        for alert_id in (mine, theirs):
            for verb, fields in (("acknowledge", {}), ("snooze", {"hours": "1"})):
                data = {**fields, "csrf": csrf_token(token)}
                client.post(f"/dashboard/alerts/{alert_id}/{verb}", data=data, headers=HOME, follow_redirects=False)
    told = [line for line in lines if line["event"].startswith("alert ")]
    common = {"alert_id": str(mine), "user": "logged", "by": "logged", "over": "dashboard", "log_level": "info"}
    assert told == [{"event": "alert acknowledged", **common}, {"event": "alert snoozed", **common}]


def test_operators_get_a_list_though_sorting_takes_too_long(
    client: TestClient, ledger: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With more totals than can be sorted in time the users come by name, and the page says why."""
    save_budget(ledger, Budget(user_id="listed", monthly_budget=8 * 10**12))
    signed_in(client, "op", "operator")
    page = client.get("/dashboard/operator?order=name").text
    assert ">listed</a>" in page
    assert "too many costs to sort" not in page
    # A statement that reads all costs, and takes longer than a request may.
    slow = b"SELECT pg_sleep(60), %(since)s, %(until)s, %(after_amount)s, %(after_user)s, %(prefix)s, %(limit)s"
    monkeypatch.setattr(
        "costledger.sinks.oversight.query", lambda name: slow if name == "oversight_users" else query(name)
    )
    answer = client.get("/dashboard/operator")
    assert answer.status_code == 200
    assert "too many costs to sort" in answer.text
    assert ">listed</a>" in answer.text
