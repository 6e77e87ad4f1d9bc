"""`/api/billing/budget`: read and changed by whom it concerns, exactly, and not over somebody else's change."""

from __future__ import annotations

import threading
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError
from starlette.testclient import TestClient
from tests.fixtures.fix_api import bearer

from costledger.api.conditional import etag_of, matches
from costledger.api.models.budget import BudgetUpdate
from costledger.schemas.settings import Settings

BUDGET = "/api/billing/budget"
JSON = {"Content-Type": "application/json"}
DEFAULTS = {
    "user_id": "u",
    "version": 0,
    "tier": "default",
    "monthly_budget": "10.00",
    "alert_thresholds": ["75", "90", "100"],
    "currency": "USD",
    "time_zone": "UTC",
    "hourly_spike_limit": "20.00",
    "updated_at": None,
    "defaults": ["monthly_budget", "alert_thresholds", "hourly_spike_limit"],
}


def put(client: TestClient, document: dict[str, Any], user: str = "u", **headers: str) -> Any:
    """Change the user's own budget."""
    return client.put(BUDGET, json=document, headers=bearer(user) | headers)


def test_a_new_user_has_the_defaults(api_client: TestClient) -> None:
    """Whoever holds a valid token has the tier's defaults, at version 0."""
    answer = api_client.get(BUDGET, headers=bearer("u"))
    assert (answer.status_code, answer.json(), answer.headers["etag"]) == (200, DEFAULTS, '"0"')


def test_what_is_given_replaces_and_the_rest_stays(api_client: TestClient) -> None:
    """Fields that are not given stay as they are; null sets one back to its default."""
    first = put(api_client, {"monthly_budget": "25", "alert_thresholds": ["80", "50"], "time_zone": "Europe/Vienna"})
    assert (first.status_code, first.headers["etag"]) == (200, '"1"')
    document = first.json()
    assert document["updated_at"].endswith("Z")
    assert document == DEFAULTS | {
        "version": 1,
        "monthly_budget": "25.00",
        "alert_thresholds": ["50", "80"],
        "time_zone": "Europe/Vienna",
        "updated_at": document["updated_at"],
        "defaults": ["hourly_spike_limit"],
    }
    second = put(api_client, {"hourly_spike_limit": 7.5, "alert_thresholds": None}).json()
    assert (second["version"], second["monthly_budget"], second["hourly_spike_limit"]) == (2, "25.00", "7.50")
    assert (second["alert_thresholds"], second["defaults"]) == (["75", "90", "100"], ["alert_thresholds"])
    assert put(api_client, {"time_zone": None}).json()["time_zone"] == "UTC"
    assert api_client.get(BUDGET, headers=bearer("u")).json()["version"] == 3


def test_numbers_are_exact(api_client: TestClient, api_ledger: psycopg.Connection[Any]) -> None:
    """A JSON number is taken by its digits, never through a float: all 12 decimals arrive in the ledger."""
    body = b'{"monthly_budget": 1234.123456789012, "hourly_spike_limit": "0.000000000001", "alert_thresholds": [0.1, 33.3333]}'
    answer = api_client.put(BUDGET, content=body, headers=bearer("u") | JSON).json()
    assert answer["monthly_budget"] == "1234.123456789012"
    assert answer["hourly_spike_limit"] == "0.000000000001"
    assert answer["alert_thresholds"] == ["0.1", "33.3333"]
    stored = api_ledger.execute("SELECT monthly_budget, alert_thresholds FROM ledger.budgets").fetchone()
    assert stored == (Decimal("1234.123456789012"), [Decimal("0.1000"), Decimal("33.3333")])


