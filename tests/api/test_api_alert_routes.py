"""`/api/alerts/routes`: who may see and change which, what is refused, and that no secret is shown."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import psycopg
import pytest
from starlette.testclient import TestClient
from tests.fixtures.fix_api import bearer

ROUTES = "/api/alerts/routes"
WEBHOOK = {"channel": "webhook", "target": "https://example.org/in?key=very-secret"}


def test_a_user_adds_sees_and_removes_routes(api_client: TestClient) -> None:
    """The key is shown once, the target only in part, and only its own user sees or removes a route."""
    wanted = {**WEBHOOK, "kinds": ["HOURLY_SPIKE"], "severity_min": "WARNING", "include_ok": True}
    added = api_client.post(ROUTES, json=wanted, headers=bearer("alice"))
    assert added.status_code == 201, added.text
    assert added.json()["secret"].startswith("whsec_")
    route = added.json()["route"]
    assert (route["owner"], route["user_id"], route["channel"]) == ("user", "alice", "webhook")
    assert route["target_shown"] == "https://example.org/…"
    assert (route["kinds"], route["severity_min"], route["include_ok"]) == (["HOURLY_SPIKE"], "WARNING", True)
    again = api_client.post(ROUTES, json=wanted, headers=bearer("alice"))
    assert (again.status_code, again.json()["code"]) == (409, "route_exists")
    shown = api_client.get(ROUTES, headers=bearer("alice"))
    assert shown.json() == {"routes": [route]}
    assert "very-secret" not in added.text + again.text + shown.text
    assert added.json()["secret"] not in shown.text
    assert api_client.get(ROUTES, headers=bearer("bob")).json() == {"routes": []}
    path = f"{ROUTES}/{route['route_id']}"
    assert api_client.delete(path, headers=bearer("bob")).status_code == 404
    assert api_client.delete(path, headers=bearer("bob", "analyst")).status_code == 404
    removed = api_client.delete(path, headers=bearer("alice"))
    assert (removed.status_code, removed.content) == (204, b"")
    assert api_client.delete(path, headers=bearer("alice")).json()["code"] == "unknown_route"
    assert api_client.get(ROUTES, headers=bearer("alice")).json() == {"routes": []}


def test_operators_routes_are_for_operators(api_client: TestClient) -> None:
    """Routes with the alerts of all users need the role: to add, to see, and to remove; an operator removes any."""
    wanted = {**WEBHOOK, "operator": True}
    for role in ((), ("analyst",)):
        assert api_client.post(ROUTES, json=wanted, headers=bearer("alice", *role)).status_code == 403
        assert api_client.get(f"{ROUTES}?operator=true", headers=bearer("alice", *role)).status_code == 403
    operator = bearer("ops", "operator")
    route = api_client.post(ROUTES, json=wanted, headers=operator).json()["route"]
    assert (route["owner"], route["user_id"]) == ("operator", None)
    assert api_client.get(ROUTES, headers=operator).json() == {"routes": []}
    assert api_client.get(f"{ROUTES}?operator=true", headers=operator).json() == {"routes": [route]}
    assert api_client.delete(f"{ROUTES}/{route['route_id']}", headers=bearer("alice")).status_code == 404
    own = api_client.post(ROUTES, json=WEBHOOK, headers=bearer("alice")).json()["route"]
    for one in (route, own):
        assert api_client.delete(f"{ROUTES}/{one['route_id']}", headers=operator).status_code == 204


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"target": "https://127.0.0.1/"}, "target"),
        ({"target": "https://169.254.169.254/latest"}, "target"),
        ({"target": "http://example.org/"}, "target"),
        ({"channel": "slack"}, "target"),
        ({"channel": "email", "target": "alice@example.org"}, "channel"),
        ({"channel": "pigeon"}, "channel"),
        ({"kinds": ["RAIN"]}, "kinds.0"),
        ({"severity_min": "LOUD"}, "severity_min"),
        ({"user_id": "bob"}, "user_id"),
    ],
)
def test_what_is_refused(api_client: TestClient, change: dict[str, Any], field: str) -> None:
    """Each wrong field is named, and the target is not repeated: it may be a secret."""
    answer = api_client.post(ROUTES, json={**WEBHOOK, **change}, headers=bearer("alice"))
    assert answer.status_code == 422, answer.text
    assert [one["field"] for one in answer.json()["errors"]] == [field]
    assert "very-secret" not in answer.text


def test_without_a_token_nothing(api_client: TestClient, api_ledger: psycopg.Connection[Any]) -> None:
    """401 on each, and no route is made."""
    assert api_client.get(ROUTES).status_code == 401
    assert api_client.post(ROUTES, json=WEBHOOK).status_code == 401
    assert api_client.delete(f"{ROUTES}/{uuid4()}").status_code == 401
    assert api_ledger.execute("SELECT count(*) FROM ledger.alert_routes").fetchone() == (0,)
