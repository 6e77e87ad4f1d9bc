"""A cache's results, leases, bands and counts in Redis; blocking calls with short timeouts. Needs the extra `dedup`.

Every call raises `CacheAway` where Redis cannot do it. After a failed connection no call tries again for
`AWAY_SECONDS`, so that a Redis that is away costs the host one timeout in that time and not one per lookup.
Nothing is sent twice: a repeated count would be a wrong count.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

from costledger.producers.dedup import scripts
from costledger.producers.dedup.complaints import Complaints
from costledger.producers.dedup.extras import needed
from costledger.producers.dedup.keys import band_key, entries_key, entry_prefix, lease_key
from costledger.schemas.errors import Unavailable, shown
from costledger.schemas.money import AMOUNT_PICODOLLARS_MAX
from costledger.schemas.redis_keys import cache_prefix, lookups_key

if TYPE_CHECKING:
    from redis import Redis

logger = logging.getLogger(__name__)

TIMEOUT_SECONDS: Final = 1.0
AWAY_SECONDS: Final = 2.0
#: Entries under one band; more of them drop the oldest from it. They are still found by their other bands.
BAND_ENTRIES_MAX: Final = 64
#: Signatures that one query compares.
CANDIDATES_MAX: Final = 512
#: What one call may have cost, in 1e-12 USD; two of them fit in one event.
COST_MAX: Final = AMOUNT_PICODOLLARS_MAX // 2
_COST_DIGITS_MAX: Final = len(str(COST_MAX))

Result = TypeVar("Result")


class CacheAway(Unavailable):
    """Redis cannot be asked now."""


@dataclass(frozen=True, slots=True)
class Hit:
    """A stored result; `cost` is what making it has cost in 1e-12 USD, None where nobody said."""

    value: bytes
    cost: int | None


@dataclass(frozen=True, slots=True)
class Mine:
    """Nobody has it: the caller is to do the work, then `complete` or `release`."""


@dataclass(frozen=True, slots=True)
class Busy:
    """Somebody is at work on it; their lease runs for so many milliseconds yet."""

    milliseconds: int


@dataclass(frozen=True, slots=True)
class Signed:
    """A signature with its bands, for the index of similar entries. `group`: what may be compared with each other."""

    group: str
    namespace: str
    signature: bytes
    bands: Sequence[bytes]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a piece of work has its entry: the prefix of the user's (or the shared) cache, and the digest in hex."""

    cache: str
    owner: str | None
    digest: str

    @property
    def prefix(self) -> str:
        """What all keys of the cache begin with."""
        return cache_prefix(self.cache, self.owner)


