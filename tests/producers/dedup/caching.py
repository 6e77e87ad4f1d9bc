"""What the tests of the result cache share: paid work that is counted, caches of one test, and Redis's counts."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from costledger.producers.dedup import ResultCache

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


@contextmanager
def caches(redis_url: str) -> Iterator[Callable[..., ResultCache]]:
    """Caches on one Redis, closed at the end."""
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
