"""What tests of the cache share."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import redis
from tests.producers.dedup.caching import Worker, caches

from costledger.producers.dedup import ResultCache


@pytest.fixture
def worker() -> Worker:
    """A worker."""
    return Worker()


@pytest.fixture
def make_cache(redis_url: str) -> Iterator[Callable[..., ResultCache]]:
    """Caches on an empty database, closed at the end."""
    with caches(redis_url) as make:
        yield make


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    """The test's own connection."""
    with redis.Redis.from_url(redis_url) as client:
        yield client