@pytest.mark.parametrize(
    ("document", "fields"),
    [
        ({"monthly_budget": -1}, ["monthly_budget"]),
        ({"monthly_budget": 10_000.01}, ["monthly_budget"]),
        ({"monthly_budget": "10001"}, ["monthly_budget"]),
        ({"monthly_budget": "1e3"}, ["monthly_budget"]),
        ({"monthly_budget": "NaN"}, ["monthly_budget"]),
        ({"monthly_budget": " 5"}, ["monthly_budget"]),
        ({"monthly_budget": "٥"}, ["monthly_budget"]),
        ({"monthly_budget": "5\n"}, ["monthly_budget"]),
        ({"monthly_budget": "0.0000000000001"}, ["monthly_budget"]),
        ({"monthly_budget": True}, ["monthly_budget"]),
        ({"monthly_budget": []}, ["monthly_budget"]),
        ({"hourly_spike_limit": 10**30}, ["hourly_spike_limit"]),
        ({"alert_thresholds": []}, ["alert_thresholds"]),
        ({"alert_thresholds": [50, 101]}, ["alert_thresholds"]),
        ({"alert_thresholds": [-1]}, ["alert_thresholds"]),
        ({"alert_thresholds": ["0.00001"]}, ["alert_thresholds"]),
        ({"alert_thresholds": list(range(17))}, ["alert_thresholds"]),
        ({"alert_thresholds": "75"}, ["alert_thresholds"]),
        ({"alert_thresholds": [1, "x"]}, ["alert_thresholds.1"]),
        ({"currency": "EUR"}, ["currency"]),
        ({"currency": None}, ["currency"]),
        ({"time_zone": "Mars/Olympus"}, ["time_zone"]),
        ({"time_zone": "../../etc/passwd"}, ["time_zone"]),
        ({"time_zone": "localtime"}, ["time_zone"]),
        ({"tier": "ultimate"}, ["tier"]),
        ({"version": 7, "monthly_budget": "x"}, ["monthly_budget", "version"]),
    ],
    ids=str,
)
def test_what_is_out_of_bounds_is_named(document: dict[str, Any], fields: list[str]) -> None:
    """Each wrong field is refused by its name. (Over HTTP: the next test.)"""
    with pytest.raises((ValidationError, ValueError)) as caught:
        BudgetUpdate(**document).changes(Decimal(100))
    error = caught.value
    if isinstance(error, ValidationError):
        assert sorted({".".join(map(str, one["loc"])) for one in error.errors()}) == fields
    else:
        assert [error.field] == fields  # type: ignore[attr-defined]  # an InvalidValue


def test_bad_input_is_422_and_changes_nothing(api_client: TestClient) -> None:
    """Field, value and limit are told for every field that is wrong; nothing of the document is kept."""
    answer = put(api_client, {"monthly_budget": 10001, "hourly_spike_limit": -1, "surprise": 1, "time_zone": "UTC"})
    assert answer.status_code == 422
    errors = {one["field"]: (one["value"], one["limit"]) for one in answer.json()["errors"]}
    assert errors["monthly_budget"] == ("10001", "from 0 to 10000 USD")
    assert set(errors) == {"monthly_budget", "hourly_spike_limit", "surprise"}
    threshold = put(api_client, {"alert_thresholds": [50, 100.5]}).json()["errors"]
    assert [(one["field"], one["value"]) for one in threshold] == [("alert_thresholds", "100.5")]
    zone = put(api_client, {"time_zone": "Nowhere"}).json()["errors"]
    assert [(one["field"], one["value"]) for one in zone] == [("time_zone", "Nowhere")]
    for query in ("?user_id=", f"?user_id={'x' * 129}", "?userid=u", "?user_id=u&x=1"):
        refused = api_client.get(BUDGET + query, headers=bearer("u", "analyst"))
        assert refused.status_code == 422
        assert refused.json()["errors"][0]["field"] in query
    assert api_client.get(BUDGET, headers=bearer("u")).json() == DEFAULTS


def test_the_limits_themselves_are_accepted(api_client: TestClient) -> None:
    """0 and 10000 USD, 0 and 100 %, and nothing at all."""
    for document in ({"monthly_budget": 0}, {"monthly_budget": "10000.00"}, {"alert_thresholds": [0, 100]}, {}):
        assert put(api_client, document).status_code == 200


def test_a_setting_allows_higher_thresholds(
    api_settings: Settings, start_api: Callable[[Settings], TestClient]
) -> None:
    """Thresholds go up to 100 % unless the operator allows more."""
    client = start_api(api_settings.model_copy(update={"threshold_percent_max": Decimal(150)}))
    assert put(client, {"alert_thresholds": [150]}).json()["alert_thresholds"] == ["150"]
    assert put(client, {"alert_thresholds": [151]}).status_code == 422


