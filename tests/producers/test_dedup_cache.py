"""The cache on a real Redis: hits, misses, savings, bounds, leases, and a Redis that is away or holds nonsense."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import redis
from tests.fixtures.fix_redis import OwnRedis
from tests.fixtures.wait import wait_until

from costledger.producers.dedup import CacheAway, ResultCache
from costledger.producers.dedup.store import AWAY_SECONDS, TIMEOUT_SECONDS
from costledger.schemas.errors import InvalidValue

#: Nobody listens there: the port of the discard protocol, which no test starts.
NOBODY = "redis://127.0.0.1:9/0"
COST = 20_000


class Worker:
    """Paid work that counts how often it is done."""

    def __init__(self) -> None:
        self.done: list[Any] = []
        self._lock = threading.Lock()

    def on(self, content: Any) -> Callable[[], list[Any]]:
        """The work on some content."""

        def work() -> list[Any]:
            with self._lock:
                self.done.append(content)
            return ["result of", content]

        return work


@pytest.fixture
def worker() -> Worker:
    """A worker."""
    return Worker()


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    """The test's own connection."""
    with redis.Redis.from_url(redis_url) as client:
        yield client


@pytest.fixture
def make_cache(redis_url: str) -> Iterator[Callable[..., ResultCache]]:
    """Caches on an empty database, closed at the end."""
    made: list[ResultCache] = []

    def make(name: str = "embedding", **other: Any) -> ResultCache:
        values = {"service": "openai", "operation": "embedding-small", "redis_url": redis_url, **other}
        made.append(ResultCache(name, **values))
        return made[-1]

    yield make
    for cache in made:
        cache.close()


def counted(cache: ResultCache, user: str) -> dict[str, int]:
    """Redis's counts of today, and of yesterday, should the day have turned within the test."""
    today = datetime.now(UTC).date()
    days = [cache.counted(user, day.isoformat()) for day in (today, today - timedelta(days=1))]
    return {name: sum(day[name] for day in days) for name in days[0]}


def test_the_same_work_is_done_once(make_cache: Callable[..., ResultCache], worker: Worker) -> None:
    """A hit gives what the work gave, and saves what the call costs; another process's cache shares the results."""
    cache, other = make_cache(), make_cache()
    assert cache.run("u", "text", worker.on("text"), cost=COST) == ["result of", "text"]
    assert cache.run("u", "text", worker.on("text"), cost=COST) == ["result of", "text"]
    assert other.run("u", "text", worker.on("text"), cost=COST) == ["result of", "text"]
    assert worker.done == ["text"]
    assert counted(cache, "u") == {"hits": 2, "similar": 0, "misses": 1, "saved": 2 * COST}
    stats = cache.stats()
    assert (stats["hits"], stats["misses"], stats["stored"], stats["saved"]) == (1, 1, 1, COST)


@pytest.mark.parametrize(
    "change",
    [{"model": "m"}, {"service": "azure"}, {"operation": "embedding-large"}, {"name": "other"}],
    ids=lambda change: next(iter(change)),
)
def test_other_work_is_other_work(
    make_cache: Callable[..., ResultCache], worker: Worker, change: dict[str, str]
) -> None:
    """Whatever the result depends on makes a miss; so do the parameters of the call, and another cache."""
    make_cache().run("u", "text", worker.on(1))
    make_cache(**change).run("u", "text", worker.on(2))
    make_cache().run("u", "text", worker.on(3), parameters={"dimensions": 8})
    assert worker.done == [1, 2, 3]


def test_users_do_not_see_each_other_unless_asked_for(make_cache: Callable[..., ResultCache], worker: Worker) -> None:
    """By default each user has results of their own; `shared` has one lot, and counts by user all the same."""
    own, shared = make_cache(), make_cache("common", scope="shared")
    for cache in (own, shared):
        for user in ("ann", "bob"):
            cache.run(user, "text", worker.on(f"{user}"))
    assert worker.done == ["ann", "bob", "ann"]
    assert counted(shared, "bob") == {"hits": 1, "similar": 0, "misses": 0, "saved": 0}
    assert counted(own, "bob") == {"hits": 0, "similar": 0, "misses": 1, "saved": 0}


def test_a_hit_saves_what_the_first_call_has_cost(make_cache: Callable[..., ResultCache], worker: Worker) -> None:
    """A function reads the cost from the first result and it is stored; a number is of the very call, and goes first."""
    cache = make_cache()
    costs = iter([700, 1])
    cache.run("u", "text", worker.on(1), cost=lambda _: next(costs))
    cache.run("u", "text", worker.on(1), cost=lambda _: next(costs))
    assert cache.stats()["saved"] == 700
    cache.run("u", "text", worker.on(1))
    assert cache.stats()["saved"] == 1400
    cache.run("u", "text", worker.on(1), cost=5)
    assert cache.stats()["saved"] == 1405
    assert counted(cache, "u")["saved"] == 1405


