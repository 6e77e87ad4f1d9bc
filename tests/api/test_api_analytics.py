"""What the analytics routes answer is what the events add up to; and whom they answer."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import psycopg
import pytest
import redis
from tests.fixtures.fix_api import bearer
from tests.sinks.analytics.filling import write_events
from tests.sinks.analytics.modelling import amount_of, events_around, reversal_of, sums_of, within
from tests.sinks.conftest import make_event

from costledger.api.analytics.costs import costs_answer
from costledger.producers.savings import SAVINGS_SERVICE
from costledger.schemas.budgets import Budget
from costledger.schemas.events import CostEvent
from costledger.schemas.money import PICODOLLARS_PER_USD, from_nanounits, usd_text
from costledger.schemas.periods import PeriodKind, period_at
from costledger.schemas.redis_keys import totals_key
from costledger.schemas.settings import Settings
from costledger.schemas.times import parse_time, to_microseconds
from costledger.sinks.analytics import history_periods
from costledger.sinks.budgets import save_budget
from costledger.sinks.spend import month_to_date

if TYPE_CHECKING:
    from starlette.testclient import TestClient

COSTS, TIERS, USERS = "/api/analytics/costs", "/api/analytics/tiers", "/api/analytics/users"
#: Fixed, so that every test is of the same calendar whenever it runs.
NOW = datetime(2026, 11, 24, 18, 20, tzinfo=UTC)
NOW_US = to_microseconds(NOW)


def picodollars(text: str) -> int:
    """Money of an answer in 1e-12 USD, exactly."""
    amount = Decimal(text) * PICODOLLARS_PER_USD
    assert amount == int(amount)
    return int(amount)


def by_service(events: list[CostEvent]) -> dict[str, str]:
    """What the events come to, as answered."""
    names = sorted({service for (service, _), sums in sums_of(events).items() if any(sums[:4])})
    return {name: usd_text(amount_of(event for event in events if event.service == name)) for name in names}


@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Asia/Kathmandu"])
@pytest.mark.parametrize("period", ["day", "week", "month"])
def test_an_answer_is_the_sum_of_the_events(
    api_ledger: psycopg.Connection[Any], seed: int, period: Any, zone: str
) -> None:
    """Running period, history, trend and details, in the zone of the user's budget."""
    events = events_around(random.Random(seed), NOW, ["ann", "bob"], [zone], 500)
    write_events(api_ledger, events)
    save_budget(api_ledger, Budget(user_id="ann", time_zone=zone))
    answer = costs_answer(api_ledger, None, "ann", period, detailed=True, now=NOW)
    kind = PeriodKind(period)
    periods = history_periods(kind, NOW_US, zone)
    assert [(to_microseconds(one.start), to_microseconds(one.end)) for one in answer.history] == [
        (one.start_us, one.end_us) for one in periods
    ]
    for one, span in zip(answer.history, periods, strict=True):
        inside = within(events, "ann", span)
        assert picodollars(one.total) == amount_of(inside)
        if span is not periods[-1]:
            assert one.by_service == by_service(inside)
    inside, before = within(events, "ann", periods[-1]), within(events, "ann", periods[-2])
    current = answer.current
    assert (current.start, current.end) == (answer.history[-1].start, answer.history[-1].end)
    assert current.total == answer.history[-1].total
    sums = sums_of(inside)
    assert {name: picodollars(text) for name, text in current.by_operation.items()} == {
        f"{service}/{operation}": values[3] for (service, operation), values in sums.items()
    }
    assert current.unpriced_events == sum(values[1] for values in sums.values())
    was, now = amount_of(before), amount_of(inside)
    expected = Decimal(0) if was == 0 else Decimal(now - was) / abs(Decimal(was)) * 100
    assert abs(Decimal(current.trend_percent) - expected) <= Decimal("0.005")
    assert answer.detailed is not None
    assert {(one.service, one.operation): one.count for one in answer.detailed} == {
        key: values[0] for key, values in sums.items()
    }
    for one in answer.detailed:
        count, unpriced, quantity, amount, largest = sums[one.service, one.operation]
        assert picodollars(one.total) == amount
        assert one.maximum == (None if largest is None else usd_text(largest))
        assert Decimal(one.units) == from_nanounits(quantity)
        assert one.unpriced_events == unpriced
        if count - unpriced > 0:
            assert one.average is not None
            assert abs(picodollars(one.average) - Decimal(amount) / (count - unpriced)) <= Decimal("0.5")
        else:
            assert one.average is None
    if period == "month":
        assert picodollars(current.total) == month_to_date(api_ledger, "ann", periods[-1])
    assert answer.forecast is not None
    assert (answer.time_zone, answer.currency, answer.user_id) == (zone, "USD", "ann")


