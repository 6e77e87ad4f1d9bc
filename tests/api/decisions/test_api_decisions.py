"""Decisions and reservations over HTTP: who may run, what is held, and what ends it."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from fastapi.testclient import TestClient
from tests.api.decisions.conftest import Caller
from tests.fixtures.fix_redis import OwnRedis
from tests.fixtures.wait import wait_until

from costledger.schemas.settings import Settings

USD = 10**12
#: 90 million USD.
TOO_MUCH = {"kind": "operation", "service": "aws-s3", "operation": "transfer", "quantity": 10**9}
SetBudget = Callable[..., None]
StartApp = Callable[[Settings], TestClient]
MakeSettings = Callable[..., Settings]


def reserved_of(caller: Caller) -> Decimal:
    """What is held or settled and not yet in the month's total, as the next decision sees it."""
    return Decimal(caller.decide(amount="0.000000000001")["reserved"])


def test_work_within_the_budget_is_allowed_on_the_figures(caller: Caller, set_budget: SetBudget, user: str) -> None:
    """The decision has what it was taken on; without `reserve` nothing is held."""
    set_budget(user, 20 * USD, "premium")
    answer = caller.decide(work={"kind": "image"})
    assert (answer["decision"], answer["code"], answer["reason"]) == ("allow", "within_budget", "Within budget")
    # premium: three features
    assert (answer["estimate"], answer["budget"]) == ("0.003002", "20.00")
    assert (answer["month_to_date"], answer["reserved"]) == ("0.00", "0.00")
    assert (answer["user_id"], answer["budget_version"], answer["period"][:2]) == (user, 1, "20")
    assert (answer["reservation_id"], answer["expires_at"]) == (None, None)
    assert answer["plan"]["plan"]["tier"] == "premium"
    assert answer["plan"]["limited"] is False
    assert answer["breakdown"]["total"] == "0.003002"
    assert reserved_of(caller) == 0


def test_a_user_without_a_budget_has_the_defaults(caller: Caller) -> None:
    """10 USD a month, the plan `default`."""
    answer = caller.decide(work={"kind": "image"})
    assert (answer["budget"], answer["budget_version"], answer["plan"]["own"]["tier"]) == ("10.00", 0, "default")


def test_the_reasons_to_skip_are_two_sentences(caller: Caller, set_budget: SetBudget, user: str) -> None:
    """More than a tenth of the budget at once; more than is left of it. To the last 1e-12 USD."""
    set_budget(user, 10 * USD)
    single = caller.decide(amount="1.000000000001")
    assert (single["decision"], single["code"]) == ("skip", "single_operation_exceeded")
    assert single["reason"] == "Single operation cost exceeds 10% of monthly budget"
    for _ in range(8):
        assert caller.decide(amount=1, reserve=True)["decision"] == "allow"
    assert caller.decide(amount=1, reserve=True)["code"] == "near_budget"
    assert caller.decide(amount="0.999999999999", reserve=True)["decision"] == "warn"
    month = caller.decide(amount="0.000000000002", reserve=True)
    assert (month["decision"], month["code"]) == ("skip", "monthly_budget_exceeded")
    assert month["reason"] == "Monthly budget would be exceeded"
    assert month["reservation_id"] is None
    assert caller.decide(amount="0.000000000001")["decision"] == "warn"


def test_work_that_costs_nothing_is_always_allowed(caller: Caller, set_budget: SetBudget, user: str) -> None:
    """Also with a budget of 0."""
    set_budget(user, 0)
    assert caller.decide(amount=0, reserve=True)["code"] == "zero_cost"
    assert caller.decide(work={"kind": "image", "images": 0})["decision"] == "allow"
    assert caller.decide(amount="0.000000000001")["decision"] == "skip"


