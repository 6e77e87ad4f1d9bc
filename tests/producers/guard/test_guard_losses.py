"""The guard without Redis, with a Redis that has lost everything or part of it, and after a fork."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from tests.fixtures.fix_redis import OwnRedis
from tests.fixtures.wait import wait_until
from tests.producers.guard.guarding import USD, Tracker, make_guard, show_total

from costledger.producers.guard import RedisGuard, Verdict
from costledger.producers.guard.telling import Teller
from costledger.schemas.budgets import Budget
from costledger.schemas.periods import PeriodKind, period_at


@pytest.fixture
def start(redis_url: str) -> Iterator[Callable[..., RedisGuard]]:
    """Make guards; closed at the end."""
    made: list[RedisGuard] = []

    def go(url: str = redis_url, **other: Any) -> RedisGuard:
        made.append(make_guard(url, **other))
        return made[-1]

    yield go
    for guard in made:
        guard.close()


def ready(guard: RedisGuard, user: str = "ann") -> None:
    """Wait until the guard decides on figures."""
    wait_until(lambda: guard.decide(user, 1).month_to_date is not None, 20, "the guard decides on figures")


def test_after_a_loss_nothing_is_granted_until_holders_have_spoken(start, client) -> None:
    """Neither by a process that holds something nor by one that never met the user; afterwards every hold is back."""
    first, second, stranger = start(recovery_seconds=1), start(recovery_seconds=1), start(recovery_seconds=1)
    ready(first)
    for _ in range(9):
        assert first.reserve("ann", 5 * USD).decision.may_run
    for _ in range(9):
        assert second.reserve("ann", 5 * USD).decision.may_run
    settled = second.reserve("ann", 4 * USD)
    second.settle("ann", settled.reservation_id, 3 * USD, [Tracker().track()])
    client.flushdb()
    began = time.monotonic()
    while time.monotonic() < began + 0.7:
        for guard in (stranger, first, second):
            decision = guard.reserve("ann", 10 * USD).decision
            assert (decision.verdict, decision.code, decision.month_to_date) == (Verdict.SKIP, "guard_recovering", None)
    ready(stranger)
    for guard in (first, second, stranger):
        decision = guard.decide("ann", 10 * USD)
        assert (decision.reserved, decision.verdict) == (93 * USD, Verdict.SKIP)


def test_a_new_user_does_not_wait_unless_the_redis_is_new(start, client) -> None:
    """A Redis that guards have known for longer than the window has no more to be told of users it has not."""
    guard = start(recovery_seconds=1)
    assert guard.decide("ann", 1).code == "guard_recovering", "nobody knows what this Redis has lost"
    assert guard.prepare(10)
    for number in range(20):
        assert guard.reserve(f"user-{number}", USD).decision.code == "within_budget"
    assert start(recovery_seconds=1).reserve("another", USD).decision.code == "within_budget"
    client.flushdb()
    assert start(recovery_seconds=1).reserve("a-third", USD).decision.code == "guard_recovering"


def test_a_user_whose_state_alone_is_gone_is_no_new_user(start, client) -> None:
    """Some of the keys were deleted or evicted: a process that has met the user, or holds something, says so."""
    guard, other = start(recovery_seconds=1), start(recovery_seconds=1)
    ready(guard)
    guard.reserve("ann", 5 * USD)
    other.decide("ann", 1)
    for key in ("", ":items", ":expiry"):
        client.delete(f"costledger:guard:{{ann}}{key}")
        assert other.decide("ann", 1).code == "guard_recovering"
        ready(other)
        assert other.decide("ann", 1).reserved == 5 * USD


def test_the_ledger_is_the_floor_until_the_stream_has_written_again(start, client) -> None:
    """A lost total is not nothing spent; nor is one that came back with less."""
    asked: list[tuple[str, str]] = []

    def spend(user: str, period: Any) -> int:
        asked.append((user, period.label))
        return 60 * USD

    guard = start(spend=spend, recovery_seconds=0.2)
    ready(guard)
    decision = guard.decide("ann", 1)
    assert decision.month_to_date == 60 * USD
    assert asked == [("ann", decision.period)]
    show_total(client, "ann", 70 * USD, 9)
    assert guard.decide("ann", 1).month_to_date == 70 * USD
    client.delete(*client.scan_iter("costledger:{ann}:total:*"))
    assert guard.decide("ann", 1).month_to_date == 70 * USD, "what was seen before"
    client.flushdb()
    ready(guard)
    assert guard.decide("ann", 1).month_to_date == 70 * USD, "what this process has seen before"
    show_total(client, "ann", 65 * USD, 8)
    assert guard.decide("ann", 1).month_to_date == 70 * USD, "an older view"
    show_total(client, "ann", 69 * USD, 10)
    assert guard.decide("ann", 1).month_to_date == 69 * USD, "a credit"
    show_total(client, "ann", 0, 11)
    assert guard.decide("ann", 1).month_to_date == 60 * USD, "the ledger had more when it was asked"
    stranger = start(recovery_seconds=0.2)
    client.flushdb()
    ready(stranger)
    assert len(asked) == 2


def test_a_ledger_that_cannot_be_read_is_unavailable(start, client) -> None:
    """Without a floor there is no decision on figures: then it is the setting's."""

    def spend(user: str, period: Any) -> int:
        raise OSError("no ledger today")

    guard = start(spend=spend)
    decision = guard.decide("ann", 1)
    assert (decision.verdict, decision.code) == (Verdict.SKIP, "guard_unavailable")
    assert "no ledger today" in decision.reason
    assert guard.reserve("ann", 0).decision.verdict is Verdict.ALLOW


