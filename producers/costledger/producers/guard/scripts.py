"""The steps that Redis runs, each atomic: how they are called and what they answer.

Every key of a step is of one user, and so on one slot of a cluster. Amounts go in and out as text, in 1e-12 USD.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

from costledger.producers.guard.outstanding import Item, Kind, Seen
from costledger.schemas.redis_keys import GUARD_EPOCH_KEY, guard_keys

if TYPE_CHECKING:
    from redis import Redis

#: Items of one call of `apply`, and reservations and remembered ids that one user may have in Redis.
APPLIED_AT_ONCE_MAX: Final = 200
ITEMS_OF_USER_MAX: Final = 50_000
#: How long ids that are done are remembered, and how long an idle user's state is kept beyond its last item.
DONE_SECONDS: Final = 3600
_KEPT_BEYOND_SECONDS: Final = 86_400
_MICROSECONDS: Final = 1_000_000
_UNSEEN: Final = ""
#: Which of a user's keys has the reservations (`guard_keys`).
_ITEMS: Final = 1


class Status(StrEnum):
    """What a reservation came to in Redis."""

    HELD = "held"
    REFUSED = "refused"
    DONE = "done"
    FULL = "full"
    RECOVERING = "recovering"
    UNBASED = "unbased"
    UNKNOWN = "unknown"


class Standing(StrEnum):
    """What has become of a reservation. `unknown`: never made for this user, or ended more than an hour ago."""

    HELD = "held"
    SETTLED = "settled"
    RELEASED = "released"
    EXPIRED = "expired"
    UNKNOWN = "unknown"


#: How a reservation ended, as `state.lua` notes it.
_ENDED: Final = {"r": Standing.RELEASED, "x": Standing.EXPIRED}


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """How long things last, in seconds: a hold, a settled amount, and the window after a loss."""

    reservation_seconds: float
    settled_hold_seconds: float
    recovery_seconds: float

    @property
    def kept_seconds(self) -> float:
        """How long a user's state outlives its last change: longer than anything that is in it."""
        return max(self.reservation_seconds, self.settled_hold_seconds, DONE_SECONDS) + _KEPT_BEYOND_SECONDS


@dataclass(frozen=True, slots=True, kw_only=True)
class Reserved:
    """The answer to `reserve`; amounts in 1e-12 USD. `seen` is the stream's total where Redis has it."""

    status: Status
    generation: str = ""
    month_to_date: int = 0
    reserved: int = 0
    seen: Seen | None = None
    held_id: str | None = None
    held_amount: int = 0
    expires_at_us: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """The answer to `apply`: `gone` are the ids that Redis no longer counts as they were told."""

    generation: str
    seen: Seen | None
    gone: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Epoch:
    """Since when this Redis has been the one it is, its time now (Unix microseconds), and its eviction policy."""

    since_us: int
    now_us: int
    eviction_policy: str


