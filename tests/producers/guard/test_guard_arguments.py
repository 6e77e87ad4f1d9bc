"""What callers may hand to the guard: a wrong argument is named, and harms nobody else's reservations."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from typing import Any
from uuid import UUID

import pytest
import redis
from tests.fixtures.wait import wait_until
from tests.producers.guard.guarding import USD, make_guard

from costledger.producers import CostTracker
from costledger.producers.guard import RedisGuard, Verdict
from costledger.producers.guard.outstanding import Item, Kind
from costledger.producers.optimiser.processor import CostAwareProcessor
from costledger.schemas.budgets import Budget
from costledger.schemas.errors import InvalidValue
from costledger.schemas.ids import new_event_id

RESERVATION = "0" * 32
#: Nobody listens there.
NOBODY = "127.0.0.1:9"
LONE_SURROGATE = json.loads('"\\ud800"')
CALLS: dict[str, Callable[[RedisGuard, Any], object]] = {
    "decide": lambda guard, user: guard.decide(user, 1),
    "reserve": lambda guard, user: guard.reserve(user, 1),
    "settle": lambda guard, user: guard.settle(user, RESERVATION, 1),
    "release": lambda guard, user: guard.release(user, RESERVATION),
}


@pytest.fixture
def guard(redis_url: str) -> Iterator[RedisGuard]:
    """A guard that allows what it cannot ask about, so that nothing is refused for another reason."""
    made = make_guard(redis_url, recovery_seconds=0, when_unavailable="allow")
    yield made
    made.close()


@pytest.mark.parametrize("user", [LONE_SURROGATE, "", " ", "a\x00b", "a\nb", "x" * 129, None, 5], ids=ascii)
@pytest.mark.parametrize("call", CALLS)
def test_a_user_that_no_event_can_have_is_refused_by_name(guard: RedisGuard, call: str, user: Any) -> None:
    """Also where the guard would allow what it cannot read; nothing of it is kept to be told later."""
    with pytest.raises(InvalidValue, match=r"^user_id is "):
        CALLS[call](guard, user)
    assert guard._outstanding.to_tell(1, 1, only_untold=False) == []


@pytest.mark.parametrize(
    ("field", "call"),
    [
        ("reservation_id", lambda guard: guard.settle("ann", None, 1)),
        ("reservation_id", lambda guard: guard.release("ann", None)),
        ("key", lambda guard: guard.reserve("ann", 1, key=5)),
        ("key", lambda guard: guard.reserve("ann", 1, key=b"k")),
        ("event_ids", lambda guard: guard.settle("ann", RESERVATION, 1, ["abc"])),
        (
            "event_ids",
            lambda guard: guard.settle("ann", RESERVATION, 1, [UUID(int=(2**128 - 1) ^ (8 << 76) ^ (1 << 62))]),
        ),
    ],
)
def test_a_wrong_argument_is_named(guard: RedisGuard, field: str, call: Callable[[RedisGuard], object]) -> None:
    """What is None after a skip, keys and ids of other types, and an event of the year 10889."""
    with pytest.raises(InvalidValue, match=f"^{field} is "):
        call(guard)
    guard.settle("ann", RESERVATION, 1, [new_event_id(1_790_000_000_000_000)])


def test_the_user_who_asked_is_charged_whosever_budget_it_is(redis_url: str) -> None:
    """One budget for many users: each has their own reservations against it."""
    shared = Budget(user_id="shared", monthly_budget=10 * USD)
    guard = make_guard(redis_url, recovery_seconds=0, budgets=lambda _: shared)
    made = guard.reserve("carl", USD)
    assert (made.user_id, made.decision.verdict) == ("carl", Verdict.ALLOW)
    assert guard.decide("carl", USD).reserved == USD
    assert guard.decide("dora", USD).reserved == guard.decide("shared", USD).reserved == 0
    guard.release("carl", made.reservation_id or "")
    assert guard.decide("carl", USD).reserved == 0
    guard.close()


def test_what_can_never_be_told_keeps_nobody_elses_hold_from_being_renewed(
    redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """However it came in: the others' leases go on, and the log has a line, not a flood."""
    options = {"recovery_seconds": 0, "reservation_seconds": 1}
    guard, other = make_guard(redis_url, **options), make_guard(redis_url, **options)
    guard._outstanding.hold(Item(user_id=LONE_SURROGATE, reservation_id=RESERVATION, kind=Kind.HELD, amount=1))
    assert guard.reserve("good", 5 * USD).decision.may_run
    before = other._scripts.epoch().now_us
    with caplog.at_level(logging.ERROR, "costledger.producers"):
        wait_until(lambda: other._scripts.epoch().now_us - before > 3_000_000, 20, "three leases have passed")
        assert other.decide("good", USD).reserved == 5 * USD
    said = [record for record in caplog.records if "cannot be told" in record.getMessage()]
    assert len(said) == 1
    guard.close()
    other.close()


