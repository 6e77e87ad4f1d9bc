"""The keys in Redis: of the real-time totals, `costledger:{<user>}:total:<period>:<label>`, of the budget guard and
of the caches of results.

The stream app writes the totals; the guard, reconcile and people read them. Guard and caches have their own keys,
which begin otherwise: else those of a user called `a}:total:day:b` could be taken for totals. The braces keep what one
script touches on one slot of a cluster.
"""

from __future__ import annotations

from typing import Final

from costledger.schemas.periods import PeriodKind

_PREFIX: Final = "costledger:{"
_INFIX: Final = "}:total:"
_GUARD_PREFIX: Final = "costledger:guard:{"
_CACHE_PREFIX: Final = "costledger:dedup:{"
_SHARED_CACHE_PREFIX: Final = "costledger:dedup-shared:{"
_LOOKUPS_PREFIX: Final = "costledger:lookups:{"
_REPORT_PREFIX: Final = "costledger:report:"
#: The periods that have totals in Redis.
TOTAL_KINDS: Final = (PeriodKind.HOUR, PeriodKind.DAY, PeriodKind.MONTH)
#: What SCAN is asked for to find all totals. It may find other keys too: see `parse_totals_key`.
TOTALS_PATTERN: Final = f"{_PREFIX}*{_INFIX}*"

#: Since when this Redis has been the one it is, for the budget guards.
GUARD_EPOCH_KEY: Final = "costledger:guard:epoch"


def totals_key(user_id: str, kind: PeriodKind, label: str) -> str:
    """The key of a user's totals in a period."""
    return f"{_PREFIX}{user_id}{_INFIX}{kind}:{label}"


def parse_totals_key(key: str) -> tuple[str, str, str] | None:
    """User, kind and label of a key of the totals; None for any other key."""
    if not key.startswith(_PREFIX):
        return None
    user, infix, rest = key[len(_PREFIX) :].rpartition(_INFIX)
    kind, colon, label = rest.partition(":")
    return (user, kind, label) if infix and colon and kind in TOTAL_KINDS else None


def guard_keys(user_id: str, month: str) -> list[str]:
    """The keys that a step of the budget guard uses, all on the user's slot: its state, items, ends, ended ones, the
    offsets awaited in the month of this label, and the month's totals.
    """
    guard = f"{_GUARD_PREFIX}{user_id}}}"
    own = [guard, *(f"{guard}:{name}" for name in ("items", "expiry", "done"))]
    return [*own, f"{guard}:offsets:{month}", totals_key(user_id, PeriodKind.MONTH, month)]


def cache_prefix(cache: str, user_id: str | None) -> str:
    """What all keys of a user's cache of results begin with; None for a cache that all users share."""
    return f"{_SHARED_CACHE_PREFIX}{cache}}}" if user_id is None else f"{_CACHE_PREFIX}{user_id}}}:{cache}"


def lookups_key(user_id: str, day: str) -> str:
    """The counts of a user's lookups on a UTC day, for example 2026-11-23."""
    return f"{_LOOKUPS_PREFIX}{user_id}}}:{day}"


def report_key(kind: str, day: str) -> str:
    """A report as it is in the ledger, of a kind (daily, weekly) and a date, for example 2026-11-23."""
    return f"{_REPORT_PREFIX}{kind}:{day}"
