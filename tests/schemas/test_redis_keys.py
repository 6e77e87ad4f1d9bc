"""The keys of the real-time totals in Redis."""

from __future__ import annotations

import pytest

from costledger.schemas.periods import PeriodKind
from costledger.schemas.redis_keys import TOTAL_KINDS, parse_totals_key, totals_key


def test_a_key_is_what_the_contract_says() -> None:
    """User in braces, kind and label of the period."""
    assert totals_key("ann", PeriodKind.HOUR, "2026-11-23T09") == "costledger:{ann}:total:hour:2026-11-23T09"


@pytest.mark.parametrize("user", ["ann", "a}:total:day:b", "}{", "a:b c", "用户"])
@pytest.mark.parametrize("kind", TOTAL_KINDS)
def test_keys_of_odd_users_are_understood(user: str, kind: PeriodKind) -> None:
    """A user may be called anything."""
    assert parse_totals_key(totals_key(user, kind, "2026-11")) == (user, kind, "2026-11")


@pytest.mark.parametrize(
    "key",
    [
        "costledger:{u}:total:week:2026-W48",
        "costledger:epoch",
        "other:{u}:total:day:2026-11-23",
        "costledger:{u}:total:day",
    ],
)
def test_other_keys_are_none_of_ours(key: str) -> None:
    """What somebody else keeps in the same Redis is left alone."""
    assert parse_totals_key(key) is None
