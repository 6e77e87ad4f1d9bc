"""The keys of a cache in Redis. The braces keep all keys that one script touches on one slot of a cluster.

::

    costledger:dedup:{<user>}:<cache>:entry:<digest>   hash: value, cost, signature, namespace
    costledger:dedup:{<user>}:<cache>:lease:<digest>   who is at work on it
    costledger:dedup:{<user>}:<cache>:entries          sorted set of the digests, by expiry (Unix milliseconds)
    costledger:dedup:{<user>}:<cache>:band:<group>:<band>   sorted set of digests, by expiry
    costledger:lookups:{<user>}:<day>                  hash: hits, similar, misses, saved, each with :<cache>

Of a shared cache the first four begin with `costledger:dedup-shared:{<cache>}` instead. What they begin with is in
`schemas.redis_keys`, beside the other keys from which they must differ.
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
