"""What the cache keeps in Redis: how long, how much and in which form; and stored nonsense, which is no hit."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import redis
from tests.fixtures.wait import wait_until
from tests.producers.dedup.caching import COST, Worker, counted

from costledger.producers.dedup import ResultCache


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
