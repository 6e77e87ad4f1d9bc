"""The cache with a Redis that is away, silent or killed: the work is done all the same, and soon."""

from __future__ import annotations

import contextlib
import logging
import socket
import threading
import time

import pytest
from tests.fixtures.fix_redis import OwnRedis
from tests.fixtures.wait import wait_until
from tests.producers.dedup.caching import COST, Worker

from costledger.producers.dedup import CacheAway, ResultCache
from costledger.producers.dedup.store import AWAY_SECONDS, TIMEOUT_SECONDS

#: Nobody listens there: the port of the discard protocol, which no test starts.
NOBODY = "redis://127.0.0.1:9/0"


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
