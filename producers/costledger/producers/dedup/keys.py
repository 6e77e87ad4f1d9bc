"""The keys of a cache in Redis. The braces keep all keys that one script touches on one slot of a cluster.

::

    costledger:{<user>}:dedup:<cache>:entry:<digest>   hash: value, cost, signature, namespace
    costledger:{<user>}:dedup:<cache>:lease:<digest>   who is at work on it
    costledger:{<user>}:dedup:<cache>:entries          sorted set of the digests, by expiry (Unix milliseconds)
    costledger:{<user>}:dedup:<cache>:band:<group>:<band>   sorted set of digests, by expiry
    costledger:{<user>}:lookups:<day>                  hash: hits, similar, misses, saved, each with :<cache>

Of a shared cache the first four begin with `costledger:dedup:{<cache>}` instead.
"""

from __future__ import annotations

import re
from typing import Final

from costledger.schemas.errors import InvalidValue

_CACHE_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_.-]{0,63}")


def checked_cache_name(name: str) -> str:
    """The name, or `InvalidValue`: it is part of keys and of an event's operation."""
    if not isinstance(name, str) or not _CACHE_NAME.fullmatch(name):
        raise InvalidValue(
            "name", name, "1 to 64 characters of a-z, 0-9, '_', '.' and '-', the first a letter or digit"
        )
    return name


def cache_prefix(cache: str, user_id: str | None) -> str:
    """What all keys of a user's cache begin with; None for a cache that all users share."""
    return f"costledger:dedup:{{{cache}}}" if user_id is None else f"costledger:{{{user_id}}}:dedup:{cache}"


def entries_key(prefix: str) -> str:
    """The sorted set of what is in the cache."""
    return f"{prefix}:entries"


def entry_prefix(prefix: str) -> str:
    """What is before the digest in the key of an entry."""
    return f"{prefix}:entry:"


def lease_key(prefix: str, digest: str) -> str:
    """Who is at work on a digest."""
    return f"{prefix}:lease:{digest}"


def band_key(prefix: str, group: str, band: bytes) -> str:
    """The entries whose signature has this band."""
    return f"{prefix}:band:{group}:{band.hex()}"


def lookups_key(user_id: str, day: str) -> str:
    """A user's counts of a UTC day, for example 2026-11-23."""
    return f"costledger:{{{user_id}}}:lookups:{day}"
