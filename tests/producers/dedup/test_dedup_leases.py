"""Leases: who is at the same work waits for the first; one takes over from a holder that is gone or has failed."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis
from tests.producers.dedup.caching import COST, Worker, counted

from costledger.producers.dedup import ResultCache


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
