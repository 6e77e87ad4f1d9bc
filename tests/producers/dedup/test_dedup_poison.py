"""Nonsense in Redis and content that misbehaves: `run` gives the work's result all the same, and soon."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from costledger.producers.dedup import ResultCache
from costledger.producers.dedup.content import encode_result
from costledger.producers.dedup.store import COST_MAX
from costledger.schemas.errors import InvalidValue


class Unspeakable(Exception):
    """An error that cannot say what it is."""

    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


class Unreadable(dict[str, int]):
    """A mapping that cannot be read."""

    def __iter__(self) -> Iterator[str]:
        raise Unspeakable


class OwnBytes(bytes):
    """Bytes with a type of their own."""


@pytest.fixture
def cache(redis_url: str) -> Iterator[ResultCache]:
    """A cache on an empty database."""
    with ResultCache("c", service="s", operation="o", redis_url=redis_url, wait_seconds=10) as cache:
        yield cache


def entry_of(client: redis.Redis) -> bytes:
    """The key of the only entry."""
    (key,) = client.keys("*:entry:*")
    assert isinstance(key, bytes)
    return key


@pytest.mark.parametrize("cost", ["9" * 5000, "9" * 30, str(COST_MAX + 1)], ids=len)
def test_a_stored_cost_that_is_none_is_not_known(cache: ResultCache, redis_url: str, cost: str) -> None:
    """The result is served, counted in Redis, and has saved nothing that anybody knows."""
    cache.run("u", "x", lambda: "kept", cost=5)
    with redis.Redis.from_url(redis_url) as client:
        client.hset(entry_of(client), "cost", cost)
    assert cache.run("u", "x", lambda: "again") == "kept"
    stats = cache.stats()
    assert (stats["hits"], stats["unpriced"], stats["saved"], stats["uncounted"]) == (1, 1, 0, 0)


@pytest.mark.parametrize(
    "given",
    [{"content": Unreadable(a=1)}, {"content": "x", "parameters": Unreadable(a=1)}],
    ids=["content", "parameters"],
)
def test_an_error_without_text_does_not_come_out(cache: ResultCache, given: dict[str, Any]) -> None:
    """Work whose content cannot be read is done without the cache."""
    assert cache.run("u", work=lambda: "done", **given) == "done"
    assert cache.stats()["bypassed"] == 1


def test_a_subclass_of_bytes_is_refused() -> None:
    """It would come back as plain bytes."""
    with pytest.raises(InvalidValue):
        encode_result(OwnBytes(b"x"))


@pytest.mark.parametrize(
    "poison",
    [lambda client, key: client.set(key, "x"), lambda client, key: client.hset(key, "a", "b")],
    ids=["eternal", "hash"],
)
def test_a_lease_that_no_cache_took_is_taken_over(
    cache: ResultCache, redis_url: str, poison: Callable[[redis.Redis, bytes], object]
) -> None:
    """At once, not after `wait_seconds`; and the result is stored."""
    cache.run("u", "x", lambda: "first")
    with redis.Redis.from_url(redis_url) as client:
        key = entry_of(client)
        client.delete(key)
        poison(client, key.replace(b":entry:", b":lease:"))
    started = time.monotonic()
    assert cache.run("u", "x", lambda: "second") == "second"
    assert time.monotonic() - started < 5
    assert cache.run("u", "x", lambda: "third") == "second"