class Store:
    """All that is asked of Redis."""

    def __init__(self, redis_url: str) -> None:
        """`SettingsError` that names the extra where redis is not installed, ValueError for a URL that is none."""
        redis: Any = needed("redis", "dedup", "deduplication")
        retry: Any = needed("redis.retry", "dedup", "deduplication")
        backoff: Any = needed("redis.backoff", "dedup", "deduplication")
        self._redis: Redis = redis.Redis.from_url(
            redis_url,
            socket_timeout=TIMEOUT_SECONDS,
            socket_connect_timeout=TIMEOUT_SECONDS,
            retry=retry.Retry(backoff.NoBackoff(), 0),
        )
        self._absences: tuple[type[Exception], ...] = (redis.ConnectionError, redis.TimeoutError, OSError)
        self._complaints = Complaints(logger)
        self._away_until = 0.0
        self._claim = self._redis.register_script(scripts.CLAIM)
        self._complete = self._redis.register_script(scripts.COMPLETE)
        self._release = self._redis.register_script(scripts.RELEASE)
        self._candidates = self._redis.register_script(scripts.CANDIDATES)

    def close(self) -> None:
        """Close the connections."""
        self._redis.close()

    def start_afresh(self) -> None:
        """In a forked child: no lock of the parent's."""
        self._complaints = Complaints(logger)

    def claim(self, place: Place, token: str, lease_seconds: float) -> Hit | Mine | Busy:
        """The result, or the lease, or that another has it."""
        keys = [entry_prefix(place.prefix) + place.digest, lease_key(place.prefix, place.digest)]
        answer = self._call(lambda: self._claim(keys=keys, args=[token, _milliseconds(lease_seconds)]))
        if answer[0] == b"hit":
            return Hit(answer[1], _cost(answer[2]))
        return Mine() if answer[0] == b"mine" else Busy(max(0, answer[1]))

    def complete(
        self,
        place: Place,
        token: str,
        hit: Hit,
        signed: Signed | None,
        *,
        ttl_seconds: float,
        entries_max: int,
    ) -> bool:
        """Store a result and end the lease; False where another's result was there and stays."""
        prefix = place.prefix
        keys = [entry_prefix(prefix) + place.digest, lease_key(prefix, place.digest), entries_key(prefix)]
        if signed is not None:
            keys += [band_key(prefix, signed.group, band) for band in signed.bands]
        arguments = [
            token,
            place.digest,
            hit.value,
            "" if hit.cost is None else str(hit.cost),
            "" if signed is None else signed.namespace,
            b"" if signed is None else signed.signature,
            _milliseconds(ttl_seconds),
            entries_max,
            entry_prefix(prefix),
            BAND_ENTRIES_MAX,
        ]
        return bool(self._call(lambda: self._complete(keys=keys, args=arguments)))

    def release(self, place: Place, token: str) -> None:
        """End the lease, if it is still this token's."""
        keys = [lease_key(place.prefix, place.digest)]
        self._call(lambda: self._release(keys=keys, args=[token]))

    def candidates(self, place: Place, group: str, namespace: str, probes: Sequence[bytes]) -> list[tuple[str, bytes]]:
        """Digests and signatures of entries that share a band, at most `CANDIDATES_MAX`."""
        keys = [band_key(place.prefix, group, band) for band in probes]
        arguments = [entry_prefix(place.prefix), namespace, BAND_ENTRIES_MAX, CANDIDATES_MAX]
        found = self._call(lambda: self._candidates(keys=keys, args=arguments))
        return [(digest.decode(), signature) for digest, signature in zip(found[::2], found[1::2], strict=True)]

    def read(self, place: Place) -> Hit | None:
        """An entry by its digest."""
        key = entry_prefix(place.prefix) + place.digest
        value, cost = self._call(lambda: self._redis.hmget(key, ["value", "cost"]))
        return None if value is None else Hit(value, _cost(cost))

    def discard(self, place: Place) -> None:
        """Remove an entry that nobody can read."""
        key = entry_prefix(place.prefix) + place.digest
        self._call(lambda: self._redis.delete(key))

    def count(self, user_id: str, day: str, counts: dict[str, int], ttl_seconds: float) -> None:
        """Add to a user's counts of a day."""
        key = lookups_key(user_id, day)

        def add() -> None:
            with self._redis.pipeline(transaction=True) as pipeline:
                for field, number in counts.items():
                    pipeline.hincrby(key, field, number)
                pipeline.pexpire(key, _milliseconds(ttl_seconds))
                pipeline.execute()

        self._call(add)

    def counted(self, user_id: str, day: str) -> dict[str, int]:
        """A user's counts of a day, by field."""
        found = self._call(lambda: self._redis.hgetall(lookups_key(user_id, day)))
        return {field.decode(): int(number) for field, number in found.items()}

    def _call(self, command: Callable[[], Result]) -> Any:
        if time.monotonic() < self._away_until:
            raise CacheAway("Redis did not answer a moment ago")
        try:
            return command()
        except Exception as error:  # whatever the client raises, the host must live
            if isinstance(error, self._absences):
                self._away_until = time.monotonic() + AWAY_SECONDS
            text = f"the cache cannot be used, work is done without it: {shown(error)}"
            self._complaints.say("redis", text)
            raise CacheAway(text) from error


def _milliseconds(seconds: float) -> int:
    return max(1, round(seconds * 1000))


def _cost(text: bytes | None) -> int | None:
    """What was stored as a cost; None for anything that this cache would not have written: it is then not known."""
    if not text or len(text) > _COST_DIGITS_MAX or not text.isdigit():
        return None
    cost = int(text)
    return cost if cost <= COST_MAX else None