def test_work_whose_cost_is_not_known_is_skipped(caller: Caller) -> None:
    """Its estimate is null, never 0, and nothing is held."""
    work = {"kind": "operation", "service": "nobody", "operation": "knows"}
    answer = caller.decide(work=work, reserve=True, key="k")
    assert (answer["decision"], answer["code"], answer["estimate"]) == ("skip", "unpriced_estimate", None)
    assert "nobody/knows" in answer["reason"]
    assert (answer["reservation_id"], reserved_of(caller)) == (None, 0)


def test_a_plan_shrinks_as_the_budget_runs_out(caller: Caller, set_budget: SetBudget, user: str) -> None:
    """From 80 % on the plan is no more than the default tier's, and the estimate is that plan's."""
    set_budget(user, 10 * USD, "ultimate")
    assert caller.decide(work={"kind": "image"})["estimate"] == "0.005002"
    for _ in range(8):
        caller.decide(amount=1, reserve=True)
    answer = caller.decide(work={"kind": "image"}, reserve=True)
    assert (answer["estimate"], answer["decision"]) == ("0.001002", "allow")
    plan = answer["plan"]
    assert (plan["limited"], plan["share_percent"], plan["used_percent"]) == (True, "80", "80.00")
    assert (plan["plan"]["rekognition"], len(plan["own"]["rekognition"])) == (["detectLabels"], 5)
    assert reserved_of(caller) == Decimal("8.001002")


def test_a_reservation_is_held_until_it_is_settled(caller: Caller) -> None:
    """Held with its estimate, then with what it has cost; a repeat changes nothing, whatever its amount."""
    held = caller.decide(amount="0.5", reserve=True)
    assert re.fullmatch("[0-9a-f]{32}", held["reservation_id"])
    left = datetime.fromisoformat(held["expires_at"]) - datetime.now(UTC)
    assert timedelta(seconds=890) < left <= timedelta(seconds=901)
    assert reserved_of(caller) == Decimal("0.5")
    path = f"/api/reservations/{held['reservation_id']}/settle"
    settled = caller.post_text(path, '{"amount": 0.300000000001}')
    assert (settled.status_code, settled.json()["state"], settled.json()["changed"]) == (200, "settled", True)
    assert reserved_of(caller) == Decimal("0.300000000001")
    for amount in ("0.300000000001", "9", 0):
        again = caller.post(path, {"amount": amount, "event_ids": [str(uuid.uuid4())]})
        assert (again.status_code, again.json()["changed"]) == (200, False)
    assert reserved_of(caller) == Decimal("0.300000000001")
    refused = caller.post(path.replace("settle", "release"))
    assert (refused.status_code, refused.json()["code"]) == (409, "reservation_settled")
    assert reserved_of(caller) == Decimal("0.300000000001")


def test_a_reservation_is_released_once(caller: Caller) -> None:
    """Nothing is held any more; it cannot be settled then."""
    held = caller.decide(amount="0.5", reserve=True)
    path = f"/api/reservations/{held['reservation_id']}/release"
    assert caller.post(path).json()["changed"] is True
    assert reserved_of(caller) == 0
    assert (caller.post(path, {}).status_code, caller.post(path).json()["changed"]) == (200, False)
    refused = caller.post(path.replace("release", "settle"), {"amount": "0.5"})
    assert (refused.status_code, refused.json()["code"]) == (409, "reservation_released")
    assert reserved_of(caller) == 0


def test_a_hold_expires_although_the_api_lives(start_app: StartApp, make_settings: MakeSettings, user: str) -> None:
    """Its money is free then; what the work has cost all the same counts, and a release changes nothing."""
    settings = make_settings(guard_reservation_seconds=1)
    caller = Caller(start_app(settings), settings, user)
    first, second = (caller.decide(amount="0.5", reserve=True)["reservation_id"] for _ in range(2))
    assert reserved_of(caller) == 1
    wait_until(lambda: reserved_of(caller) == 0, 10, "the holds have expired")
    late = caller.post(f"/api/reservations/{first}/settle", {"amount": "0.3"})
    assert (late.status_code, late.json()["changed"]) == (200, True)
    released = caller.post(f"/api/reservations/{second}/release")
    assert (released.status_code, released.json()["changed"]) == (200, False)
    assert reserved_of(caller) == Decimal("0.3")