@pytest.mark.parametrize("cost", [None, 1.5, -1, True, 10**19, lambda _: "much", lambda _: 1 // 0])
def test_a_cost_that_is_none_is_not_known_and_never_zero(
    make_cache: Callable[..., ResultCache], worker: Worker, cost: Any
) -> None:
    """The result is returned, the lookup counted, and the saving is told as unknown."""
    cache = make_cache()
    for _ in range(2):
        assert cache.run("u", "text", worker.on(1), cost=cost) == ["result of", 1]
    stats = cache.stats()
    assert (stats["hits"], stats["unpriced"], stats["saved"], len(worker.done)) == (1, 1, 0, 1)


def test_savings_are_exact_beyond_what_a_float_holds(make_cache: Callable[..., ResultCache], worker: Worker) -> None:
    """2^53 + 1 picodollars (9 USD and a half) come out as that."""
    cache = make_cache()
    for _ in range(3):
        cache.run("u", "text", worker.on(1), cost=lambda _: 2**53 + 1)
    assert counted(cache, "u")["saved"] == 2 * (2**53 + 1)


def test_work_that_fails_is_not_stored_and_frees_its_lease(
    make_cache: Callable[..., ResultCache], client: redis.Redis, worker: Worker
) -> None:
    """The caller gets the very exception; the next one tries at once."""
    cache = make_cache()
    error = ValueError("no such model")

    def fail() -> None:
        raise error

    with pytest.raises(ValueError, match="no such model") as caught:
        cache.run("u", "text", fail)
    assert caught.value is error
    assert list(client.scan_iter("*:lease:*")) == list(client.scan_iter("*:entry:*")) == []
    assert cache.run("u", "text", worker.on(1)) == ["result of", 1]
    assert cache.stats()["misses"] == 2


def test_every_key_expires(make_cache: Callable[..., ResultCache], client: redis.Redis, worker: Worker) -> None:
    """Entries and their lists after the time to live, counts after their days; nothing stays for ever."""
    make_cache(ttl_seconds=500).run("u", "text", worker.on(1), cost=1)
    kinds = {key.decode().split(":")[4 if b":dedup:" in key else 1]: client.pttl(key) for key in client.scan_iter()}
    assert set(kinds) == {"entry", "entries", "lookups"}
    assert all(0 < kinds[kind] <= 500_000 for kind in ("entry", "entries"))
    assert 61 * 86_400_000 < kinds["lookups"] <= 62 * 86_400_000


def test_a_result_lives_its_time_and_no_longer(
    make_cache: Callable[..., ResultCache], client: redis.Redis, worker: Worker
) -> None:
    """After the time to live the work is done again."""
    cache = make_cache(ttl_seconds=0.2)
    cache.run("u", "text", worker.on(1))
    wait_until(lambda: not list(client.scan_iter("*:entry:*")), 10, "the entry has expired")
    cache.run("u", "text", worker.on(2))
    assert worker.done == [1, 2]


def test_a_cache_holds_at_most_so_many_results(
    make_cache: Callable[..., ResultCache], client: redis.Redis, worker: Worker
) -> None:
    """The oldest make room; each user has a bound of their own."""
    cache = make_cache(entries_max=5)
    for number in range(12):
        cache.run("u", number, worker.on(number))
        cache.run("v", number, worker.on(number))
        assert len(list(client.scan_iter("costledger:dedup:{u}:embedding:entry:*"))) <= 5
    assert client.zcard("costledger:dedup:{u}:embedding:entries") == 5
    worker.done.clear()
    for number in (7, 8, 9, 10, 11):
        cache.run("u", number, worker.on(number))
    assert worker.done == []
    cache.run("u", 0, worker.on(0))
    assert worker.done == [0]


def test_a_bound_that_was_lowered_is_reached(
    make_cache: Callable[..., ResultCache], client: redis.Redis, worker: Worker
) -> None:
    """A cache that held more goes down to the new bound with the next result."""
    for number in range(30):
        make_cache().run("u", number, worker.on(number))
    make_cache(entries_max=3).run("u", "next", worker.on("next"))
    assert len(list(client.scan_iter("*:entry:*"))) == 3


@pytest.mark.parametrize(
    ("result", "stored"), [(b"x" * 99, True), (b"x" * 100, False), ((1, 2), False), (object(), False), (None, True)]
)
def test_what_cannot_be_kept_is_returned_all_the_same(
    make_cache: Callable[..., ResultCache], client: redis.Redis, result: Any, stored: bool
) -> None:
    """Too large, or nothing that JSON gives back: the work is done each time, and no lease stays."""
    cache = make_cache(value_bytes_max=100)
    assert cache.run("u", "text", lambda: result) is result
    assert (cache.stats()["stored"], cache.stats()["not_stored"]) == (int(stored), int(not stored))
    assert len(list(client.scan_iter("*:entry:*"))) == int(stored)
    assert list(client.scan_iter("*:lease:*")) == []


def test_results_may_have_a_form_of_their_own(make_cache: Callable[..., ResultCache], worker: Worker) -> None:
    """`encode` and `decode` are the host's."""
    cache = make_cache(encode=lambda pair: ",".join(pair).encode(), decode=lambda data: tuple(data.decode().split(",")))
    assert cache.run("u", "text", lambda: ("a", "b")) == ("a", "b")
    assert cache.run("u", "text", worker.on(1)) == ("a", "b")


def test_content_without_a_form_is_worked_on_without_the_cache(
    make_cache: Callable[..., ResultCache], worker: Worker
) -> None:
    """It is no lookup, and no error for the host."""
    cache = make_cache()
    for user, content in (("u", object()), ("u", {1: 2}), ("", "text"), (None, "text")):
        assert cache.run(user, content, worker.on("x")) == ["result of", "x"]  # type: ignore[arg-type]  # on purpose
    stats = cache.stats()
    assert (stats["bypassed"], stats["hits"], stats["misses"]) == (4, 0, 0)


def test_a_stored_result_that_nobody_can_read_is_replaced(
    make_cache: Callable[..., ResultCache], client: redis.Redis, worker: Worker
) -> None:
    """Somebody else's bytes are no hit: counted as a miss, once, and overwritten."""
    cache = make_cache()
    cache.run("u", "text", worker.on(1))
    (key,) = client.scan_iter("*:entry:*")
    client.hset(key, "value", b"\x80\x04K\x01.")
    assert cache.run("u", "text", worker.on(2)) == ["result of", 2]
    assert cache.run("u", "text", worker.on(3)) == ["result of", 2]
    assert counted(cache, "u") == {"hits": 1, "similar": 0, "misses": 2, "saved": 0}


@pytest.mark.parametrize("cost", [b"much", b"-5", b"1.5"])
def test_a_stored_cost_that_is_none_is_not_known(
    make_cache: Callable[..., ResultCache], client: redis.Redis, worker: Worker, cost: bytes
) -> None:
    """The result is served, and its saving is unknown."""
    cache = make_cache()
    cache.run("u", "text", worker.on(1))
    (key,) = client.scan_iter("*:entry:*")
    client.hset(key, "cost", cost)
    assert cache.run("u", "text", worker.on(2)) == ["result of", 1]
    assert (cache.stats()["unpriced"], cache.stats()["saved"]) == (1, 0)


def test_a_key_of_another_type_is_no_obstacle(
    make_cache: Callable[..., ResultCache], client: redis.Redis, worker: Worker
) -> None:
    """Redis refuses the script; the work is done, and the connection is not held to be gone."""
    cache = make_cache()
    cache.run("u", "text", worker.on(1))
    (key,) = client.scan_iter("*:entry:*")
    client.delete(key)
    client.set(key, "somebody else's")
    assert cache.run("u", "text", worker.on(2)) == ["result of", 2]
    assert cache.stats()["bypassed"] == 1
    cache.run("u", "other", worker.on(3))
    assert cache.stats()["misses"] == 2


def test_counts_that_do_not_fit_do_not_reach_the_host(
    make_cache: Callable[..., ResultCache], client: redis.Redis, worker: Worker
) -> None:
    """A counter at its end is told of in the statistics; the hit is served."""
    cache = make_cache()
    cache.run("u", "text", worker.on(1), cost=COST)
    (key,) = client.scan_iter("costledger:lookups:*")
    client.hset(key, "saved:embedding", 2**63 - 1)
    assert cache.run("u", "text", worker.on(2), cost=COST) == ["result of", 1]
    assert cache.stats()["uncounted"] == 1
    assert cache.stats()["saved"] == COST


def test_threads_at_the_same_work_wait_for_the_first(make_cache: Callable[..., ResultCache]) -> None:
    """20 threads, one call; all get its result, and each is counted once."""
    cache = make_cache()
    started = threading.Barrier(20)
    all_asked = threading.Event()
    calls = []

    def work() -> str:
        calls.append(1)
        all_asked.wait(10)
        return "result"

    def ask() -> str:
        started.wait(10)
        if started.n_waiting == 0:
            all_asked.set()
        return cache.run("u", "text", work, cost=COST)

    with ThreadPoolExecutor(20) as pool:
        results = [future.result(30) for future in [pool.submit(ask) for _ in range(20)]]
    assert results == ["result"] * 20
    assert len(calls) == 1
    assert counted(cache, "u") == {"hits": 19, "similar": 0, "misses": 1, "saved": 19 * COST}


def test_waiting_ends(make_cache: Callable[..., ResultCache], client: redis.Redis, worker: Worker) -> None:
    """Who has waited long enough does the work; the first one's result, which comes later, is not needed any more."""
    cache = make_cache(lease_seconds=60, wait_seconds=0.2)
    at_work, go_on = threading.Event(), threading.Event()

    def slow() -> str:
        at_work.set()
        assert go_on.wait(20)
        return "slow"

    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(cache.run, "u", "text", slow)
        assert at_work.wait(10)
        begun = time.monotonic()
        assert cache.run("u", "text", worker.on(1)) == ["result of", 1]
        assert 0.2 <= time.monotonic() - begun < 5
        # What was brought first stays; and the slow one's lease is still theirs.
        assert cache.run("u", "text", worker.on(2)) == ["result of", 1]
        assert len(list(client.scan_iter("*:lease:*"))) == 1
        go_on.set()
        assert first.result(10) == "slow"
    assert cache.stats()["waited_in_vain"] == 1
    assert list(client.scan_iter("*:lease:*")) == []


def test_a_lease_that_ended_is_taken_over_by_one(make_cache: Callable[..., ResultCache], client: redis.Redis) -> None:
    """The holder is gone: of ten that wait, one does the work and nine get its result."""
    cache = make_cache(lease_seconds=0.5, wait_seconds=30)
    held, gone = threading.Event(), threading.Event()

    def hold() -> str:
        held.set()
        gone.wait(30)
        return "late"

    calls = []

    def work() -> str:
        calls.append(1)
        return "result"

    with ThreadPoolExecutor(11) as pool:
        holder = pool.submit(cache.run, "u", "text", hold)
        assert held.wait(10)
        waiting = [pool.submit(cache.run, "u", "text", work) for _ in range(10)]
        assert [one.result(30) for one in waiting] == ["result"] * 10
        gone.set()
        assert holder.result(10) == "late"
    assert len(calls) == 1
    # The late one changed nothing.
    assert cache.run("u", "text", work) == "result"
    assert len(calls) == 1


def test_who_comes_too_late_frees_nobody_elses_lease(
    make_cache: Callable[..., ResultCache], client: redis.Redis
) -> None:
    """The first one's lease ends, a second takes over, the first one fails: the second's lease stays."""
    cache = make_cache(lease_seconds=0.2, wait_seconds=30)
    second_cache = make_cache(lease_seconds=60, wait_seconds=30)
    steps = {name: threading.Event() for name in ("first", "second", "fail", "end")}

    def first() -> None:
        steps["first"].set()
        steps["fail"].wait(20)
        raise ValueError("late")

    def second() -> str:
        steps["second"].set()
        steps["end"].wait(20)
        return "result"

    with ThreadPoolExecutor(2) as pool:
        late = pool.submit(cache.run, "u", "text", first)
        assert steps["first"].wait(10)
        taking_over = pool.submit(second_cache.run, "u", "text", second)
        assert steps["second"].wait(10)
        steps["fail"].set()
        with pytest.raises(ValueError, match="late"):
            late.result(10)
        assert len(list(client.scan_iter("*:lease:*"))) == 1
        steps["end"].set()
        assert taking_over.result(10) == "result"
    assert list(client.scan_iter("*:lease:*")) == []


def test_async_work_is_done_once_too(make_cache: Callable[..., ResultCache]) -> None:
    """30 tasks, one call; the event loop goes on meanwhile."""
    cache = make_cache()
    calls = []

    async def everything() -> list[str]:
        turns = 0
        asked = 0

        async def work() -> str:
            calls.append(1)
            while asked < 30:  # noqa: ASYNC110 - until all have asked: the loop is turning
                await asyncio.sleep(0)
            return "result"

        async def ask() -> str:
            nonlocal asked
            asked += 1
            return await cache.run_async("u", "text", work, cost=COST)

        async def tick() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0.001)

        ticking = asyncio.create_task(tick())
        results = await asyncio.gather(*(ask() for _ in range(30)))
        ticking.cancel()
        assert turns > 2
        return results

    assert asyncio.run(everything()) == ["result"] * 30
    assert len(calls) == 1
    assert counted(cache, "u") == {"hits": 29, "similar": 0, "misses": 1, "saved": 29 * COST}


def test_a_cancelled_task_frees_its_lease(
    make_cache: Callable[..., ResultCache], client: redis.Redis, worker: Worker
) -> None:
    """The next one need not wait for the lease to end; async failures come through as they are."""
    cache = make_cache(lease_seconds=60)

    async def cancelled() -> None:
        begun = asyncio.Event()

        async def work() -> None:
            begun.set()
            await asyncio.Event().wait()

        task = asyncio.create_task(cache.run_async("u", "text", work))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    async def failing() -> None:
        raise KeyError("gone")

    asyncio.run(cancelled())
    assert list(client.scan_iter("*:lease:*")) == []
    with pytest.raises(KeyError, match="gone"):
        asyncio.run(cache.run_async("u", "text", failing))
    assert cache.run("u", "text", worker.on(1)) == ["result of", 1]


def test_without_redis_the_work_is_simply_done(worker: Worker, caplog: pytest.LogCaptureFixture) -> None:
    """No exception, one log line for a hundred lookups, each counted as done without the cache."""
    cache = ResultCache("embedding", service="openai", operation="embedding-small", redis_url=NOBODY)
    begun = time.monotonic()
    with caplog.at_level(logging.WARNING):
        for number in range(100):
            assert cache.run("u", number, worker.on(number), cost=COST) == ["result of", number]
    assert time.monotonic() - begun < 5
    assert cache.stats()["bypassed"] == 100
    assert cache.stats()["hits"] + cache.stats()["misses"] == 0
    assert len([record for record in caplog.records if "cache cannot be used" in record.getMessage()]) == 1
    with pytest.raises(CacheAway):
        cache.counted("u", "2026-11-23")
    cache.close()


def test_a_redis_that_never_answers_costs_one_timeout(worker: Worker) -> None:
    """It takes the connection and is silent: 20 lookups wait once, and nothing is tried a second time."""
    taken = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def take() -> None:
            with contextlib.suppress(OSError):
                while True:
                    taken.append(server.accept()[0])

        threading.Thread(target=take, daemon=True).start()
        url = f"redis://127.0.0.1:{server.getsockname()[1]}/0"
        begun = time.monotonic()
        cache = ResultCache("embedding", service="openai", operation="embedding-small", redis_url=url)
        for number in range(20):
            assert cache.run("u", number, worker.on(number)) == ["result of", number]
            # Nothing is sent twice: a count might be counted twice.
            assert number or len(taken) == 1
        assert TIMEOUT_SECONDS <= time.monotonic() - begun < 10
        assert cache.stats()["bypassed"] == 20
        server.shutdown(socket.SHUT_RDWR)
    for connection in taken:
        connection.close()
    # Another one only where the 20 took longer than the pause after a failure.
    assert 1 <= len(taken) <= 1 + (time.monotonic() - begun) // AWAY_SECONDS


@pytest.mark.fault
def test_a_redis_that_dies_in_the_middle_loses_no_result(own_redis: OwnRedis, worker: Worker) -> None:
    """Killed while work is being done: the caller gets its result; when Redis is back the cache works again."""
    with ResultCache("embedding", service="openai", operation="embedding-small", redis_url=own_redis.url) as cache:

        def work() -> str:
            own_redis.kill()
            return "paid for"

        assert cache.run("u", "text", work) == "paid for"
        assert cache.stats()["not_stored"] == 1
        assert cache.run("u", "other", worker.on(1)) == ["result of", 1]
        own_redis.start()

        def is_a_hit() -> bool:
            cache.run("u", "third", worker.on(3))
            return cache.stats()["hits"] > 0

        wait_until(is_a_hit, AWAY_SECONDS + 20, "the cache is used again")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "Big"),
        ("scope", "all"),
        ("ttl_seconds", 0),
        ("ttl_seconds", True),
        ("value_bytes_max", 2**40),
        ("entries_max", 0),
        ("lease_seconds", 0),
        ("wait_seconds", -1),
    ],
)
def test_a_cache_that_cannot_be_is_refused_when_it_is_made(redis_url: str, field: str, value: Any) -> None:
    """The error names the field, the value and the limit."""
    values = {"name": "c", "service": "s", "operation": "o", "redis_url": redis_url, field: value}
    with pytest.raises(InvalidValue, match=field) as caught:
        ResultCache(**values)
    assert caught.value.value == value
