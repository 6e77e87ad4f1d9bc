"""The keys of the real-time totals in Redis: `costledger:{<user>}:total:<period>:<label>`.

The stream app writes them; reconcile and people read them. The braces keep a user on one slot of a cluster.
"""

from __future__ import annotations

from typing import Final

from costledger.schemas.periods import PeriodKind

_PREFIX: Final = "costledger:{"
_INFIX: Final = "}:total:"
#: The periods that have totals in Redis.
TOTAL_KINDS: Final = (PeriodKind.HOUR, PeriodKind.DAY, PeriodKind.MONTH)
#: What SCAN is asked for to find all totals. It may find other keys too: see `parse_totals_key`.
TOTALS_PATTERN: Final = f"{_PREFIX}*{_INFIX}*"


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
