"""The guard on a real Redis: reservations from beginning to end."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import redis
import redis.cluster
from tests.fixtures.wait import wait_until
from tests.producers.guard.guarding import USD, Clock, Tracker, make_guard, now_us, show_total

from costledger.deploy.stack.ports import free_port, is_free
from costledger.deploy.stack.redis import find_redis
from costledger.producers.guard import RedisGuard, Verdict
from costledger.schemas.budgets import Budget
from costledger.schemas.errors import InvalidValue
from costledger.schemas.periods import PeriodKind, period_at
from costledger.schemas.times import to_microseconds

UNKNOWN_ID = "0" * 32
#: Of Redis: the port on which nodes talk to each other.
BUS_OFFSET = 10_000
#: Linux' default.
EPHEMERAL_MIN = 32_768
PORT_TRIES_MAX = 200


def cluster_port() -> int:
    """A free port of which the cluster's own, 10,000 above, is free too, and none that the system hands out to clients."""
    for _ in range(PORT_TRIES_MAX):
        port = free_port()
        if port + BUS_OFFSET < EPHEMERAL_MIN and is_free(port + BUS_OFFSET):
            return port
    raise AssertionError(f"no such port among {PORT_TRIES_MAX}")


@pytest.fixture
def own_cluster(tmp_path: Path) -> Iterator[str]:
    """URL of a Redis cluster of one node that has every slot."""
    port = cluster_port()
    command = [str(find_redis()), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--cluster-enabled", "yes"]
    with (tmp_path / "cluster.log").open("wb") as log:
        process = subprocess.Popen(command, cwd=tmp_path, stdout=log, stderr=log)
    client = redis.Redis(port=port)
    try:
        wait_until(lambda: answers(client), 10, "the node answers")
        client.execute_command("CLUSTER", "ADDSLOTS", *range(16_384))
        wait_until(lambda: client.execute_command("CLUSTER INFO")["cluster_state"] == "ok", 10, "the cluster is up")
        yield f"redis://127.0.0.1:{port}"
    finally:
        client.close()
        process.terminate()
        process.wait(10)


def answers(client: redis.Redis) -> bool:
    """Whether a server is there."""
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False


@pytest.fixture
def start(redis_url: str) -> Iterator[Callable[..., RedisGuard]]:
    """Make guards that know their Redis; closed at the end."""
    made: list[RedisGuard] = []

    def go(**other: Any) -> RedisGuard:
        guard = make_guard(redis_url, **other)
        made.append(guard)
        if "redis_clock_us" not in other:
            assert guard.prepare(10)
        return guard

    yield go
    for guard in made:
        guard.close()


def reserved(guard: RedisGuard, user: str = "ann") -> int:
    """What counts as reserved, in 1e-12 USD."""
    held = guard.decide(user, 1).reserved
    assert held is not None
    return held


def test_a_reservation_holds_until_it_is_settled_and_seen(start, client) -> None:
    """Estimate, then what was really spent, then nothing: the total has it."""
    guard, tracker = start(), Tracker()
    guard.follow(tracker)
    show_total(client, "ann", 20 * USD, 41)
    made = guard.reserve("ann", 10 * USD)
    assert made.decision.verdict is Verdict.ALLOW
    assert (made.decision.month_to_date, made.decision.reserved, made.decision.budget) == (20 * USD, 0, 100 * USD)
    assert made.decision.budget_version == 3
    assert made.decision.period == period_at(PeriodKind.MONTH, now_us()).label
    assert reserved(guard) == 10 * USD
    events = [tracker.track(), tracker.track()]
    tracker.acknowledge(events[0], 42)
    guard.settle("ann", made.reservation_id, 7 * USD, events)
    show_total(client, "ann", 27 * USD, 43)
    assert reserved(guard) == 7 * USD, "the second event has no offset yet"
    tracker.acknowledge(events[1], 43)
    wait_until(lambda: reserved(guard) == 0, 10, "the settled amount is seen in the total")
    assert guard.decide("ann", 1).month_to_date == 27 * USD


def test_a_settled_amount_counts_until_the_total_has_its_offset(start, client) -> None:
    """An acknowledgement alone frees nothing: the total must be complete up to that offset."""
    guard, tracker = start(), Tracker()
    guard.follow(tracker)
    show_total(client, "ann", 0, 4)
    made, event = guard.reserve("ann", 10 * USD), tracker.track()
    tracker.acknowledge(event, 5)
    guard.settle("ann", made.reservation_id, 10 * USD, [event])
    assert reserved(guard) == 10 * USD
    show_total(client, "ann", 10 * USD, 5)
    assert reserved(guard) == 0


def test_more_than_the_estimate_is_counted(start) -> None:
    """What was spent is recorded even where it overdraws, and the next decision sees it."""
    guard, tracker = start(single_share_percent=Decimal(100)), Tracker()
    made = guard.reserve("ann", 90 * USD)
    guard.settle("ann", made.reservation_id, 130 * USD, [tracker.track()])
    decision = guard.decide("ann", 1)
    assert (decision.verdict, decision.reserved, decision.remaining) == (Verdict.SKIP, 130 * USD, -30 * USD)
    assert decision.reason == "Monthly budget would be exceeded"


def test_one_operation_above_its_share_is_skipped(start) -> None:
    """With the sentence of the rule; nothing is held."""
    guard = start()
    made = guard.reserve("ann", 10 * USD + 1)
    assert (made.reservation_id, made.decision.verdict) == (None, Verdict.SKIP)
    assert made.decision.reason == "Single operation cost exceeds 10% of monthly budget"
    assert guard.reserve("ann", 10 * USD).decision.verdict is Verdict.ALLOW
    assert reserved(guard) == 10 * USD


def test_the_last_picodollar_is_held_and_no_more(start, client) -> None:
    """More than the budget is skipped; exactly the budget is not. Far beyond what a double holds exactly."""
    budget = 10_000 * USD
    guard = start(budgets=lambda user: Budget(user_id=user, monthly_budget=budget))
    show_total(client, "ann", budget - 3, 0)
    assert guard.reserve("ann", 2).decision.verdict is Verdict.WARN
    assert guard.reserve("ann", 2).decision.code == "monthly_budget_exceeded"
    assert guard.reserve("ann", 1).decision.may_run
    assert guard.reserve("ann", 1).decision.verdict is Verdict.SKIP


def test_settling_twice_changes_nothing(start) -> None:
    """The first settlement counts, whatever the second says."""
    guard, other = start(), start()
    made = guard.reserve("ann", 5 * USD)
    for each, actual in ((guard, 3 * USD), (guard, 4 * USD), (other, 5 * USD)):
        each.settle("ann", made.reservation_id, actual, [Tracker().track()])
        assert reserved(guard) == 3 * USD
    guard.release("ann", made.reservation_id)
    other.release("ann", made.reservation_id)
    assert reserved(guard) == 3 * USD


def test_settling_nothing_ends_the_hold(start) -> None:
    """Work that turned out to cost nothing."""
    guard = start()
    made = guard.reserve("ann", 5 * USD, key="job-1")
    guard.settle("ann", made.reservation_id, 0)
    assert reserved(guard) == 0
    assert guard.reserve("ann", 5 * USD, key="job-1").decision.code == "already_settled"


def test_an_unknown_reservation_is_settled_all_the_same(start) -> None:
    """Money was spent, whoever forgot the reservation: once."""
    guard = start()
    for _ in range(2):
        guard.settle("ann", UNKNOWN_ID, 3 * USD, [Tracker().track()])
        start().settle("ann", UNKNOWN_ID, 3 * USD, [Tracker().track()])
    wait_until(lambda: guard.decide("ann", 1).code == "within_budget", 10, "the user's state has begun")
    assert reserved(guard) == 3 * USD


def test_a_release_frees_the_estimate(start) -> None:
    """Also twice, and of what was never reserved."""
    guard = start()
    made = guard.reserve("ann", 5 * USD)
    guard.reserve("ann", USD)
    guard.release("ann", made.reservation_id)
    guard.release("ann", made.reservation_id)
    guard.release("ann", UNKNOWN_ID)
    assert reserved(guard) == USD


def test_the_same_key_is_the_same_reservation(start) -> None:
    """From any process, with the first estimate; after settling it says so; after a release it reserves anew."""
    guard, other = start(), start()
    made = guard.reserve("ann", 5 * USD, key="job-1")
    for each in (guard, other):
        again = each.reserve("ann", 9 * USD, key="job-1")
        assert again.reservation_id == made.reservation_id
        assert again.expires_at_us == made.expires_at_us
        assert (again.decision.verdict, again.decision.estimate, again.decision.reserved) == (Verdict.ALLOW, 5 * USD, 0)
    assert reserved(guard) == 5 * USD
    assert other.reserve("bob", USD, key="job-1").reservation_id != made.reservation_id
    guard.release("ann", made.reservation_id)
    anew = other.reserve("ann", USD, key="job-1")
    assert anew.reservation_id not in (None, made.reservation_id)
    other.settle("ann", anew.reservation_id, USD, [Tracker().track()])
    for each in (guard, other):
        done = each.reserve("ann", USD, key="job-1")
        assert (done.decision.verdict, done.decision.code) == (Verdict.SKIP, "already_settled")
        assert (done.reservation_id, done.expires_at_us) == (anew.reservation_id, None)
    assert reserved(guard) == USD


def test_a_look_with_a_key_leaves_out_what_is_held_under_it(start) -> None:
    """So a job that is entered again finds the room that it had; looking keeps nothing alive and is not counted."""
    guard = start(reservation_seconds=1)
    made = guard.reserve("ann", 6 * USD, key="job")
    guard.reserve("ann", 3 * USD)
    other = start(reservation_seconds=1)
    decision = other.decide("ann", 5 * USD, "job")
    assert (decision.verdict, decision.code, decision.estimate) == (Verdict.ALLOW, "within_budget", 5 * USD)
    assert decision.reserved == 3 * USD
    assert len(other._outstanding) == 0, "the hold is not this process's to keep"
    assert other.decide("ann", 5 * USD).reserved == 9 * USD
    guard.settle("ann", made.reservation_id, 6 * USD, [])
    assert other.decide("ann", 5 * USD, "job").code == "already_settled"
    assert (guard.stats(), other.stats()) == ({"within_budget": 2}, {})


def test_a_hold_of_a_dead_process_expires_and_settling_still_counts(start) -> None:
    """The estimate is freed; what the job then says it has spent is recorded."""
    clock = Clock(now_us())
    guard = start(redis_clock_us=clock, renew=False, reservation_seconds=60)
    clock.advance(1)
    guard.prepare()
    clock.advance(1)
    made = guard.reserve("ann", 9 * USD)
    assert made.expires_at_us == clock.at_us + 60_000_000
    clock.advance(59.9)
    assert reserved(guard) == 9 * USD
    clock.advance(0.2)
    assert reserved(guard) == 0
    guard.settle("ann", made.reservation_id, 8 * USD, [Tracker().track()])
    assert reserved(guard) == 8 * USD


def test_an_amount_never_confirmed_ends_by_itself(start) -> None:
    """After `settled_hold_seconds`; and is not counted again by a repeat."""
    clock = Clock(now_us())
    guard = start(redis_clock_us=clock, settled_hold_seconds=100)
    guard.prepare()
    clock.advance(1)
    made = guard.reserve("ann", 9 * USD)
    guard.settle("ann", made.reservation_id, 8 * USD)
    clock.advance(99)
    assert reserved(guard) == 8 * USD
    clock.advance(2)
    assert reserved(guard) == 0
    start(redis_clock_us=clock, settled_hold_seconds=100).settle("ann", made.reservation_id, 8 * USD)
    assert reserved(guard) == 0


def test_a_job_that_outlives_its_reservation_keeps_its_hold(start) -> None:
    """As long as its process lives; when that is gone, the hold expires."""
    guard = start(reservation_seconds=1)
    other = start(reservation_seconds=1)
    made = guard.reserve("ann", 9 * USD)
    ends = made.expires_at_us
    wait_until(lambda: now_us() > ends + 300_000, 10, "its time is over")
    assert reserved(other) == 9 * USD
    guard.close()
    wait_until(lambda: reserved(other) == 0, 10, "nobody renews it")


def test_the_months_turn(start, client) -> None:
    """In the zone of the budget: the new month begins with its own total, what is held counts on, and an amount
    settled for the old month does not."""
    # 1 November 2026, 00:00 in Kolkata is 31 October, 18:30 UTC.
    turn = to_microseconds(datetime(2026, 10, 31, 18, 30, tzinfo=UTC))
    clock = Clock(turn - 1)
    budget = Budget(user_id="ann", monthly_budget=100 * USD, time_zone="Asia/Kolkata")
    guard, tracker = start(budgets=lambda _user: budget, clock_us=clock), Tracker(clock)
    guard.follow(tracker)
    for month, total in (("2026-10", 95 * USD), ("2026-11", USD)):
        client.hset(f"costledger:{{ann}}:total:month:{month}", mapping={"total": str(total), "offset": "7"})
    over, lasting, late = guard.reserve("ann", USD), guard.reserve("ann", USD), guard.reserve("ann", USD)
    old_event = tracker.track()
    guard.settle("ann", over.reservation_id, USD, [old_event])
    decision = guard.decide("ann", 1)
    assert (decision.period, decision.month_to_date, decision.reserved) == ("2026-10", 95 * USD, 3 * USD)
    assert guard.decide("ann", 3 * USD).verdict is Verdict.SKIP
    clock.at_us = turn
    decision = guard.decide("ann", 3 * USD)
    assert (decision.verdict, decision.period) == (Verdict.ALLOW, "2026-11")
    assert (decision.month_to_date, decision.reserved) == (USD, 2 * USD)
    # Settled in the new month, for an event of the old one and for one of the new.
    guard.settle("ann", late.reservation_id, USD, [old_event])
    assert reserved(guard) == USD
    guard.settle("ann", lasting.reservation_id, USD, [tracker.track()])
    assert reserved(guard) == USD
    clock.at_us = turn - 1
    assert guard.decide("ann", 1).reserved == 2 * USD


def test_a_changed_budget_is_seen_after_the_cache_time(start) -> None:
    """Budgets are asked for at most once in that time."""
    asked: list[str] = []
    budgets = {"ann": Budget(user_id="ann", version=1, monthly_budget=USD)}

    def source(user: str) -> Budget | None:
        asked.append(user)
        return budgets.get(user)

    guard = start(budgets=source, budget_cache_seconds=0.2)
    assert guard.decide("ann", USD // 10).budget == USD
    budgets["ann"] = Budget(user_id="ann", version=2, monthly_budget=2 * USD)
    assert guard.decide("ann", 1).budget_version == 1
    assert asked == ["ann"]
    wait_until(lambda: guard.decide("ann", 1).budget_version == 2, 10, "the new budget is in force")
    decision = guard.decide("bob", 1)
    assert (decision.budget, decision.budget_version) == (10 * USD, 0), "the default of the tier"


def test_wrong_arguments_are_named(start) -> None:
    """An error says the field, the value and the limit; they are the caller's defect, so they raise."""
    guard = start()
    with pytest.raises(InvalidValue, match=r"estimate.*-1"):
        guard.reserve("ann", -1)
    with pytest.raises(InvalidValue, match=r"estimate.*0\.5"):
        guard.decide("ann", 0.5)
    with pytest.raises(InvalidValue, match="actual"):
        guard.settle("ann", UNKNOWN_ID, -1)
    with pytest.raises(InvalidValue, match="reservation_id"):
        guard.release("ann", "k:job-1")
    with pytest.raises(InvalidValue, match="key"):
        guard.reserve("ann", 1, key="")


def test_ended_reservations_take_bounded_room(start, client, monkeypatch) -> None:
    """However many were made: those that are done are forgotten, first the oldest."""
    guard = start()
    for _ in range(30):
        made = guard.reserve("ann", USD, key=f"job-{_}")
        guard.release("ann", made.reservation_id)
    keys = {key: client.type(key) for key in client.scan_iter("costledger:guard:{ann}*")}
    assert client.hlen("costledger:guard:{ann}:items") == 60
    assert all(0 < client.ttl(key) <= 2 * 86_400 for key in keys)
    assert client.zcard("costledger:guard:{ann}:done") == 30


def test_a_cluster_finds_every_key_on_the_users_slot(own_cluster: str) -> None:
    """A node of a cluster refuses a script whose keys are on several slots: this one runs every step."""
    node = redis.cluster.RedisCluster.from_url(own_cluster)
    guard = RedisGuard(node, budgets=lambda user: Budget(user_id=user, monthly_budget=100 * USD), recovery_seconds=0.1)
    assert guard.prepare(10)
    for user in ("ann", "bob", "x{y}z", "ä b"):
        wait_until(
            lambda user=user: guard.decide(user, 1).code == "within_budget", 10, "the node was up for long enough"
        )
        made = guard.reserve(user, USD, key="k")
        guard.settle(user, made.reservation_id, USD, [Tracker().track()])
        other = guard.reserve(user, USD)
        guard.release(user, other.reservation_id)
        assert reserved(guard, user) == USD
    guard.close()
    node.close()