def test_an_empty_answer_has_every_period(api_client: TestClient) -> None:
    """A token's own user of whom nothing is known: zeros everywhere, no forecast, no trend."""
    for period, count in (("day", 7), ("week", 4), ("month", 12)):
        answer = api_client.get(COSTS, params={"period": period}, headers=bearer("new")).json()
        assert [one["total"] for one in answer["history"]] == ["0.00"] * count
        assert answer["history"][0]["by_service"] == {}
        current = answer["current"]
        assert (current["total"], current["trend_percent"], current["trend_to_date_percent"]) == (
            "0.00",
            "0.00",
            "0.00",
        )
        assert answer["forecast"] is None
        assert answer["recommendations"] == []
        assert answer["detailed"] is None


def test_trend_against_all_of_the_previous_period_and_up_to_the_same_point(
    api_ledger: psycopg.Connection[Any],
) -> None:
    """On the 24th of a month that goes like the one before, the one is far below zero and the other is zero."""
    start = datetime(2026, 10, 1, 12, tzinfo=UTC)
    usd = PICODOLLARS_PER_USD
    october = [make_event("ann", amount=usd, occurred_at=start + timedelta(days=day)) for day in range(31)]
    november = [make_event("ann", amount=usd, occurred_at=start + timedelta(days=31 + day)) for day in range(24)]
    write_events(api_ledger, [*october, *november])
    current = costs_answer(api_ledger, None, "ann", "month", detailed=False, now=NOW).current
    assert (current.total, current.trend_percent, current.trend_to_date_percent) == ("24.00", "-22.58", "0.00")
    # 18:20 on the 24th of October; half of what the hour from 18:00 has brought counts at its half.
    write_events(
        api_ledger, [make_event("ann", amount=24 * usd, occurred_at=datetime(2026, 10, 24, 18, 50, tzinfo=UTC))]
    )
    half = NOW + timedelta(minutes=10)
    current = costs_answer(api_ledger, None, "ann", "month", detailed=False, now=half).current
    assert current.trend_to_date_percent == "-33.33"


def test_credits_may_be_more_than_costs(api_ledger: psycopg.Connection[Any]) -> None:
    """Then totals are below zero, and say so; nothing is recommended."""
    events = [
        make_event("ann", amount=-5 * PICODOLLARS_PER_USD, category="CREDIT", occurred_at=NOW - timedelta(hours=1)),
        make_event("ann", amount=PICODOLLARS_PER_USD, occurred_at=NOW - timedelta(hours=2)),
    ]
    write_events(api_ledger, events)
    answer = costs_answer(api_ledger, None, "ann", "day", detailed=True, now=NOW)
    assert answer.current.total == "-4.00"
    assert answer.detailed is not None
    assert [(one.count, one.average, one.maximum) for one in answer.detailed] == [(2, "-2.00", "1.00")]
    assert answer.recommendations == []


def test_events_that_tell_of_savings_are_no_costs(api_ledger: psycopg.Connection[Any]) -> None:
    """They are in no breakdown; recommendations rest on them."""
    hour = NOW - timedelta(hours=1)
    hits = make_event(
        "ann", service=SAVINGS_SERVICE, operation="cache-miss:c", amount=0, unit="lookup", occurred_at=hour
    )
    write_events(api_ledger, [hits, make_event("ann", amount=10**12, occurred_at=hour)])
    answer = costs_answer(api_ledger, None, "ann", "day", detailed=True, now=NOW)
    assert list(answer.current.by_service) == list(answer.history[-1].by_service) == ["aws-rekognition"]
    assert answer.detailed is not None
    assert [one.service for one in answer.detailed] == ["aws-rekognition"]
    assert "cache_warming" in {one.code for one in answer.recommendations}
    assert {"fewer_features", "cache_warming"} >= {one.code for one in answer.recommendations}