def test_a_key_names_one_reservation(caller: Caller) -> None:
    """The same key finds the first hold with its estimate; once that is settled, there is nothing left to run."""
    first = caller.decide(amount="0.5", reserve=True, key="job-7")
    again = caller.decide(amount="0.7", reserve=True, key="job-7")
    assert again["reservation_id"] == first["reservation_id"]
    assert (again["estimate"], reserved_of(caller)) == ("0.50", Decimal("0.5"))
    caller.post(f"/api/reservations/{first['reservation_id']}/settle", {"amount": "0.2"})
    done = caller.decide(amount="0.5", reserve=True, key="job-7")
    assert (done["decision"], done["code"]) == ("skip", "already_settled")
    assert reserved_of(caller) == Decimal("0.2")
    other = caller.decide(amount="0.5", reserve=True, key="job-8")
    caller.post(f"/api/reservations/{other['reservation_id']}/release")
    assert caller.decide(amount="0.5", reserve=True, key="job-8")["reservation_id"] != other["reservation_id"]


def test_a_reservation_is_its_users_alone(
    client: TestClient, settings: Settings, caller: Caller, operator: Caller, user: str
) -> None:
    """Another user's id is as unknown as one that was never made; an operator acts for the user by name."""
    held = caller.decide(amount="0.5", reserve=True)["reservation_id"]
    stranger = Caller(client, settings, "a stranger")
    for somebody in (stranger, operator):
        for action, body in (("settle", {"amount": "0"}), ("release", {})):
            response = somebody.post(f"/api/reservations/{held}/{action}", body)
            assert (response.status_code, response.json()["code"]) == (404, "reservation_unknown")
    for action, body in (("settle", {"amount": "0", "user_id": user}), ("release", {"user_id": user})):
        response = stranger.post(f"/api/reservations/{held}/{action}", body)
        assert (response.status_code, response.json()["code"]) == (403, "forbidden")
    assert stranger.post("/api/decisions", {"amount": 1, "user_id": user}).status_code == 403
    analyst = Caller(client, settings, "an analyst", "analyst")
    assert analyst.post("/api/decisions", {"amount": 1, "user_id": user}).status_code == 403
    assert reserved_of(caller) == Decimal("0.5")
    mine = operator.decide(amount="0.25", reserve=True, user_id=user)
    assert (mine["user_id"], reserved_of(caller)) == (user, Decimal("0.75"))
    path = f"/api/reservations/{mine['reservation_id']}/settle"
    assert operator.post(path, {"amount": "0.1", "user_id": user}).json()["user_id"] == user
    assert reserved_of(caller) == Decimal("0.6")


def test_an_unknown_reservation_is_404_and_a_wrong_id_422(caller: Caller) -> None:
    """Nothing is counted for either."""
    for action, body in (("settle", {"amount": "1"}), ("release", {})):
        unknown = caller.post(f"/api/reservations/{uuid.uuid4().hex}/{action}", body)
        assert (unknown.status_code, unknown.json()["code"]) == (404, "reservation_unknown")
        wrong = caller.post(f"/api/reservations/k:{uuid.uuid4().hex}/{action}", body)
        assert (wrong.status_code, wrong.json()["code"]) == (422, "invalid_value")
    assert reserved_of(caller) == 0


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "work"),
        ({"amount": "1", "work": {"kind": "image"}}, "work"),
        ({"amount": None}, "amount"),
        ({"amount": "-1"}, "amount"),
        ({"amount": "9000000.01"}, "amount"),
        ({"amount": "0.0000000000001"}, "amount"),
        ({"amount": True}, "amount"),
        ({"amount": "NaN"}, "amount"),
        ({"amount": "1", "key": ""}, "key"),
        ({"amount": "1", "key": "k" * 1025}, "key"),
        ({"amount": "1", "reserve": "perhaps"}, "reserve"),
        ({"amount": "1", "estimate": "1"}, "estimate"),
        ({"work": {"kind": "image", "images": -1}}, "images"),
        ({"work": TOO_MUCH}, "estimate"),
    ],
)
def test_wrong_decisions_are_refused_by_name(caller: Caller, body: dict[str, Any], field: str) -> None:
    """422 with the field."""
    response = caller.post("/api/decisions", body)
    assert (response.status_code, response.json()["code"]) == (422, "invalid_value")
    assert field in response.json()["detail"]


