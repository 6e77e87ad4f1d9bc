"""The Redis view: what every user has spent by hour, day and month, readable at once.

A view, not a store: it is written after the state is durable, always with absolute totals, and rebuilt from
the state whenever Redis has lost any of it. When Redis cannot be reached, what changed is remembered (bounded) and
written later; nothing else waits for it.

Each partition's owner writes under an *epoch*, which Redis gives out and which only grows: a worker that
was thought dead and writes late has an older epoch and changes nothing.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import lru_cache
from itertools import chain, groupby, islice
from operator import attrgetter
from typing import Final

import msgpack
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError

from costledger.schemas.periods import PeriodKind
from costledger.schemas.redis_keys import totals_key
from costledger.streams.domain.totals import Amounts, Operation
from costledger.streams.domain.views import PeriodView

log = logging.getLogger(__name__)

ViewKey = tuple[str, PeriodKind, str]

#: Periods written in one round trip, and the operations (two fields each) after which it takes no further one.
_PERIODS_AT_ONCE_MAX: Final = 500
_OPERATIONS_AT_ONCE_MAX: Final = 10_000
#: Operations whose names of fields are not made again.
_NAMES_REMEMBERED_MAX: Final = 10_000
#: Changes remembered while Redis is away; with more, everything is written again instead.
_REMEMBERED_MAX: Final = 200_000
#: How long one call goes on writing: other partitions wait for it. The next call goes on where it ended.
_WRITING_SECONDS_MAX: Final = 0.5
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

#: Replaces the hashes of one user's periods, but none that a later owner has written. ARGV: epoch, seconds to live, and a
#: MessagePack array with, for each key, an array of field, value, ... (empty: the period is gone): one argument, since the
#: client encodes each for itself, and all values as text, since a number in Lua is a double. What is no hash was put there
#: by somebody else, and makes way: HGET gives an error then, a table.
_WRITE_PERIODS: Final = """
local epoch, hashes = tonumber(ARGV[1]), cmsgpack.unpack(ARGV[3])
for n, key in ipairs(KEYS) do
  local last, fields = redis.pcall('HGET', key, 'epoch'), hashes[n]
  if type(last) ~= 'string' or (tonumber(last) or 0) <= epoch then
    redis.call('DEL', key)
    for i = 1, #fields, 1000 do redis.call('HSET', key, unpack(fields, i, math.min(i + 999, #fields))) end
    redis.call('EXPIRE', key, ARGV[2])
  end
end
return #KEYS
"""

#: Sets the number of a round where the one before it is there; 0 where Redis has lost it. ARGV: epoch, seconds to live,
#: round. A repeat of a round whose reply was lost is no loss, and under a later epoch another owner writes.
_WRITE_ROUND: Final = """
local held = {}
if redis.call('TYPE', KEYS[1]).ok == 'hash' then held = redis.call('HMGET', KEYS[1], 'epoch', 'round') end
local epoch, round = tonumber(held[1] or ''), tonumber(held[2] or '')
if epoch and epoch > tonumber(ARGV[1]) then return 1 end
if epoch ~= tonumber(ARGV[1]) or not round or round < tonumber(ARGV[3]) - 1 then return 0 end
redis.call('HSET', KEYS[1], 'round', ARGV[3])
redis.call('EXPIRE', KEYS[1], ARGV[2])
return 1
"""


def fields_of(amounts: Amounts) -> dict[str, str]:
    """The fields of a period's hash: integers of 1e-12 USD as text."""
    fields = {"total": sum(amounts.values())}
    for operation, amount in amounts.items():
        # Added up: a service may have a slash in its name, and so share a field with another one.
        for name in _names(operation):
            fields[name] = fields.get(name, 0) + amount
    return {name: str(amount) for name, amount in fields.items()}


@lru_cache(maxsize=_NAMES_REMEMBERED_MAX)
def _names(operation: Operation) -> tuple[str, str]:
    service, name = operation
    return f"service:{service}", f"operation:{service}/{name}"


