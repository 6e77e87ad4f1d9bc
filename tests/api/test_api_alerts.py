"""`/api/alerts`: found page by page, by whom they concern; acknowledged once, snoozed for a while."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient
from tests.api.alerting import store_alert
from tests.fixtures.fix_api import bearer

from costledger.api.paging import cursor_of, place_of
from costledger.sinks.alert_book import AlertPlace

ALERTS = "/api/alerts"
START = datetime(2026, 11, 20, 12, tzinfo=UTC)

Ledger = psycopg.Connection[Any]


def page(client: TestClient, query: str = "", *roles: str, user: str = "u") -> Any:
    """One page, as a document."""
    answer = client.get(f"{ALERTS}{query}", headers=bearer(user, *roles))
    assert answer.status_code == 200, answer.text
    return answer.json()


def ids(client: TestClient, query: str = "", *roles: str) -> list[str]:
    return [alert["alert_id"] for alert in page(client, query, *roles)["alerts"]]


def test_an_alert_as_it_is_answered(api_client: TestClient, api_ledger: Ledger) -> None:
    """Amounts to the last digit as text, times in UTC; nothing done with it yet."""
    alert_id = store_alert(api_ledger, "u", raised_at=START, occurred_at=START)
    (alert,) = page(api_client)["alerts"]
    assert alert == {
        "alert_id": str(alert_id),
        "kind": "BUDGET_THRESHOLD",
        "state": "ALARM",
        "severity": "WARNING",
        "user_id": "u",
        "scope": "total",
        "period_start": "2026-11-01T00:00:00Z",
        "period_end": "2026-12-01T00:00:00Z",
        "threshold_percent": "75",
        "actual": "7.500000000001",
        "limit": "10.00",
        "currency": "USD",
        "budget_version": 1,
        "occurred_at": "2026-11-20T12:00:00Z",
        "raised_at": "2026-11-20T12:00:00Z",
        "late": False,
        "message": "75 % of the budget is used",
        "acknowledged_at": None,
        "acknowledged_by": None,
        "snoozed_until": None,
    }
    assert api_client.get(f"{ALERTS}/{alert_id}", headers=bearer("u")).json() == alert
    bare = store_alert(api_ledger, "u", threshold_percent=None, limit=None, budget_version=None, kind="ANOMALY")
    answer = api_client.get(f"{ALERTS}/{bare}", headers=bearer("u")).json()
    assert (answer["threshold_percent"], answer["limit"], answer["budget_version"]) == (None, None, None)


def test_pages_stay_put_while_alerts_are_added(api_client: TestClient, api_ledger: Ledger) -> None:
    """Following `next_cursor` shows each alert once, newest first, however many are raised meanwhile."""
    # Several at one moment: the order among them is by id.
    stored = [store_alert(api_ledger, "u", raised_at=START + timedelta(minutes=number // 3)) for number in range(23)]
    store_alert(api_ledger, "another", raised_at=START)
    expected = [str(alert["alert_id"]) for alert in page(api_client, "?limit=200")["alerts"]]
    assert {*expected} == {str(alert_id) for alert_id in stored}
    seen: list[str] = []
    query = "?limit=5&state=ALARM"
    for number in range(5):
        answer = api_client.get(f"{ALERTS}{query}", headers=bearer("u"))
        seen += [alert["alert_id"] for alert in answer.json()["alerts"]]
        # Newer than all, and in between what was shown already.
        store_alert(api_ledger, "u", raised_at=START + timedelta(hours=1 + number))
        cursor = answer.json()["next_cursor"]
        if cursor is None:
            assert "link" not in answer.headers
            break
        link = answer.headers["link"]
        assert link.endswith('>; rel="next"')
        target = urlsplit(link[1 : link.index(">")])
        assert (target.path, target.netloc) == (ALERTS, "")
        assert parse_qs(target.query) == {"limit": ["5"], "state": ["ALARM"], "cursor": [cursor]}
        query = f"?{target.query}"
    assert seen == expected


def test_the_last_page_is_known_as_such(api_client: TestClient, api_ledger: Ledger) -> None:
    """A page that is exactly full is the last one where nothing follows."""
    for _ in range(4):
        store_alert(api_ledger, "u")
    first = page(api_client, "?limit=2")
    last = page(api_client, f"?limit=2&cursor={first['next_cursor']}")
    assert (len(last["alerts"]), last["next_cursor"]) == (2, None)
    assert page(api_client, user="nobody-yet") == {"alerts": [], "next_cursor": None}


def test_filters(api_client: TestClient, api_ledger: Ledger) -> None:
    """Each filter keeps what it says, and they may be put together."""
    spike = store_alert(api_ledger, "u", kind="HOURLY_SPIKE", severity="CRITICAL", raised_at=START)
    over = store_alert(api_ledger, "u", state="OK", severity="INFO", raised_at=START + timedelta(hours=1))
    api_client.post(f"{ALERTS}/{over}/acknowledge", headers=bearer("u"))
    both, first, second = [str(over), str(spike)], [str(spike)], [str(over)]
    for query, expected in {
        "": both,
        "?kind=HOURLY_SPIKE": first,
        "?state=OK": second,
        "?severity=CRITICAL": first,
        "?acknowledged=true": second,
        "?acknowledged=false": first,
        "?since=2026-11-20T12:00:00Z": both,
        "?since=2026-11-20T12:00:00.000001Z": second,
        "?until=2026-11-20T13:00:00Z": first,
        "?until=2026-11-20T14:00:00%2B01:00": first,
        "?since=2026-11-20T12:30:00Z&until=2026-11-20T12:45:00Z": [],
        "?kind=HOURLY_SPIKE&state=OK": [],
    }.items():
        assert ids(api_client, query) == expected, query


def test_bad_questions_are_named(api_client: TestClient) -> None:
    """422 by the name of the field, for values and for names that there are not."""
    for query, field in {
        "?limit=0": "limit",
        "?limit=201": "limit",
        "?limit=many": "limit",
        "?kind=RAIN": "kind",
        "?state=ok": "state",
        "?since=yesterday": "since",
        "?since=2026-11-20": "since",
        "?since=2026-11-20T12:00:00": "since",
        "?until=2026-13-01T00:00:00Z": "until",
        "?until=0": "until",
        "?cursor=nonsense": "cursor",
        "?cursor=": "cursor",
        "?acknowledged=perhaps": "acknowledged",
        "?page=2": "page",
    }.items():
        answer = api_client.get(f"{ALERTS}{query}", headers=bearer("u"))
        assert answer.status_code == 422, query
        assert [one["field"] for one in answer.json()["errors"]] == [field]
    assert api_client.get(f"{ALERTS}/no-id", headers=bearer("u")).json()["errors"][0]["field"] == "alert_id"


def test_alerts_of_others(api_client: TestClient, api_ledger: Ledger) -> None:
    """A user sees their own; a role opens another's or everybody's; 404 for a user of whom nothing is known."""
    mine, theirs = store_alert(api_ledger, "u"), store_alert(api_ledger, "other")
    api_ledger.execute("INSERT INTO ledger.users (user_id) VALUES ('other')")
    get = api_client.get
    assert ids(api_client) == [str(mine)]
    for path in (f"{ALERTS}?user_id=other", f"{ALERTS}?all_users=true"):
        answer = get(path, headers=bearer("u"))
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden"), path
    for role in ("analyst", "operator"):
        assert ids(api_client, "?user_id=other", role) == [str(theirs)]
        assert {*ids(api_client, "?all_users=true", role)} == {str(mine), str(theirs)}
        assert ids(api_client, "?all_users=true&user_id=other", role) == [str(theirs)]
        assert get(f"{ALERTS}/{theirs}", headers=bearer("u", role)).status_code == 200
        unknown = get(f"{ALERTS}?user_id=nobody", headers=bearer("u", role))
        assert (unknown.status_code, unknown.json()["code"]) == (404, "unknown_user")
        unknown = get(f"{ALERTS}/{uuid.uuid4()}", headers=bearer("u", role))
        assert (unknown.status_code, unknown.json()["code"]) == (404, "unknown_alert")
    for verb, document in (("acknowledge", None), ("snooze", {"seconds": 60})):
        path = f"{ALERTS}/{theirs}/{verb}"
        assert api_client.post(path, json=document, headers=bearer("u", "analyst")).status_code == 403
        assert api_client.post(path, json=document, headers=bearer("u", "operator")).status_code == 200
        missing = api_client.post(f"{ALERTS}/{uuid.uuid4()}/{verb}", json=document, headers=bearer("u"))
        assert (missing.status_code, missing.json()["code"]) == (404, "unknown_alert")


def test_an_id_does_not_tell_whether_another_user_has_the_alert(api_client: TestClient, api_ledger: Ledger) -> None:
    """Without a role the answer is the same for an alert of another user and for none, and nothing is changed."""
    theirs, none = store_alert(api_ledger, "other"), uuid.uuid4()
    for method, path, document in (
        ("GET", "", None),
        ("POST", "/acknowledge", None),
        ("POST", "/snooze", {"seconds": 60}),
    ):
        said = []
        for alert_id in (theirs, none):
            headers = {**bearer("u"), "X-Request-Id": "same"}
            answer = api_client.request(method, f"{ALERTS}/{alert_id}{path}", json=document, headers=headers)
            said.append((answer.status_code, answer.text.replace(str(alert_id), "ID")))
        assert said[0] == said[1], path
        assert said[0][0] == 404
        assert '"unknown_alert"' in said[0][1]
    (alert,) = page(api_client, "?user_id=other", "analyst")["alerts"]
    assert (alert["acknowledged_at"], alert["snoozed_until"]) == (None, None)


def test_the_first_acknowledgement_stays(api_client: TestClient, api_ledger: Ledger) -> None:
    """Done again, also by somebody else, it is answered as it was: nothing changes."""
    alert_id = store_alert(api_ledger, "u")
    path = f"{ALERTS}/{alert_id}/acknowledge"
    first = api_client.post(path, headers=bearer("u"))
    assert (first.status_code, first.json()["acknowledged_by"]) == (200, "u")
    assert abs(datetime.fromisoformat(first.json()["acknowledged_at"]) - datetime.now(UTC)) < timedelta(minutes=1)
    for headers in (bearer("u"), bearer("boss", "operator")):
        assert api_client.post(path, headers=headers).json() == first.json()
    assert api_client.get(f"{ALERTS}/{alert_id}", headers=bearer("u")).json() == first.json()


def test_snoozing(api_client: TestClient, api_ledger: Ledger) -> None:
    """Until a time or for so many seconds; the last word counts, and an acknowledgement is not touched."""
    alert_id = store_alert(api_ledger, "u")
    path = f"{ALERTS}/{alert_id}/snooze"
    until = (datetime.now(UTC) + timedelta(days=2)).replace(microsecond=0)
    for _ in range(2):
        answer = api_client.post(path, json={"until": until.isoformat()}, headers=bearer("u")).json()
        assert datetime.fromisoformat(answer["snoozed_until"]) == until
    answer = api_client.post(path, json={"seconds": 3600}, headers=bearer("u")).json()
    ahead = datetime.fromisoformat(answer["snoozed_until"]) - datetime.now(UTC)
    assert timedelta(minutes=59) < ahead <= timedelta(hours=1)
    assert answer["acknowledged_at"] is None


def test_snoozing_out_of_bounds(api_client: TestClient, api_ledger: Ledger) -> None:
    """The past, more than 30 days, both or neither: 422 by the name of the field, and nothing is changed."""
    path = f"{ALERTS}/{store_alert(api_ledger, 'u')}/snooze"
    now = datetime.now(UTC)
    for document, field in (
        ({"until": (now - timedelta(seconds=1)).isoformat()}, "until"),
        ({"until": (now + timedelta(days=30, minutes=1)).isoformat()}, "until"),
        ({"until": "tomorrow"}, "until"),
        ({"until": 1_800_000_000}, "until"),
        ({"until": None}, "until"),
        ({}, "until"),
        ({"until": (now + timedelta(days=1)).isoformat(), "seconds": 5}, "until"),
        ({"seconds": 0}, "seconds"),
        ({"seconds": 30 * 86_400 + 1}, "seconds"),
        ({"seconds": 1.5}, "seconds"),
        ({"seconds": True}, "seconds"),
        ({"minutes": 5}, "minutes"),
    ):
        answer = api_client.post(path, json=document, headers=bearer("u"))
        assert answer.status_code == 422, document
        assert field in [one["field"] for one in answer.json()["errors"]]
    assert page(api_client)["alerts"][0]["snoozed_until"] is None


def test_pages_come_from_an_index(api_ledger: Ledger) -> None:
    """A page of many alerts reads no more than it shows: no sort, no scan of the whole table."""
    from costledger.sinks.queries import query

    api_ledger.execute(
        "INSERT INTO ledger.alerts (alert_id, kind, state, severity, user_id, scope, period_start, period_end, actual,"
        " currency, occurred_at, raised_at, late, message) SELECT gen_random_uuid(), 'ANOMALY', 'ALARM', 'INFO',"
        " 'user-' || n % 100, 'total', now(), now(), 1, 'USD', now(), now() - n * interval '1 second', false, ''"
        " FROM generate_series(1, 20000) AS n"
    )
    api_ledger.execute("ANALYZE ledger.alerts")
    last = datetime(9999, 12, 30, tzinfo=UTC)
    parameters = {
        **dict.fromkeys(("kind", "state", "severity", "acknowledged")),
        "user_id": "user-3",
        "since": datetime(1, 1, 2, tzinfo=UTC),
        "until": last,
        "after_raised_at": datetime.now(UTC) - timedelta(hours=2),
        "after_alert_id": uuid.UUID(int=2**128 - 1),
        "limit": 50,
    }
    for name, index in (("list_alerts_of_user", "alerts_user_page"), ("list_alerts_of_all", "alerts_page")):
        statement = b"EXPLAIN (ANALYZE, BUFFERS OFF, TIMING OFF, COSTS OFF) " + query(name)
        plan = "\n".join(row[0] for row in api_ledger.execute(statement, parameters))
        assert f"using {index}" in plan
        assert "Sort" not in plan
        assert "Rows Removed by Filter" not in plan


@given(
    st.datetimes(datetime(1970, 1, 2), datetime(9999, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001 - given the zone
    st.uuids(),
)
def test_cursors(raised_at: datetime, alert_id: uuid.UUID) -> None:
    """A cursor leads back to exactly its place."""
    place = AlertPlace(raised_at, alert_id)
    assert place_of(cursor_of(place)) == place


@pytest.mark.parametrize("digit", "0f")
def test_cursors_of_the_ends(digit: str) -> None:
    """Whatever has the form of a cursor is a place."""
    assert place_of(digit * 48).alert_id is not None