def test_while_redis_is_away_the_setting_decides(
    start_app: StartApp, make_settings: MakeSettings, own_redis: OwnRedis, user: str
) -> None:
    """200 with `guard_unavailable`, by the setting; what was allowed can be settled, what nobody knows is 503."""
    redis_url = f"{own_redis.url}"
    skipping = make_settings(redis_url=redis_url)
    allowing = make_settings(redis_url=redis_url, guard_when_unavailable="allow")
    skips = Caller(start_app(skipping), skipping, user)
    allows = Caller(start_app(allowing), allowing, user)
    held = skips.decide(amount="0.5", reserve=True)
    assert held["decision"] == "allow"
    own_redis.kill()
    answer = skips.decide(amount="0.5", reserve=True)
    assert (answer["decision"], answer["code"], answer["budget"]) == ("skip", "guard_unavailable", None)
    assert skips.decide(amount="0", reserve=True)["decision"] == "allow"
    unknown = skips.post(f"/api/reservations/{uuid.uuid4().hex}/settle", {"amount": "0.1"})
    assert (unknown.status_code, unknown.json()["code"]) == (503, "guard_unavailable")
    assert int(unknown.headers["Retry-After"]) > 0
    allowed = allows.decide(work={"kind": "image"}, reserve=True)
    assert (allowed["decision"], allowed["code"], allowed["estimate"]) == ("allow", "guard_unavailable", "0.001002")
    settled = allows.post(f"/api/reservations/{allowed['reservation_id']}/settle", {"amount": "0.001"})
    assert (settled.status_code, settled.json()["changed"]) == (200, True)
    own_redis.start()
    wait_until(lambda: skips.decide(amount="0.1")["code"] == "within_budget", 20, "decisions are taken on figures")
    expected = Decimal("0.501")
    wait_until(lambda: reserved_of(skips) == expected, 20, "what was settled meanwhile is told")


def test_an_app_starts_while_redis_and_the_ledger_are_away(start_app: StartApp, make_settings: MakeSettings) -> None:
    """Estimates and prices are answered, decisions are the setting's: nothing waits for them to be back."""
    settings = make_settings(
        redis_url="redis://127.0.0.1:9/0", database_url="postgresql://127.0.0.1:9/nothing", api_timeout_seconds=1
    )
    caller = Caller(start_app(settings), settings, "somebody")
    assert caller.client.get("/healthz").status_code == 200
    assert caller.post("/api/estimates", {"kind": "image"}).status_code == 200
    assert caller.get("/api/prices").status_code == 200
    answer = caller.decide(amount="0.5")
    assert (answer["decision"], answer["code"]) == ("skip", "guard_unavailable")


def test_the_first_minute_with_an_empty_redis_does_not_keep_the_app(
    start_app: StartApp, make_settings: MakeSettings, user: str
) -> None:
    """A Redis that was empty is met in the background; until it is known, decisions are the setting's."""
    settings = make_settings(guard_recovery_seconds=2)
    caller = Caller(start_app(settings), settings, user)
    assert caller.client.get("/healthz").status_code == 200
    assert caller.decide(amount="0.5")["code"] == "guard_recovering"
    wait_until(lambda: caller.decide(amount="0.5")["code"] == "within_budget", 10, "Redis is known")
