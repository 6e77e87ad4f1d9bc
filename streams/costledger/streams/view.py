"""The Redis view: what every user has spent by hour, day and month, readable at once.

A view, not a store: it is told of changes when they are durable, written with absolute totals, and rebuilt from
the state whenever Redis has lost any of it. When Redis cannot be reached, what changed is remembered (bounded) and
written later; nothing else waits for it.

Each partition's owner writes under an *epoch*, which Redis gives out and which only grows: a worker that
was thought dead and writes late has an older epoch and changes nothing. Whoever has taken an epoch asks before the
first write whether the partition is still its own: a worker that slept before it took one has the latest of all.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import lru_cache
from itertools import chain, groupby
from operator import attrgetter
from typing import Final, Protocol

import msgpack
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import RedisError, ResponseError

from costledger.schemas.periods import PeriodKind
from costledger.schemas.redis_keys import totals_key
from costledger.streams.domain.amounts import Amounts, Operation
from costledger.streams.domain.views import PeriodView
from costledger.streams.view_scripts import TAKE_EPOCH, WRITE_PERIODS, WRITE_ROUND

log = logging.getLogger(__name__)

#: What waits of one user: periods by (kind, label), and whether a period was gone at any time since it waits.
Periods = dict[tuple[PeriodKind, str], bool]

#: Periods written in one round trip, and the operations (two fields each) after which it takes no further one.
_PERIODS_AT_ONCE_MAX: Final = 500
_OPERATIONS_AT_ONCE_MAX: Final = 10_000
#: Operations whose names of fields are not made again.
_NAMES_REMEMBERED_MAX: Final = 10_000
#: Periods remembered while Redis is away; with more, everything is written again instead.
_REMEMBERED_MAX: Final = 200_000
#: How long one call goes on writing: other partitions wait for it. The next call goes on where it ended.
_WRITING_SECONDS_MAX: Final = 0.5
_TIMEOUT_SECONDS: Final = 5.0


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


class ViewSource(Protocol):
    """What a partition's state holds, as it is when asked for."""

    def views(self) -> Iterator[list[PeriodView]]:
        """Every period, user by user."""

    def periods(self, user_id: str, labels: Iterable[tuple[PeriodKind, str]]) -> list[PeriodView]:
        """Of one user the periods with these labels; without amounts what there is no more."""