def test_what_is_taken_back_is_in_no_count(api_ledger: psycopg.Connection[Any]) -> None:
    """But its amount stays the largest that was ever recorded for one event."""
    event = make_event("ann", amount=10**12, occurred_at=NOW - timedelta(hours=1))
    kept = make_event("ann", amount=5, occurred_at=NOW - timedelta(hours=1))
    write_events(api_ledger, [event, kept, reversal_of(event)])
    answer = costs_answer(api_ledger, None, "ann", "day", detailed=True, now=NOW)
    assert answer.detailed is not None
    assert [(one.count, one.total, one.maximum) for one in answer.detailed] == [(1, "0.000000000005", "1.00")]


def test_the_live_total_is_that_of_the_real_time_view(
    api_client: TestClient, api_settings: Settings, api_ledger: psycopg.Connection[Any], redis_url: str
) -> None:
    """Of the running day or month in the user's zone; null of weeks, and where Redis has none or is not there."""
    save_budget(api_ledger, Budget(user_id="ann", time_zone="Asia/Kathmandu"))

    def live(period: str) -> Any:
        return api_client.get(COSTS, params={"period": period}, headers=bearer("ann")).json()["current"]["live_total"]

    assert live("month") is None
    now_us = to_microseconds(datetime.now(UTC))
    with redis.Redis.from_url(redis_url) as client:
        for kind in (PeriodKind.DAY, PeriodKind.MONTH):
            label = period_at(kind, now_us, "Asia/Kathmandu").label
            client.hset(totals_key("ann", kind, label), mapping={"total": "1234567890123", "updated_at": "x"})
        assert [live(period) for period in ("day", "week", "month")] == ["1.234567890123", None, "1.234567890123"]
        client.hset(totals_key("ann", PeriodKind.DAY, label), "total", "nonsense")
    with redis.Redis(port=9, socket_connect_timeout=1) as nobody:
        assert costs_answer(api_ledger, nobody, "ann", "month", detailed=False, now=NOW).current.live_total is None


def test_only_analysts_see_others(api_client: TestClient, api_ledger: psycopg.Connection[Any]) -> None:
    """A user their own costs; an analyst anybody's of whom something is known; without a token nobody's."""
    write_events(api_ledger, [make_event("ann", amount=7 * 10**12)])
    assert api_client.get(COSTS).status_code == 401
    assert api_client.get(COSTS, params={"user_id": "ann"}, headers=bearer("bob")).status_code == 403
    assert api_client.get(COSTS, params={"user_id": "ann"}, headers=bearer("ann")).json()["current"]["total"] == "7.00"
    for user, status in (("ann", 200), ("cid", 404), ("a\x07b", 404), ("", 422), ("x" * 129, 422)):
        found = api_client.get(COSTS, params={"user_id": user}, headers=bearer("bob", "analyst"))
        assert found.status_code == status, user
        assert status == 200 or found.json()["code"] == {404: "unknown_user", 422: "invalid_value"}[status]
    for path in (TIERS, USERS):
        assert api_client.get(path, headers=bearer("ann")).status_code == 403
        assert api_client.get(path, headers=bearer("ann", "analyst")).status_code == 200


@pytest.mark.parametrize(
    ("path", "parameters", "field"),
    [
        (COSTS, {"period": "hour"}, "period"),
        (COSTS, {"detailed": "perhaps"}, "detailed"),
        (COSTS, {"periode": "day"}, "periode"),
        (TIERS, {"period": "year"}, "period"),
        (USERS, {"limit": "0"}, "limit"),
        (USERS, {"limit": "201"}, "limit"),
        (USERS, {"cursor": "no"}, "cursor"),
    ],
)
def test_bad_input_is_named(api_client: TestClient, path: str, parameters: dict[str, str], field: str) -> None:
    """422, with the field."""
    found = api_client.get(path, params=parameters, headers=bearer("ann", "analyst"))
    assert found.status_code == 422
    assert [one["field"] for one in found.json()["errors"]] == [field]