class PartitionView:
    """Writes one partition's periods to Redis, and all of them again when Redis has lost any.

    `everything` gives every period that the partition's state holds, user by user, as they are when asked for.
    Each round trip ends with the number of the round, so that a Redis that came back with older data shows it; it is set
    only where the number before it is there, so that a write right after a loss does not hide it.
    """

    def __init__(
        self, redis: Redis, epoch_key: str, ttl_seconds: int, everything: Callable[[], Iterator[list[PeriodView]]]
    ) -> None:
        self._redis = redis
        self._epoch_key = epoch_key
        self._round_key = f"{epoch_key}:round"
        self._ttl_seconds = ttl_seconds
        self._everything = everything
        self._epoch: str | None = None
        self._round = 0
        self._waiting: dict[ViewKey, PeriodView] = {}
        #: Users not yet written in this epoch.
        self._backlog: Iterator[list[PeriodView]] = iter(())
        self._lock = asyncio.Lock()
        self._write = redis.register_script(_WRITE_PERIODS)
        self._write_round = redis.register_script(_WRITE_ROUND)
        self._take_epoch = redis.register_script(_TAKE_EPOCH)

    def changed(self, views: Iterable[PeriodView]) -> None:
        """Remember periods to write; a period that waits already is written once."""
        for view in views:
            self._waiting[view.user_id, view.kind, view.label] = view
        if len(self._waiting) > _REMEMBERED_MAX:
            # Writing everything again would not find the periods that no longer exist.
            self._waiting = {key: view for key, view in self._waiting.items() if view.amounts is None}
            self._epoch = None

    async def write(self) -> None:
        """Write what waits, for a limited time. Raises `RedisError` or OSError when Redis cannot be written.

        Nothing is forgotten then. What is left is written by the next call.
        """
        deadline = asyncio.get_running_loop().time() + _WRITING_SECONDS_MAX
        async with self._lock:
            with _closed_is_away():
                await self._write_until(deadline)

    async def check(self) -> None:
        """Find out whether Redis still has what was written, and begin again if it has not; then `write`."""
        async with self._lock:
            with _closed_is_away():
                if self._epoch is not None and await self._is_lost(self._epoch):
                    self._begin_again()
        await self.write()

    async def _write_until(self, deadline: float) -> None:
        if self._epoch is None:
            await self._begin()
        # It ends too when `changed` decides meanwhile that all must be written again.
        while (epoch := self._epoch) is not None and await self._write_some(epoch):
            if asyncio.get_running_loop().time() >= deadline:
                break

    def _begin_again(self) -> None:
        """Have the next write write everything."""
        log.warning("Redis has lost totals (%s): writing them again", self._epoch_key)
        self._epoch = None

    async def _begin(self) -> None:
        """Take over the partition: a new epoch, then everything."""
        epoch = str(await self._take_epoch(keys=[self._epoch_key]))
        hashes = msgpack.packb([["round", "0", "epoch", epoch]])
        await self._write(keys=[self._round_key], args=[epoch, str(self._ttl_seconds), hashes])
        self._epoch, self._round, self._backlog = epoch, 0, self._everything()

    async def _is_lost(self, epoch: str) -> bool:
        """Whether Redis is behind what it has acknowledged: emptied, or back with an older state."""
        try:
            held_epoch, held_round = await self._redis.hmget(self._round_key, ["epoch", "round"])
        except ResponseError:  # no hash, so not ours
            return True
        if held_epoch is None or held_round is None:
            return True
        # Under a later epoch another owner writes: then it is not for us to repair.
        return (int(held_epoch), int(held_round)) < (int(epoch), self._round)

    async def _write_some(self, epoch: str) -> bool:
        """One round trip; False when nothing waits any more, or all must be written again."""
        chosen = self._next_periods()
        if not chosen:
            return False
        epoch_and_ttl = [epoch, str(self._ttl_seconds)]
        async with self._redis.pipeline(transaction=False) as pipeline:
            for keys, hashes in _commands(chosen.values(), epoch):
                await self._write(keys=keys, args=[*epoch_and_ttl, hashes], client=pipeline)
            await self._write_round(
                keys=[self._round_key], args=[*epoch_and_ttl, str(self._round + 1)], client=pipeline
            )
            *_, kept = await pipeline.execute()
        if not kept:
            self._begin_again()
            return False
        self._round += 1
        for key, view in chosen.items():
            if self._waiting.get(key) is view:
                del self._waiting[key]
        return True

    def _next_periods(self) -> dict[ViewKey, PeriodView]:
        """The next periods to write."""
        # A user is asked for just before being written: what changes later is in `_waiting` then.
        while len(self._waiting) < _PERIODS_AT_ONCE_MAX and (views := next(self._backlog, None)) is not None:
            for view in views:
                self._waiting[view.user_id, view.kind, view.label] = view
        chosen: dict[ViewKey, PeriodView] = {}
        operations_count = 0
        for key, view in islice(self._waiting.items(), _PERIODS_AT_ONCE_MAX):
            chosen[key] = view
            operations_count += len(view.amounts or ())
            if operations_count >= _OPERATIONS_AT_ONCE_MAX:
                break
        return chosen


def _commands(views: Iterable[PeriodView], epoch: str) -> Iterator[tuple[list[str], bytes]]:
    """The keys of one command for each user in a row, and what they are to hold."""
    now = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    for _, periods in groupby(views, attrgetter("user_id")):
        keys: list[str] = []
        hashes: list[list[str]] = []
        for view in periods:
            keys.append(totals_key(view.user_id, view.kind, view.label))
            fields: list[str] = []
            if view.amounts is not None:
                fields += chain.from_iterable(fields_of(view.amounts).items())
                fields += ("updated_at", now, "offset", str(view.offset), "epoch", epoch)
            hashes.append(fields)
        yield keys, msgpack.packb(hashes)


def connect(url: str) -> Redis:
    """A client whose calls end after a few seconds whatever happens."""
    return Redis.from_url(
        url, decode_responses=True, socket_timeout=_TIMEOUT_SECONDS, socket_connect_timeout=_TIMEOUT_SECONDS
    )


@contextmanager
def _closed_is_away() -> Iterator[None]:
    """uvloop tells a write to a connection that was just reset as a RuntimeError, which the client passes on as it is."""
    try:
        yield
    except RuntimeError as error:
        if "the handler is closed" not in str(error):
            raise
        raise RedisConnectionError(f"the connection was reset: {error}") from error


PASSING_FAILURES: Final = (RedisError, OSError)
