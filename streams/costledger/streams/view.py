"""The Redis view: what every user has spent by hour, day and month, readable at once.

A view, not a store: it is written after the state is durable, always with absolute totals, and rebuilt from
the state whenever Redis has lost it. When Redis cannot be reached, what changed is remembered (bounded) and
written later; nothing else waits for it.

Each partition's owner writes under an *epoch*, which Redis gives out and which only grows: a worker that
was thought dead and writes late has an older epoch and changes nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from itertools import islice
from typing import Final

from redis.asyncio import Redis
from redis.exceptions import RedisError

from costledger.schemas.periods import PeriodKind
from costledger.streams.domain.totals import Amounts
from costledger.streams.domain.views import PeriodView

log = logging.getLogger(__name__)

ViewKey = tuple[str, PeriodKind, str]

#: Periods written in one round trip.
_WRITTEN_AT_ONCE_MAX: Final = 500
#: Periods remembered while Redis is away; with more, everything is written again instead.
_REMEMBERED_MAX: Final = 200_000
_TIMEOUT_SECONDS: Final = 5.0

#: Gives out an epoch: the server's time in microseconds, or one more than the last.
_TAKE_EPOCH: Final = """
local now = redis.call('TIME')
local epoch = now[1] * 1000000 + now[2]
local last = tonumber(redis.call('GET', KEYS[1]) or '0')
if epoch <= last then epoch = last + 1 end
redis.call('SET', KEYS[1], string.format('%.0f', epoch))
return string.format('%.0f', epoch)
"""

#: Replaces one period's hash, unless a later owner has written it. ARGV: epoch, seconds to live, field, value, ...
_WRITE_PERIOD: Final = """
local last = redis.call('HGET', KEYS[1], 'epoch')
if last and tonumber(last) > tonumber(ARGV[1]) then return 0 end
redis.call('DEL', KEYS[1])
if #ARGV == 2 then return 1 end
for i = 3, #ARGV, 2 do redis.call('HSET', KEYS[1], ARGV[i], ARGV[i + 1]) end
redis.call('HSET', KEYS[1], 'epoch', ARGV[1])
redis.call('EXPIRE', KEYS[1], ARGV[2])
return 1
"""


def redis_key(user_id: str, kind: PeriodKind, label: str) -> str:
    """The key of a user's totals in a period. The braces keep a user on one cluster slot."""
    return f"costledger:{{{user_id}}}:total:{kind}:{label}"


def fields_of(amounts: Amounts) -> dict[str, str]:
    """The fields of a period's hash: integers of 1e-12 USD as text."""
    by_service: dict[str, int] = {}
    fields = {"total": str(sum(amounts.values()))}
    for (service, operation), amount in amounts.items():
        by_service[service] = by_service.get(service, 0) + amount
        fields[f"operation:{service}/{operation}"] = str(amount)
    fields.update({f"service:{service}": str(amount) for service, amount in by_service.items()})
    return fields


class PartitionView:
    """Writes one partition's periods to Redis, and all of them again when Redis has lost them.

    `everything` gives every period that the partition's state holds. `pending` counts what waits.
    """

    def __init__(
        self, redis: Redis, epoch_key: str, ttl_seconds: int, everything: Callable[[], Iterable[PeriodView]]
    ) -> None:
        self._redis = redis
        self._epoch_key = epoch_key
        self._ttl_seconds = ttl_seconds
        self._everything = everything
        self._epoch: str | None = None
        self._waiting: dict[ViewKey, PeriodView] = {}
        self._lock = asyncio.Lock()
        self._write = redis.register_script(_WRITE_PERIOD)
        self._take_epoch = redis.register_script(_TAKE_EPOCH)

    @property
    def pending(self) -> int:
        """Periods that wait to be written."""
        return len(self._waiting)

    def changed(self, views: Iterable[PeriodView]) -> None:
        """Remember periods to write; a period that waits already is written once."""
        for view in views:
            self._waiting[view.user_id, view.kind, view.label] = view
        if len(self._waiting) > _REMEMBERED_MAX:
            self._waiting.clear()
            self._epoch = None

    async def write(self) -> None:
        """Write what waits. Raises `RedisError` or OSError when Redis cannot be reached; nothing is forgotten."""
        async with self._lock:
            if self._epoch is None:
                await self._begin()
            while self._waiting:
                await self._write_some()

    async def check(self) -> None:
        """Find out whether Redis still has what was written, and begin again if it has not."""
        async with self._lock:
            if self._epoch is not None and await self._redis.get(self._epoch_key) is None:
                log.warning("Redis has lost the totals (%s): writing them again", self._epoch_key)
                self._epoch = None
        await self.write()

    async def _begin(self) -> None:
        """Take over the partition: a new epoch, then everything."""
        self._epoch = str(await self._take_epoch(keys=[self._epoch_key]))
        self.changed(self._everything())

    async def _write_some(self) -> None:
        chosen = dict(islice(self._waiting.items(), _WRITTEN_AT_ONCE_MAX))
        now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
        async with self._redis.pipeline(transaction=False) as pipeline:
            for (user_id, kind, label), view in chosen.items():
                arguments: list[str] = [str(self._epoch), str(self._ttl_seconds)]
                if view.amounts is not None:
                    for name, value in fields_of(view.amounts).items():
                        arguments += (name, value)
                    arguments += ("updated_at", now)
                await self._write(keys=[redis_key(user_id, kind, label)], args=arguments, client=pipeline)
            await pipeline.execute()
        for key, view in chosen.items():
            if self._waiting.get(key) is view:
                del self._waiting[key]


def connect(url: str) -> Redis:
    """A client whose calls end after a few seconds whatever happens."""
    return Redis.from_url(
        url, decode_responses=True, socket_timeout=_TIMEOUT_SECONDS, socket_connect_timeout=_TIMEOUT_SECONDS
    )


PASSING_FAILURES: Final = (RedisError, OSError)
