"""How often one user, or one address without a valid token, may ask: counted in Redis, for all processes together."""

from __future__ import annotations

import hashlib
import math
import time
from dataclasses import dataclass
from ipaddress import IPv6Address, ip_address
from typing import Final, Literal

import redis
import structlog
from limits import RateLimitItem, parse
from limits.storage import RedisStorage
from limits.strategies import SlidingWindowCounterRateLimiter
from redis.backoff import NoBackoff
from redis.retry import Retry

from costledger.schemas.settings import Settings

logger = structlog.get_logger(__name__)

Kind = Literal["user", "anonymous"]

#: A limiter that makes everybody wait protects nobody.
REDIS_SECONDS_MAX: Final = 0.25
#: After a failure requests pass unlimited for so long, and one line is logged.
PAUSE_SECONDS: Final = 5.0
CONNECTIONS_MAX: Final = 64
#: One subscriber's network has as many addresses as it likes.
_IPV6_PREFIX: Final = 64


@dataclass(frozen=True, slots=True)
class Admission:
    """What the limiter said of one request."""

    allowed: bool
    limit: int
    window_seconds: int
    remaining: int
    reset_seconds: int

    def headers(self) -> dict[str, str]:
        """The headers that tell the caller."""
        told = {
            "RateLimit-Limit": str(self.limit),
            "RateLimit-Remaining": str(self.remaining),
            "RateLimit-Reset": str(self.reset_seconds),
            "RateLimit-Policy": f"{self.limit};w={self.window_seconds}",
        }
        if not self.allowed:
            told["Retry-After"] = str(max(1, self.reset_seconds))
        return told


class RateLimiter:
    """Counts requests by user and by address. Safe to share between threads; blocks for at most 0.25 s."""

    def __init__(self, settings: Settings) -> None:
        self._items: dict[Kind, RateLimitItem] = {
            "user": parse(settings.api_rate_limit),
            "anonymous": parse(settings.api_rate_limit_anonymous),
        }
        url = settings.redis_url.get_secret_value()
        self._pool = redis.BlockingConnectionPool.from_url(
            url,
            max_connections=CONNECTIONS_MAX,
            timeout=REDIS_SECONDS_MAX,
            socket_timeout=REDIS_SECONDS_MAX,
            socket_connect_timeout=REDIS_SECONDS_MAX,
            # Once more at once, for a connection that the server closed while it was idle.
            retry=Retry(NoBackoff(), 1),
        )
        storage = RedisStorage("redis://", connection_pool=self._pool, key_prefix="costledger:limits")
        self._limiter = SlidingWindowCounterRateLimiter(storage)
        self._paused_until = 0.0

    def admit(self, kind: Kind, who: str) -> Admission | None:
        """Count one request; None where Redis cannot be asked: then everybody may."""
        if time.monotonic() < self._paused_until:
            return None
        item = self._items[kind]
        # A digest: no user id has characters that mean something in a key, and none stands in Redis for this.
        key = hashlib.sha256(who.encode()).hexdigest()[:32]
        try:
            allowed = self._limiter.hit(item, kind, key)
            stats = self._limiter.get_window_stats(item, kind, key)
        except (redis.RedisError, OSError) as error:
            self._paused_until = time.monotonic() + PAUSE_SECONDS
            logger.warning("requests are not limited: Redis cannot be asked", error=str(error))
            return None
        reset = max(0, math.ceil(stats.reset_time - time.time()))
        return Admission(allowed, item.amount, item.get_expiry(), max(0, stats.remaining), reset)

    def close(self) -> None:
        """Close the connections."""
        self._pool.disconnect()


def address_key(host: str | None) -> str:
    """What an address is counted as: itself, or the network of an IPv6 address."""
    try:
        address = ip_address(host or "")
    except ValueError:
        return host or "unknown"
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return f"{IPv6Address(int(address) >> (128 - _IPV6_PREFIX) << (128 - _IPV6_PREFIX))}/{_IPV6_PREFIX}"
    return str(address)