def test_a_guard_with_shorter_times_shortens_nobody_elses(redis_url: str) -> None:
    """Both work on one user's state; it is kept for as long as the one with the longer times needs it."""
    patient = make_guard(redis_url, recovery_seconds=0, reservation_seconds=5 * 86_400, renew=False)
    hasty = make_guard(redis_url, recovery_seconds=0, reservation_seconds=1, settled_hold_seconds=1)
    client = redis.Redis.from_url(redis_url)
    assert patient.reserve("ann", USD).reservation_id is not None
    before = {key: client.pttl(key) for key in client.scan_iter("costledger:guard:{ann}*")}
    assert hasty.reserve("ann", USD).reservation_id is not None
    assert before
    assert all(client.pttl(key) > 5 * 86_400_000 for key in before)
    for each in (patient, hasty):
        each.close()
    client.close()


def test_a_tracker_that_hears_of_no_acknowledgement_is_named(
    guard: RedisGuard, caplog: pytest.LogCaptureFixture
) -> None:
    """In the mode outbox: what was settled then counts twice for a while, and the log says for how long."""
    with CostTracker(source="tests", durability="outbox") as tracker, caplog.at_level(logging.ERROR):
        guard.follow(tracker)
    assert "a tracker in the mode outbox hears of no acknowledgement" in caplog.text


@pytest.mark.parametrize("answer", ["text", 5, 0, {}, [Budget(user_id="bad")]], ids=repr)
def test_what_is_no_budget_is_never_taken_for_one(
    redis_url: str, answer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Nor for none: the budget cannot be read then, for that user alone, and the log says why."""
    good = Budget(user_id="good", monthly_budget=50 * USD)
    options = {
        "recovery_seconds": 0,
        "reservation_seconds": 1,
        "budgets": lambda user: answer if user == "bad" else good,
    }
    guard, other = make_guard(redis_url, **options), make_guard(redis_url, **options)
    with caplog.at_level(logging.ERROR, "costledger.producers"):
        assert guard.reserve("bad", USD).decision.code == "guard_unavailable"
        guard.settle("bad", RESERVATION, 1)
        guard.release("bad", "1" * 32)
    assert "which is no budget" in caplog.text
    assert guard.reserve("good", 5 * USD).decision.may_run
    before = other._scripts.epoch().now_us
    wait_until(lambda: other._scripts.epoch().now_us - before > 2_500_000, 20, "two leases have passed")
    assert other.decide("good", USD).reserved == 5 * USD
    guard.close()
    other.close()


def test_the_processor_refuses_to_guess_what_unpriced_work_means(guard: RedisGuard) -> None:
    """A slip of the keyboard must not open what it should close."""
    with (
        CostTracker(NOBODY, "tests", flush_timeout_seconds=0) as tracker,
        pytest.raises(InvalidValue, match=r"^when_unpriced is 'skipp'; it must be one of skip, allow"),
    ):
        CostAwareProcessor(tracker, guard, when_unpriced="skipp")  # type: ignore[arg-type]  # on purpose