def test_tiers_have_shares_and_averages(
    api_settings: Settings, api_ledger: psycopg.Connection[Any], start_api: Callable[[Settings], TestClient]
) -> None:
    """By total; users without events in the period do not count, nor do events that tell of savings."""
    usd, hour = PICODOLLARS_PER_USD, datetime.now(UTC)
    write_events(
        api_ledger,
        [
            *(
                make_event(user, amount=amount * usd, occurred_at=hour)
                for user, amount in (("a", 1), ("b", 2), ("c", 9))
            ),
            make_event("a", service="openai", amount=None, occurred_at=hour),
            make_event("d", service=SAVINGS_SERVICE, amount=0, occurred_at=hour),
            make_event("c", amount=usd, occurred_at=hour - timedelta(days=40)),
        ],
    )
    save_budget(api_ledger, Budget(user_id="c", tier="premium"))
    client = start_api(api_settings.model_copy(update={"api_overview_seconds": 0.0}))
    answer = client.get(TIERS, params={"period": "day"}, headers=bearer("x", "analyst")).json()
    assert (answer["total"], answer["time_zone"]) == ("12.00", "UTC")
    assert answer["tiers"] == [
        {
            "tier": "premium",
            "users": 1,
            "total": "9.00",
            "average_per_user": "9.00",
            "share_percent": "75.00",
            "by_service": {"aws-rekognition": "9.00"},
            "unpriced_events": 0,
        },
        {
            "tier": "default",
            "users": 2,
            "total": "3.00",
            "average_per_user": "1.50",
            "share_percent": "25.00",
            "by_service": {"aws-rekognition": "3.00", "openai": "0.00"},
            "unpriced_events": 1,
        },
    ]
    save_budget(api_ledger, Budget(user_id="c", tier="free"))
    answer = client.get(TIERS, params={"period": "day"}, headers=bearer("x", "analyst")).json()
    assert [one["tier"] for one in answer["tiers"]] == ["free", "default"]


def test_tiers_are_remembered_for_some_seconds(
    api_settings: Settings, api_ledger: psycopg.Connection[Any], start_api: Callable[[Settings], TestClient]
) -> None:
    """The same answer for everybody until then, whatever happens meanwhile."""
    client = start_api(api_settings.model_copy(update={"api_overview_seconds": 3600.0}))
    first = client.get(TIERS, headers=bearer("x", "analyst")).json()
    write_events(api_ledger, [make_event("ann", amount=7 * 10**12)])
    assert client.get(TIERS, headers=bearer("y", "analyst")).json() == first
    assert client.get(TIERS, params={"period": "day"}, headers=bearer("y", "analyst")).json()["total"] == "7.00"


def test_pages_of_users_follow_each_other(api_client: TestClient, api_ledger: psycopg.Connection[Any]) -> None:
    """Every user once, whatever the size of a page; also ids in other scripts."""
    names = ["Zoë", "ann", "bob", "dan", "用户"]
    hour = datetime.now(UTC)
    write_events(api_ledger, [make_event(name, amount=10**12, occurred_at=hour) for name in names])
    save_budget(api_ledger, Budget(user_id="bob", monthly_budget=4 * 10**12))
    save_budget(api_ledger, Budget(user_id="cid", monthly_budget=0))
    for limit in (1, 2, 5, 6, 50):
        found: list[dict[str, Any]] = []
        parameters: dict[str, Any] = {"limit": limit}
        for _ in range(9):
            response = api_client.get(USERS, params=parameters, headers=bearer("x", "analyst"))
            page = response.json()
            assert len(page["users"]) <= limit
            found += page["users"]
            assert ("link" in response.headers) == (page["next_cursor"] is not None)
            if page["next_cursor"] is None:
                break
            parameters["cursor"] = page["next_cursor"]
        assert {one["user_id"] for one in found} == {*names, "cid"}
        assert len(found) == 6
    users = {one["user_id"]: one for one in found}
    assert users["bob"]["budget_percent"] == "25.00"
    assert users["cid"]["budget_percent"] is None
    assert (users["ann"]["monthly_budget"], users["ann"]["own_budget"]) == ("10.00", False)
    assert (users["bob"]["monthly_budget"], users["bob"]["own_budget"]) == ("4.00", True)


def test_an_answer_is_the_document_that_is_described(
    api_client: TestClient, api_ledger: psycopg.Connection[Any]
) -> None:
    """Times end in Z, money is text; nothing is missing."""
    write_events(api_ledger, [make_event("ann", amount=7 * 10**12)])
    answer = api_client.get(COSTS, params={"detailed": "true"}, headers=bearer("ann")).json()
    assert set(answer) == {
        *("user_id", "period", "currency", "time_zone", "generated_at", "current", "history", "forecast"),
        *("recommendations", "efficiency_score", "detailed"),
    }
    assert answer["generated_at"].endswith("Z")
    assert abs((parse_time(answer["generated_at"]) - datetime.now(UTC)).total_seconds()) < 60
    assert answer["current"]["start"].endswith("-01T00:00:00Z")
    assert answer["current"]["by_operation"] == {"aws-rekognition/detectLabels": "7.00"}
