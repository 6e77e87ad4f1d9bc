"""Every answer is of the time that the app is given: which periods are running, which prices are in force."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from starlette.testclient import TestClient
from tests.fixtures.fix_api import bearer, make_token
from tests.sinks.analytics.filling import write_events
from tests.sinks.conftest import make_event

from costledger.api.app import create_app
from costledger.schemas.settings import Settings
from costledger.schemas.times import parse_time

#: A leap day, which is today at no time that the tests run at.
NOW = datetime(2024, 2, 29, 18, 20, tzinfo=UTC)
SPENT = "0.003"


@pytest.fixture
def client(api_settings: Settings, api_ledger: psycopg.Connection[Any]) -> Iterator[TestClient]:
    """A client of an app for which it is `NOW`; ann has one event of an hour before, and one of a year later."""
    events = [
        make_event("ann", amount=amount, occurred_at=at)
        for amount, at in ((3_000_000_000, NOW - timedelta(hours=1)), (7_000_000_000, NOW + timedelta(days=366)))
    ]
    write_events(api_ledger, events)
    with TestClient(create_app(api_settings, now=lambda: NOW), raise_server_exceptions=False) as client:
        yield client


@pytest.mark.parametrize("period", ["day", "week", "month"])
def test_the_running_period_is_that_of_the_clock(client: TestClient, period: str) -> None:
    """Of a user and of all tiers: the period that has `NOW` in it, with what was spent in that one alone."""
    asked = {"period": period}
    costs = client.get("/api/analytics/costs", params=asked, headers=bearer("ann")).json()
    tiers = client.get("/api/analytics/tiers", params=asked, headers=bearer("eve", "analyst")).json()
    for answer, running in ((costs, costs["current"]), (tiers, tiers)):
        assert parse_time(answer["generated_at"]) == NOW
        assert parse_time(running["start"]) <= NOW < parse_time(running["end"])
        assert running["total"] == SPENT


def test_the_month_of_every_user_is_that_of_the_clock(client: TestClient) -> None:
    """In the list of users, and on the operators' page in both orders."""
    (user,) = client.get("/api/analytics/users", headers=bearer("eve", "analyst")).json()["users"]
    assert (parse_time(user["month_start"]), user["month_to_date"]) == (datetime(2024, 2, 1, tzinfo=UTC), SPENT)
    client.cookies.set("costledger_session", make_token("eve", "operator"), path="/dashboard")
    for order in ("cost", "name"):
        page = client.get("/dashboard/operator", params={"order": order}).text
        assert "February 2024" in page
        assert SPENT in page


def test_the_dashboard_shows_the_month_of_the_clock(client: TestClient) -> None:
    """Of the user who is signed in."""
    client.cookies.set("costledger_session", make_token("ann"), path="/dashboard")
    page = client.get("/dashboard").text
    assert "February 2024" in page
    assert SPENT in page


def test_prices_are_those_of_the_clock(client: TestClient) -> None:
    """The list, an estimate and the estimate of a decision: unless another time is asked for."""
    assert client.get("/api/prices", headers=bearer("ann")).json()["day"] == "2024-02-29"
    work = {"kind": "operation", "service": "aws-rekognition", "operation": "detectLabels", "quantity": 1}
    estimate = client.post("/api/estimates", json=work, headers=bearer("ann")).json()
    assert parse_time(estimate["priced_at"]) == NOW
    decision = client.post("/api/decisions", json={"work": work}, headers=bearer("ann")).json()
    assert parse_time(decision["breakdown"]["priced_at"]) == NOW