class Scripts:
    """The steps on one Redis. Each raises `redis.RedisError` or OSError when Redis cannot be reached.

    `now_us` replaces the server's clock in tests.
    """

    def __init__(self, redis: Redis, times: Times, now_us: Callable[[], int] | None = None) -> None:
        self._times = times
        self._now_us = now_us
        self._redis = redis
        shared = _lua("money") + _lua("state")
        self._steps = {
            name: redis.register_script(shared + _lua(name)) for name in ("reserve", "apply", "open", "base")
        }
        self._epoch = redis.register_script(_lua("epoch"))

    def reserve(
        self,
        user_id: str,
        month: str,
        seen: Seen | None,
        *,
        reservation_id: str,
        key: str,
        estimate: int,
        budget: int,
        hold: bool,
    ) -> Reserved:
        """Decide, and hold the estimate if it fits the budget and `hold` is true. `key` is `-` for none."""
        lease = _microseconds(self._times.reservation_seconds)
        args = [reservation_id, key, str(estimate), str(budget), str(int(hold)), lease, str(ITEMS_OF_USER_MAX)]
        answer = self._run("reserve", user_id, month, seen, args)
        if answer[0] in (Status.UNKNOWN, Status.UNBASED):
            return Reserved(status=Status(answer[0]), generation=answer[-1])
        status, generation, spent, reserved, total, offset, held_id, amount, expires = answer
        return Reserved(
            status=Status(status),
            generation=generation,
            month_to_date=int(spent),
            reserved=int(reserved),
            seen=_seen(month, total, offset),
            held_id=held_id or None,
            held_amount=int(amount or 0),
            expires_at_us=int(expires) if expires else None,
        )

    def apply(self, user_id: str, month: str, seen: Seen | None, items: Sequence[tuple[Item, str]]) -> Applied:
        """Tell of items (at most `APPLIED_AT_ONCE_MAX`), each with the end of its time: absolute in Unix microseconds,
        or `+` and microseconds from now. Items that count in one month alone must all be of `month`."""
        args: list[str] = []
        for item, ends in items:
            offset = "" if item.offset is None else str(item.offset)
            args += [item.reservation_id, item.kind, str(item.amount), item.month, item.key, offset, ends]
        generation, total, offset, *gone = self._run("apply", user_id, month, seen, args)
        return Applied(generation=generation, seen=_seen(month, total, offset), gone=frozenset(gone))

    def open(self, user_id: str, month: str, *, lost: bool) -> str:
        """Begin the state of a user who has none; returns its generation. `lost`: there is known to have been one."""
        (generation,) = self._run("open", user_id, month, None, [str(int(lost))])
        return str(generation)

    def base(self, user_id: str, month: str, seen: Seen | None, *, generation: str, floor: int, since_us: int) -> bool:
        """Give a state the ledger's total as its floor; False where the state is another one by now."""
        kept = _microseconds(self._times.settled_hold_seconds)
        (done,) = self._run("base", user_id, month, seen, [generation, str(floor), kept, str(since_us)])
        return bool(done == "1")

    def standing(self, user_id: str, reservation_id: str) -> Standing:
        """What has become of a reservation; a hold that has expired is `held` until a step has cleared it away."""
        text = self._redis.hget(guard_keys(user_id, "")[_ITEMS], reservation_id)
        if text is None:
            return Standing.UNKNOWN
        kind, amount = _texts([text])[0].split(" ")[:2]
        if kind == Kind.HELD:
            return Standing.HELD
        return _ENDED.get(amount, Standing.SETTLED)

    def epoch(self) -> Epoch:
        """Since when this Redis has been the one it is; begins it where it is new."""
        since, now, policy = _texts(self._epoch(keys=[GUARD_EPOCH_KEY], args=[self._override()]))
        return Epoch(since_us=int(since), now_us=int(now), eviction_policy=policy)

    def _run(self, name: str, user_id: str, month: str, seen: Seen | None, args: list[str]) -> list[str]:
        known = [_UNSEEN] * 3 if seen is None else [seen.month, str(seen.total), str(seen.offset)]
        times = (self._times.recovery_seconds, self._times.kept_seconds, DONE_SECONDS)
        common = [month, uuid4().hex, *(_microseconds(each) for each in times), *known, self._override()]
        return _texts(self._steps[name](keys=guard_keys(user_id, month), args=[*common, *args]))

    def _override(self) -> str:
        return "" if self._now_us is None else str(self._now_us())


def _seen(month: str, total: str, offset: str) -> Seen | None:
    return Seen(month, int(total), int(offset)) if total else None


def _microseconds(seconds: float) -> str:
    return str(round(seconds * _MICROSECONDS))


def _texts(reply: Any) -> list[str]:
    """A reply as text, whether or not the client decodes."""
    return [each.decode() if isinstance(each, bytes) else str(each) for each in reply]


@cache
def _lua(name: str) -> str:
    return (files(__package__) / "lua" / f"{name}.lua").read_text(encoding="utf-8")