def test_another_users_budget(api_client: TestClient, api_ledger: psycopg.Connection[Any]) -> None:
    """Without a role 403, whoever it is; with one 404 for a user of whom nothing is known."""
    assert put(api_client, {"monthly_budget": 5}, user="other").status_code == 200
    get, change = api_client.get, api_client.put
    for user in ("other", "nobody"):
        path = f"{BUDGET}?user_id={user}"
        assert get(path, headers=bearer("u")).status_code == 403
        assert change(path, json={}, headers=bearer("u")).status_code == 403
        # An analyst reads, and changes nothing.
        assert change(path, json={}, headers=bearer("u", "analyst")).status_code == 403
        assert change(path, json={}, headers=bearer("u", "admin", "Operator")).status_code == 403
    for role in ("analyst", "operator"):
        assert get(f"{BUDGET}?user_id=other", headers=bearer("u", role)).json()["monthly_budget"] == "5.00"
        answer = get(f"{BUDGET}?user_id=nobody", headers=bearer("u", role))
        assert (answer.status_code, answer.json()["code"]) == (404, "unknown_user")
    changed = change(f"{BUDGET}?user_id=other", json={"monthly_budget": 6}, headers=bearer("u", "operator"))
    assert (changed.status_code, changed.json()["user_id"], changed.json()["version"]) == (200, "other", 2)
    assert change(f"{BUDGET}?user_id=nobody", json={}, headers=bearer("u", "operator")).status_code == 404
    assert get(f"{BUDGET}?user_id=u", headers=bearer("u")).status_code == 200
    # An event is enough to be known.
    api_ledger.execute("INSERT INTO ledger.daily_totals VALUES ('spender', '2026-11-01', 's', 'o', 1, 0, 1, 1)")
    spender = get(f"{BUDGET}?user_id=spender", headers=bearer("u", "analyst"))
    assert (spender.status_code, spender.json()["version"]) == (200, 0)


def test_a_change_over_somebody_elses_is_refused(api_client: TestClient) -> None:
    """If-Match with another version than the one in force: 412, with the version that it has; nothing is changed."""
    assert put(api_client, {"monthly_budget": 1}, **{"If-Match": '"0"'}).status_code == 200
    for tag in ('"0"', '"2"', 'W/"1"', "1", '"1', '"0", "7"', ""):
        answer = put(api_client, {"monthly_budget": 2}, **{"If-Match": tag})
        assert (answer.status_code, answer.json()["code"]) == (412, "precondition_failed"), tag
        assert answer.headers["etag"] == '"1"'
    for tag in ('"1"', '"7", "2"', "*"):
        assert put(api_client, {"monthly_budget": 3}, **{"If-Match": tag}).status_code == 200, tag
    assert put(api_client, {"monthly_budget": 4}, **{"If-None-Match": "*"}).status_code == 412
    assert put(api_client, {"monthly_budget": 4}, user="new", **{"If-None-Match": "*"}).status_code == 200


def test_what_has_not_changed_is_not_sent(api_client: TestClient) -> None:
    """304 without a body while the version is the one that the caller has."""
    put(api_client, {"monthly_budget": 1})
    for tag in ('"1"', 'W/"1"', '"0", "1"', "*"):
        answer = api_client.get(BUDGET, headers=bearer("u") | {"If-None-Match": tag})
        assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", '"1"')
    assert api_client.get(BUDGET, headers=bearer("u") | {"If-None-Match": '"0"'}).status_code == 200


def test_no_change_is_lost_between_many(api_client: TestClient) -> None:
    """Many at once without If-Match: each field that was set is there at the end; with it, exactly one wins."""
    zones = ["Europe/Vienna", "Asia/Tokyo", "America/Lima", "UTC"]
    fields = [{"monthly_budget": "77"}, {"alert_thresholds": [42]}, *({"time_zone": zone} for zone in zones)]
    documents = 3 * fields
    statuses: list[int] = []

    def together(work: list[Callable[[], Any]]) -> None:
        threads = [threading.Thread(target=lambda one=one: statuses.append(one().status_code)) for one in work]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    together([lambda document=document: put(api_client, document) for document in documents])  # type: ignore[misc]  # each its own
    assert set(statuses) == {200}
    final = api_client.get(BUDGET, headers=bearer("u")).json()
    assert final["version"] == statuses.count(200)
    assert (final["monthly_budget"], final["alert_thresholds"]) == ("77.00", ["42"])
    statuses.clear()
    tag = f'"{final["version"]}"'
    together([lambda: put(api_client, {"monthly_budget": 1}, **{"If-Match": tag}) for _ in range(6)])
    assert sorted(statuses) == [200, *[412] * 5]


@given(version=st.integers(0, 10**9), others=st.lists(st.integers(0, 10**9), max_size=4))
def test_tags(version: int, others: list[int]) -> None:
    """A list of tags matches when the version's own is among them, and never by a part of one."""
    header = ", ".join(etag_of(other) for other in others)
    assert matches(header, version, weak=False) is (version in others)
    assert matches(f"{header},{etag_of(version)}", version, weak=False)
