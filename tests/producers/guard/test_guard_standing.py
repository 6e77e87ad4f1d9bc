"""What has become of a reservation, told to another process than the one that made it."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from tests.fixtures.fix_redis import OwnRedis
from tests.fixtures.wait import wait_until
from tests.producers.guard.guarding import USD, Clock, make_guard, now_us

from costledger.producers.guard import RedisGuard, Standing
from costledger.schemas.errors import InvalidValue, Unavailable
from costledger.schemas.settings import Settings

Start = Callable[..., RedisGuard]


@pytest.fixture
def clock() -> Clock:
    """Redis's clock, a little after Redis became known."""
    return Clock(now_us())


@pytest.fixture
def start(redis_url: str, clock: Clock) -> Iterator[Start]:
    """Guards of one Redis, as servers that reserve for others have them."""
    with ExitStack() as cleanup:

        def make(url: str = redis_url, **other: Any) -> RedisGuard:
            values = {"redis_clock_us": clock, "renew": False, "reservation_seconds": 60, "recovery_seconds": 0}
            return cleanup.enter_context(make_guard(url, **{**values, **other}))

        yield make


def test_another_process_sees_what_has_become_of_a_reservation(start: Start) -> None:
    """Held, settled, released; and unknown where it was never made, or is another user's."""
    one, other = start(), start()
    made = one.reserve("ann", USD).reservation_id
    assert made is not None
    assert (one.standing("ann", made), other.standing("ann", made)) == (Standing.HELD, Standing.HELD)
    assert other.standing("bob", made) is Standing.UNKNOWN
    assert other.standing("ann", uuid.uuid4().hex) is Standing.UNKNOWN
    other.settle("ann", made, USD // 2)
    assert (one.standing("ann", made), other.standing("ann", made)) == (Standing.SETTLED, Standing.SETTLED)
    made = one.reserve("ann", USD).reservation_id
    assert made is not None
    other.release("ann", made)
    assert (one.standing("ann", made), other.standing("ann", made)) == (Standing.RELEASED, Standing.RELEASED)


def test_an_expired_reservation_is_known_for_an_hour_and_may_be_held_again(start: Start, clock: Clock) -> None:
    """Its key is free at once; a late settlement counts; a late release ends it for good."""
    one, other = start(), start()
    made = [one.reserve("ann", USD, key=f"key-{i}").reservation_id for i in range(3)]
    assert None not in made
    clock.advance(61)
    assert other.decide("ann", 1).reserved == 0
    assert {other.standing("ann", each or "") for each in made} == {Standing.EXPIRED}
    anew = other.reserve("ann", USD, key="key-0")
    assert (anew.decision.reserved, anew.reservation_id not in made) == (0, True)
    other.settle("ann", made[1] or "", 3 * USD)
    assert other.standing("ann", made[1] or "") is Standing.SETTLED
    other.release("ann", made[2] or "")
    assert other.standing("ann", made[2] or "") is Standing.RELEASED
    assert other.decide("ann", 1).reserved == 4 * USD
    clock.advance(3601)
    assert other.decide("ann", 1) is not None
    assert other.standing("ann", made[0] or "") is Standing.UNKNOWN


def test_a_process_knows_its_own_reservations_while_redis_is_away(start: Start, own_redis: OwnRedis) -> None:
    """What others hold cannot be told then."""
    one = start(own_redis.url, timeout_seconds=1, when_unavailable="allow")
    made = one.reserve("ann", USD).reservation_id
    assert made is not None
    own_redis.kill()
    assert one.standing("ann", made) is Standing.HELD
    unasked = one.reserve("ann", USD).reservation_id
    assert unasked is not None
    assert one.standing("ann", unasked) is Standing.HELD
    one.settle("ann", unasked, USD)
    assert one.standing("ann", unasked) is Standing.SETTLED
    with pytest.raises(Unavailable):
        one.standing("ann", uuid.uuid4().hex)
    with pytest.raises(InvalidValue, match="reservation_id"):
        one.standing("ann", "k:-")


def test_a_guard_takes_the_settings_that_it_is_given(redis_url: str) -> None:
    """Not those of the environment; an argument of its own wins over both."""
    settings = Settings(budget_by_tier={"default": 7}, guard_single_share_percent=50, guard_warn_percent=1)
    with make_guard(redis_url, settings=settings, recovery_seconds=0, budgets=lambda _: None, warn_percent=90) as guard:
        assert guard.budget("ann").monthly_budget is None
        decision = guard.decide("ann", 3 * USD)
        assert (decision.verdict, decision.budget) == ("allow", 7 * USD)


def test_one_user_cannot_take_all_the_room(start: Start, clock: Clock) -> None:
    """With so many holds open, that user's next one is refused, and nobody else's; room is free once they end."""
    guard = start(holds_of_user_max=3)
    made = [guard.reserve("ann", 1, key=f"key-{i}") for i in range(3)]
    assert guard.reserve("ann", 1).decision.code == "guard_unavailable"
    assert guard.reserve("bob", 1).decision.may_run
    assert guard.decide("ann", 1).may_run
    guard.settle("ann", made[0].reservation_id or "", 1)
    assert guard.reserve("ann", 1).decision.may_run
    guard.release("ann", made[1].reservation_id or "")
    assert guard.reserve("ann", 1).decision.may_run
    assert not guard.reserve("ann", 1).decision.may_run
    clock.advance(61)
    guard.decide("ann", 1)
    wait_until(lambda: guard.reserve("ann", 1).decision.may_run, 20, "expired holds make room")