@pytest.mark.parametrize(("setting", "verdict"), [("skip", Verdict.SKIP), ("allow", Verdict.ALLOW)])
def test_a_budget_that_cannot_be_read_is_unavailable(start, caplog, setting: str, verdict: Verdict) -> None:
    """The decision of the setting, loud, and no exception."""

    def budgets(user: str) -> Budget | None:
        raise RuntimeError("no budgets today")

    guard = start(budgets=budgets, when_unavailable=setting)
    for _ in range(50):
        made = guard.reserve("ann", USD)
        assert (made.decision.verdict, made.decision.code) == (verdict, "guard_unavailable")
        assert made.decision.budget is None
    assert len([record for record in caplog.records if "no budgets today" in record.message]) == 1, "a bounded rate"
    assert f"the decision is {setting}" in caplog.text
    assert guard.stats() == {"guard_unavailable": 50}


def test_without_redis_zero_cost_work_runs_and_the_rest_as_set(start, caplog) -> None:
    """At once, with a line in the log, never with an exception."""
    nowhere = "redis://127.0.0.1:1/0"
    closed, opened = start(nowhere), start(nowhere, when_unavailable="allow")
    for guard, verdict in ((closed, Verdict.SKIP), (opened, Verdict.ALLOW)):
        assert guard.decide("ann", 5).verdict is verdict
        made = guard.reserve("ann", 5)
        assert (made.decision.verdict, made.decision.code) == (verdict, "guard_unavailable")
        free = guard.reserve("ann", 0)
        assert (free.decision.verdict, free.decision.code) == (Verdict.ALLOW, "zero_cost")
        assert free.reservation_id is None
        guard.settle("ann", made.reservation_id or "0" * 32, 5)
        guard.release("ann", "1" * 32)
        assert not guard.prepare()
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(errors) == 4, "decisions and reservations, one each: the rest within half a minute is counted"


@pytest.mark.fault
def test_what_was_allowed_without_redis_is_told_when_it_is_back(own_redis: OwnRedis, start) -> None:
    """Holds, settled amounts and releases of the time without it; the same key is the same reservation meanwhile."""
    guard = start(own_redis.url, when_unavailable="allow", recovery_seconds=0.2)
    ready(guard)
    before = guard.reserve("ann", 2 * USD)
    ended = guard.reserve("ann", USD)
    own_redis.kill()
    held = guard.reserve("ann", 5 * USD, key="job-1")
    assert held.reservation_id is not None
    assert guard.reserve("ann", 5 * USD, key="job-1").reservation_id == held.reservation_id
    other = guard.reserve("ann", 5 * USD)
    guard.settle("ann", before.reservation_id, 7 * USD, [Tracker().track()])
    guard.release("ann", ended.reservation_id)
    guard.release("ann", other.reservation_id)
    own_redis.start()
    ready(guard)
    stranger = start(own_redis.url)
    wait_until(lambda: stranger.decide("ann", 1).reserved == 12 * USD, 20, "Redis knows all of it")


@pytest.mark.fault
def test_a_restarted_redis_is_doubted(own_redis: OwnRedis, start) -> None:
    """It may have lost its last second: what it has counts, and holders are waited for."""
    guard = start(own_redis.url, recovery_seconds=1)
    ready(guard)
    made = guard.reserve("ann", 5 * USD)
    with redis.Redis.from_url(own_redis.url) as client:
        # What was written so far is on disk with the next write.
        client.config_set("appendfsync", "always")
        client.set("written", 1)
    own_redis.kill()
    own_redis.start()
    stranger = start(own_redis.url, recovery_seconds=1)
    assert stranger.decide("ann", 1).code == "guard_recovering"
    assert stranger.decide("never-seen", 1).code == "guard_recovering"
    guard.settle("ann", made.reservation_id, 4 * USD, [Tracker().track()])
    ready(stranger)
    assert stranger.decide("ann", 1).reserved == 4 * USD


@pytest.mark.fault
def test_a_redis_that_does_not_answer_is_waited_for_once(own_redis: OwnRedis, start) -> None:
    """A call ends after its timeout, and those after it at once; what it may have held after all is freed again."""
    guard = start(own_redis.url, recovery_seconds=0.2, timeout_seconds=0.5)
    ready(guard)
    pid = own_redis.service.pid
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    try:
        began = time.monotonic()
        assert guard.reserve("ann", 5 * USD).decision.code == "guard_unavailable"
        for _ in range(100):
            assert guard.reserve("ann", 5 * USD).decision.code == "guard_unavailable"
        assert time.monotonic() - began < 5
    finally:
        os.kill(pid, signal.SIGCONT)
    ready(guard)
    wait_until(lambda: guard.decide("ann", 1).reserved == 0, 20, "nothing is held for work that was refused")


