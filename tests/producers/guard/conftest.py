"""What tests of the guard share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import redis


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    """A client of the test's own."""
    made = redis.Redis.from_url(redis_url, decode_responses=True)
    yield made
    made.close()
