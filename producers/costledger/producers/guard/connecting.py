"""The client of Redis: an optional dependency, with timeouts so short that a job does not wait for it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from costledger.schemas.errors import SettingsError

if TYPE_CHECKING:
    from redis import Redis


Errors = tuple[type[Exception], ...]


@dataclass(frozen=True, slots=True)
class RedisErrors:
    """What a client raises: `any` of it; `silent`, no answer in time, so that the step may have been done or not;
    `answered`, where Redis is there and refuses one command."""

    any: Errors
    silent: Errors
    answered: Errors


def redis_errors() -> RedisErrors:
    """The errors of the client; `SettingsError` where the redis package is not installed."""
    try:
        from redis import exceptions
    except ImportError as error:
        raise SettingsError("the budget guard needs the redis package: pip install 'costledger[guard]'") from error
    return RedisErrors(
        any=(exceptions.RedisError, OSError),
        silent=(exceptions.TimeoutError, TimeoutError),
        answered=(exceptions.ResponseError,),
    )


def connect(url: str, timeout_seconds: float) -> Redis:
    """A client each of whose calls ends after about `timeout_seconds`.

    A connection that broke while idle is tried once more: every step may be repeated.
    """
    from redis import Redis
    from redis.backoff import NoBackoff
    from redis.exceptions import ConnectionError as RedisConnectionError
    from redis.retry import Retry

    return Redis.from_url(
        url,
        decode_responses=True,
        socket_timeout=timeout_seconds,
        socket_connect_timeout=timeout_seconds,
        retry=Retry(NoBackoff(), 1, (RedisConnectionError,)),
    )