class PartitionView:
    """Writes one partition's periods to Redis, and all of them again when Redis has lost any.

    Of what waits only names are held, and the amounts asked for when they are written: in the midst of a catch-up
    that would else be most of what the worker holds.
    Each round trip ends with the number of the round, so that a Redis that came back with older data shows it; it is set
    only where the number before it is there, so that a write right after a loss does not hide it.
    """

    def __init__(
        self,
        redis: Redis,
        epoch_key: str,
        ttl_seconds: int,
        source: ViewSource,
        durable_offset: int,
        is_ours: Callable[[], bool],
    ) -> None:
        #: Up to which offset the state is durable. No period says more of itself: its totals may be ahead, and after a
        #: death of the worker fall back for a moment, but never behind what it has said.
        self.durable_offset = durable_offset
        self._redis = redis
        self._epoch_key = epoch_key
        self._round_key = f"{epoch_key}:round"
        self._ttl_seconds = ttl_seconds
        self._source = source
        self._is_ours = is_ours
        self._epoch: str | None = None
        self._round = 0
        self._waiting: dict[str, Periods] = {}
        self._waiting_count = 0
        #: Users not yet written in this epoch.
        self._backlog: Iterator[list[PeriodView]] = iter(())
        self._lock = asyncio.Lock()
        self._write = redis.register_script(WRITE_PERIODS)
        self._write_round = redis.register_script(WRITE_ROUND)
        self._take_epoch = redis.register_script(TAKE_EPOCH)

    def changed(self, views: Iterable[PeriodView]) -> None:
        """Remember periods to write; a period that waits already is written once."""
        for view in views:
            self._wait(view.user_id, (view.kind, view.label), view.amounts is None)
        if self._waiting_count > _REMEMBERED_MAX:
            # Writing everything again would not find the periods that no longer exist.
            remembered, self._waiting, self._waiting_count = self._waiting, {}, 0
            self._put_back(
                {user: {key: True for key, is_gone in each.items() if is_gone} for user, each in remembered.items()}
            )
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
        """Take over the partition: a new epoch, then everything; nothing where it is not open, or may be another's by now."""
        if not self._is_ours():
            return
        epoch = str(await self._take_epoch(keys=[self._epoch_key]))
        # Who takes it over later has a later epoch; who has taken it over before is not shut out by one that is not used.
        if not self._is_ours():
            log.warning("Another worker may own the partition of %s: nothing is written", self._epoch_key)
            return
        hashes = msgpack.packb([["round", "0", "epoch", epoch]])
        await self._write(keys=[self._round_key], args=[epoch, str(self._ttl_seconds), hashes])
        self._epoch, self._round, self._backlog = epoch, 0, self._source.views()

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
        chosen, views = self._take()
        if not chosen:
            return False
        try:
            kept = await self._send(views, epoch)
        except BaseException:
            self._put_back(chosen)
            raise
        if not kept:
            self._put_back(chosen)
            self._begin_again()
            return False
        self._round += 1
        return True

    async def _send(self, views: list[PeriodView], epoch: str) -> bool:
        """Write periods; False when Redis has lost what was there before."""
        epoch_and_ttl = [epoch, str(self._ttl_seconds)]
        async with self._redis.pipeline(transaction=False) as pipeline:
            for keys, hashes in _commands(views, epoch, self.durable_offset):
                await self._write(keys=keys, args=[*epoch_and_ttl, hashes], client=pipeline)
            await self._write_round(
                keys=[self._round_key], args=[*epoch_and_ttl, str(self._round + 1)], client=pipeline
            )
            *_, kept = await pipeline.execute()
        return bool(kept)

    def _take(self) -> tuple[dict[str, Periods], list[PeriodView]]:
        """The next periods to write, which wait no longer, with their amounts as they are now."""
        chosen: dict[str, Periods] = {}
        views: list[PeriodView] = []
        for user_id, found in self._next_users():
            periods = self._waiting.pop(user_id, {})
            self._waiting_count -= len(periods)
            taken = chosen.setdefault(user_id, {})
            for view in found:
                _note(taken, (view.kind, view.label), view.amounts is None)
            for period, was_gone in periods.items():
                _note(taken, period, was_gone)
            views += found
        return chosen, views

    def _next_users(self) -> list[tuple[str, list[PeriodView]]]:
        """The next users of whom something waits, then those of the backlog; asked for just before they are written."""
        found: list[tuple[str, list[PeriodView]]] = []
        left, operations_left = _PERIODS_AT_ONCE_MAX, _OPERATIONS_AT_ONCE_MAX
        waiting = ((user_id, self._source.periods(user_id, periods)) for user_id, periods in self._waiting.items())
        backlog = ((views[0].user_id, views) for views in self._backlog if views)
        for user_id, views in chain(waiting, backlog):
            found.append((user_id, views))
            left -= len(views)
            operations_left -= sum(len(view.amounts or ()) for view in views)
            if left <= 0 or operations_left <= 0:
                break
        return found

    def _wait(self, user_id: str, period: tuple[PeriodKind, str], is_gone: bool) -> None:
        periods = self._waiting.setdefault(user_id, {})
        self._waiting_count += period not in periods
        _note(periods, period, is_gone)

    def _put_back(self, taken: dict[str, Periods]) -> None:
        for user_id, periods in taken.items():
            for period, is_gone in periods.items():
                self._wait(user_id, period, is_gone)


def _note(periods: Periods, period: tuple[PeriodKind, str], is_gone: bool) -> None:
    """Once gone, always told as gone: amounts are looked up when they are written, and what is gone can only be deleted."""
    periods[period] = is_gone or periods.get(period, False)


def _commands(views: Iterable[PeriodView], epoch: str, durable_offset: int) -> Iterator[tuple[list[str], bytes]]:
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
                fields += ("updated_at", now, "offset", str(min(view.offset, durable_offset)), "epoch", epoch)
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