def test_a_forked_child_begins_with_nothing_of_the_parents(start, client) -> None:
    """It has its own connection and thread; the parent's holds stay the parent's, and are no business of the child."""
    guard = start(reservation_seconds=2)
    ready(guard)
    made = guard.reserve("ann", 5 * USD)
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:  # pragma: no cover - the child
        try:
            ready(guard)
            own = guard.reserve("ann", 3 * USD)
            guard.settle("ann", own.reservation_id, 2 * USD, [Tracker().track()])
            text = f"{own.decision.reserved} {guard.decide('ann', 1).reserved} {len(guard._outstanding)}"
            os.write(write_end, text.encode())
        except Exception:  # noqa: BLE001 - the parent shows it
            os.write(write_end, traceback.format_exc().encode())
        finally:
            os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end) as answer:
        said = answer.read()
    _, status = os.waitpid(pid, 0)
    assert (os.waitstatus_to_exitcode(status), said) == (0, f"{5 * USD} {7 * USD} 1")
    guard.release("ann", made.reservation_id)
    assert guard.decide("ann", 1).reserved == 2 * USD


def test_a_defect_in_telling_does_not_end_the_thread(start, client, monkeypatch, caplog) -> None:
    """It is logged, and the next beat tells again."""
    beat = Teller.beat
    failures = iter([True, True])

    def failing(self: Teller, *, everything: bool) -> None:
        if next(failures, False):
            raise RuntimeError("a defect")
        beat(self, everything=everything)

    guard = start(recovery_seconds=0.2)
    ready(guard)
    monkeypatch.setattr(Teller, "beat", failing)
    guard.reserve("ann", 5 * USD)
    wait_until(lambda: caplog.text.count("a defect") >= 2, 10, "both beats have failed")
    client.flushdb()
    stranger = start(recovery_seconds=0.2)
    wait_until(lambda: stranger.decide("ann", 1).reserved == 5 * USD, 10, "the hold was told again")


def test_too_many_reservations_of_a_process_are_unavailable(start, monkeypatch, caplog) -> None:
    """The bound is loud, and what is settled makes way for holds."""
    guard = start()
    ready(guard)
    monkeypatch.setattr(guard._outstanding, "_items_max", 3)
    made = [guard.reserve("ann", USD) for _ in range(3)]
    refused = guard.reserve("ann", USD)
    assert (refused.decision.code, refused.reservation_id) == ("guard_unavailable", None)
    guard.settle("ann", made[0].reservation_id, USD, [Tracker().track()])
    assert guard.reserve("ann", USD).decision.may_run
    assert guard.decide("ann", 1).reserved == 4 * USD
    assert caplog.text.count("guard_overflow") == 1


def test_the_month_of_a_user_is_found_in_the_zone_of_the_budget(start, client) -> None:
    """Where the totals are: by the label that the stream app uses."""
    zone = "Pacific/Kiritimati"
    guard = start(budgets=lambda user: Budget(user_id=user, time_zone=zone))
    ready(guard)
    expected = period_at(PeriodKind.MONTH, time.time_ns() // 1000, zone).label
    assert guard.decide("ann", 1).period == expected


def test_a_clock_that_was_set_back_refuses_nobody_for_long(start, client) -> None:
    """This Redis was met in what is the future now: new users wait for a window from now on, and not until then."""
    guard = start(recovery_seconds=0.5)
    ready(guard)
    (epoch,) = [
        key for key in client.keys("costledger:guard*") if client.type(key) == "hash" and client.hexists(key, "since")
    ]
    client.hset(epoch, "since", str(time.time_ns() // 1000 + 3_600_000_000))
    later = start(recovery_seconds=0.5)
    ready(later, "new")
    wait_until(lambda: later.reserve("new", USD).decision.code == "within_budget", 10, "a new user is served")


def test_a_thread_that_cannot_be_started_is_started_later(start, client, monkeypatch, caplog) -> None:
    """At a limit of threads: nothing is raised, what is reserved is told to the caller, and holds are renewed once there is room."""
    guard = start(recovery_seconds=0.2)
    ready(guard)
    begin = threading.Thread.start

    def full(thread: threading.Thread) -> None:
        if thread.name == "costledger-guard":
            raise RuntimeError("can't start new thread")
        begin(thread)

    with monkeypatch.context() as limited:
        limited.setattr(threading.Thread, "start", full)
        fresh = start(recovery_seconds=0.2)
        made = fresh.reserve("ann", 5 * USD)
        assert made.reservation_id is not None
        assert "has no thread now" in caplog.text
    fresh.reserve("ann", USD)
    client.flushdb()
    stranger = start(recovery_seconds=0.2)
    wait_until(lambda: stranger.decide("ann", 1).reserved == 6 * USD, 10, "both holds were told again")
