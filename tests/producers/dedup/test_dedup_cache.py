"""The cache on a real Redis: what is the same work, whose results they are, what a hit saves, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from tests.producers.dedup.caching import COST, Worker, counted

from costledger.producers.dedup import ResultCache
from costledger.schemas.errors import InvalidValue


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


def test_content_without_a_form_is_worked_on_without_the_cache(
    make_cache: Callable[..., ResultCache], worker: Worker
) -> None:
    """It is no lookup, and no error for the host."""
    cache = make_cache()
    for user, content in (("u", object()), ("u", {1: 2}), ("", "text"), (None, "text")):
        assert cache.run(user, content, worker.on("x")) == ["result of", "x"]  # type: ignore[arg-type]  # on purpose
    stats = cache.stats()
    assert (stats["bypassed"], stats["hits"], stats["misses"]) == (4, 0, 0)


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
